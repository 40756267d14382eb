"""What ROME and MEMIT share: an MLP's output projection is a memory from keys to values.

Both find a value for each fact by optimization, and both take context prefixes and, if asked, the covariance of keys.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import pydantic

from modelfolder.errors import InputError
from rect import prefixes as prefix_module
from rect.corpus import SELF
from rect.editors import second_moment
from rect.editors.base import Editor
from rect.editors.hyperparameters import Hparams
from rect.prefixes import Prefixes

if TYPE_CHECKING:
    from rect.covariance import Covariance
    from rect.editors.value_search.search import Value
    from rect.facts import Fact
    from rect.model import EditableModel

log = logging.getLogger(__name__)


class ValueHparams(Hparams):
    """Hyperparameters that both have. Names and meanings are EasyEdit's.

    Attributes:
        layers: the edited layers.
        fact_token: the position of the vector: the subject's last token.
        v_num_grad_steps: iterations, of which the last makes no step.
        v_lr, v_weight_decay, clamp_norm_factor, kl_factor: of the optimization (`rect.editors.value_search.search`).
        v_loss_layer: the layer whose output the loss is read from; None is the last.
        mom2_adjustment: use the covariance of keys. Released values of ROME do without; for a model of which nothing is
            known that may ruin it (docs/editing.md), so a value that nobody gave is true.
        mom2_dataset: the text that it is taken over: a corpus, or "self", text that the model samples itself.
        mom2_n_samples: so many texts, drawn, whole; None for as many tokens as suffice.
        mom2_dtype: of keys and of the products that a batch's sum is made of.
        context_template_length_params: pairs (tokens, number) of context prefixes.
        stop_when_most_probable: end in the so many-th iteration in which all target tokens are the most likely ones;
            None does not look at that.
    """

    switches: ClassVar[frozenset[str]] = frozenset({"stop_when_most_probable"})

    layers: tuple[int, ...] = pydantic.Field(min_length=1)
    fact_token: Literal["subject_last"] = "subject_last"
    v_num_grad_steps: int = pydantic.Field(25, ge=1)
    v_lr: float = pydantic.Field(0.5, gt=0)
    v_loss_layer: int | None = pydantic.Field(None, ge=0)
    v_weight_decay: float = pydantic.Field(1e-3, ge=0)
    clamp_norm_factor: float = pydantic.Field(4.0, gt=0)
    kl_factor: float = pydantic.Field(0.0625, ge=0)
    mom2_adjustment: bool = True
    mom2_dataset: str = SELF
    mom2_n_samples: int | None = pydantic.Field(None, ge=1)
    mom2_dtype: Literal["float32", "float64"] = "float32"
    context_template_length_params: tuple[tuple[int, int], ...] = ((5, 10), (10, 10))
    stop_when_most_probable: int | None = pydantic.Field(None, ge=1)


class KeyValueEditor(Editor):
    """An editor with context prefixes and, if its hyperparameters ask for it, the covariance of keys.

    Args:
        hparams: hyperparameters.
        prefixes: context prefixes.
        covariance: covariance of keys at the edited layers.

    Raises:
        InputError: the covariance is missing.
    """

    from_mlp: ClassVar[bool] = False  # the vector is found for the MLP's output, not for the block's
    hparams: ValueHparams
    prefixes: Prefixes

    def __init__(self, hparams: ValueHparams, prefixes: Prefixes, covariance: Covariance | None = None) -> None:
        super().__init__(hparams)
        if hparams.mom2_adjustment and covariance is None:
            raise InputError(f"{self.name}: mom2_adjustment needs the covariance of keys: pass it as covariance=")
        if covariance is not None and (missing := set(hparams.layers) - set(covariance.layers)):
            raise InputError(f"{self.name}: the covariance given lacks layer {min(missing)}")
        self.prefixes = prefixes
        self.covariance = covariance if hparams.mom2_adjustment else None

    @classmethod
    def build(cls, model: EditableModel, hparams: Any, prefixes: Any, covariance: Any) -> Self:
        for layer in hparams.layers:
            model.mlp_out_name(layer)  # raises where there is no such layer
        if covariance is None and hparams.mom2_adjustment:
            covariance = second_moment.at_hand(cls.name, hparams, model)
        if covariance is not None and hparams.mom2_adjustment:
            covariance.check(model)
        drawn = prefix_module.of(prefixes, model, hparams.context_template_length_params)
        return cls(hparams, drawn, covariance)

    @classmethod
    def describe(cls, hparams: Mapping[str, Any], prefixes: Any = None, covariance: Any = None) -> dict[str, Any]:
        fields = cls.hparams_class.model_fields
        lengths, uses = (
            hparams.get(key, fields[key].default) for key in ("context_template_length_params", "mom2_adjustment")
        )
        unused = {key for key in cls.hparams_class.switches if hparams.get(key) == fields[key].default}
        said = {key: value for key, value in hparams.items() if key not in (*second_moment.KEYS, *unused)}
        return {
            **super().describe(said),
            "prefixes": prefixes or Prefixes.recipe(0, lengths),
            "covariance": covariance if uses else None,
        }

    @property
    def contexts(self) -> Sequence[str]:
        return self.prefixes.templates

    def values(self, model: EditableModel, facts: Sequence[Fact], layer: int | None = None) -> list[Value]:
        """What makes the model, as it stands, say the targets: a vector per fact at a layer, by default the last edited
        one.
        """
        from rect.editors.value_search.search import optimize

        last = self.loss_layer(model)
        layer = self.hparams.layers[-1] if layer is None else layer
        return optimize(model, facts, self.prefixes.templates, self.hparams, layer, last, self.from_mlp)

    def loss_layer(self, model: EditableModel) -> int:
        """The layer that the loss is read from; where the file's is beyond the model's last one, that one."""
        given, last = self.hparams.v_loss_layer, model.n_layers - 1
        if given is None:
            return last
        if given > last:
            log.warning("v_loss_layer %d: %s has only layers 0 to %d; the last is used", given, model.name, last)
        elif given < max(self.hparams.layers):
            raise InputError(f"v_loss_layer {given} lies before the edited layer {max(self.hparams.layers)}")
        return min(given, last)
