"""MEMIT: many facts at once, spread over several MLPs (Meng et al. 2023, "Mass-Editing Memory in a Transformer").

For each fact a vector z is found that, as output of the last edited block at the subject's last token, makes the
unedited model say the target. Then, layer by layer from the lowest, with keys K (dimension, facts) and current values
at the last edited block as they are with the layers below already edited,

    R  = (z - current) / layers left                       (hidden, facts)    (eq. 20)
    dW = R adj^T,   adj = (lambda C + K K^T)^-1 K          (dimension, facts) (eq. 14)

adj is `rect.closed_form`, of which other methods are other settings: each is a class with another `prior`.

Switches: `values: unedited` finds every z on the unedited model, whatever was edited before, while residuals are still
those of the model as it stands (the "rewinding" of NSE, 2410.04045): z then depends on the fact alone. `spread: sqrt`
divides by the root of the layers left (PMET, AAAI 2024). `blue` gives each layer a z of its own, found with the layers
below edited, and the whole residual (BLUE, NeurIPS 2025, which takes the first and the last layer).

A fact's key is the mean over two groups of contexts, the bare prompt and all the others, of the mean in the group.
Updates stay in factors of rank facts, where those are smaller than the matrix. The weights are not touched on the way:
edits below are added as products of factors while the prompts, kept at the input of the layer that was reached, go up
through the blocks once.

A family with a norm between the MLP's output and the residual stream is refused: what comes out of that norm has a
fixed size, so that the residual does not arrive (nine tenths were lost on Gemma 2 and 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import pydantic

from modelfolder.errors import InputError
from rect.editors.value_search.hparams import KeyValueEditor, ValueHparams
from rect.editors.value_search.vectors import Keeper, Vectors, found_now
from rect.history import KEYS, History

if TYPE_CHECKING:
    from torch import Tensor

    from rect.closed_form import Prior
    from rect.facts import Fact
    from rect.model import EditableModel
    from rect.update import Dense, LowRank, Update

SEARCH = (
    *("fact_token", "v_num_grad_steps", "v_lr", "v_weight_decay", "clamp_norm_factor", "kl_factor"),
    "stop_when_most_probable",
)
"""Hyperparameters that a vector depends on, beside layers and prefixes."""


class SpreadHparams(ValueHparams):
    """Hyperparameters of the methods that spread an edit over several layers.

    Attributes:
        layers: the edited layers, ascending; z is found at the last.
        layer_selection: all of them.
        context_template_length_params: five prefixes of ten tokens, as the released code draws; its files have no key.
        values: z is found on the model as it stands (as published), or on the unedited one.
        spread: the residual is divided by the layers left (as published), or by their root (PMET).
        blue: z is found at each layer, which takes the whole residual (BLUE).
    """

    switches: ClassVar[frozenset[str]] = ValueHparams.switches | {"values", "spread", "blue"}

    layer_selection: Literal["all"] = "all"
    context_template_length_params: tuple[tuple[int, int], ...] = ((10, 5),)
    values: Literal["each", "unedited"] = "each"
    spread: Literal["linear", "sqrt"] = "linear"
    blue: bool = False

    @pydantic.field_validator("layers")
    @classmethod
    def _ascending(cls, layers: tuple[int, ...]) -> tuple[int, ...]:
        if list(layers) != sorted(set(layers)):
            raise ValueError("layers must ascend")
        return layers

    @pydantic.model_validator(mode="after")
    def _spread_or_blue(self) -> Self:
        if self.blue and self.spread != "linear":
            raise ValueError("blue leaves each layer the whole residual: give spread or blue, not both")
        return self

    @classmethod
    def by_depth(cls, n_layers: int) -> dict[str, Any]:
        """Up to five layers from an eighth of the way up, as in LLaMA 7B."""
        first = min(round(n_layers / 8), max(n_layers - 3, 0))
        return {"layers": list(range(first, max(min(first + 5, n_layers - 1), first + 1)))}


class MemitHparams(SpreadHparams):
    """Hyperparameters of MEMIT.

    Attributes:
        mom2_update_weight: lambda.
        mom2_adjustment: use the covariance C; if false, C is the identity times the mean square of the batch's keys.
    """

    method: ClassVar[str] = "memit"

    mom2_update_weight: float = pydantic.Field(15_000.0, gt=0)


class Memit(KeyValueEditor):
    """The MEMIT editor: any number of facts, several layers.

    Attributes:
        keep: gives vectors of the unedited model, from where it keeps them or by finding them.
    """

    name = "memit"
    version = "2"
    batch = True
    hparams_class: ClassVar[type[ValueHparams]] = MemitHparams

    hparams: Any
    keep: Keeper = staticmethod(found_now)

    @classmethod
    def build(cls, model: EditableModel, hparams: Any, prefixes: Any, covariance: Any) -> Self:
        if model.architecture.mlp_norm is not None:
            raise InputError(
                f"{cls.name}: {model.name} ({model.hf.config.model_type}) has a norm behind each MLP, so no change of "
                f"its output projection moves the block's output by the residual; rome, kn and mend edit it"
            )
        return super().build(model, hparams, prefixes, covariance)

    def _compute(self, model: EditableModel, facts: list[Fact], history: History) -> Update:
        from rect.update import Update

        layers: tuple[int, ...] = self.hparams.layers
        losses: list[tuple[float, ...]] = []
        entries: dict[str, LowRank | Dense] = {}
        memory: dict[str, Mapping[str, Tensor]] = {}
        for some in [(layer,) for layer in layers] if self.hparams.blue else [layers]:
            with model.edited(Update(entries)):
                found = self.vectors(model, facts, some[-1])
                part = self.distribute(model, facts, found.z, history, some)
            entries |= part
            memory |= part.memory
            losses += found.losses
        update = Update(entries, memory=memory)
        update.provenance = {"losses": losses}
        return update

    def prior(self, layer: int, keys: Tensor) -> Prior:
        """lambda C + mu I and P of a layer; the operation's keys are (dimension, facts)."""
        from rect.closed_form import Prior

        weight = self.hparams.mom2_update_weight
        if self.covariance is None:
            return Prior(weight, scale=keys.square().mean())
        return Prior(weight, covariance=self.covariance.of(layer))

    def adjusted(self, layer: int, name: str, keys: Tensor, history: History) -> Tensor:
        """adj of a layer, whose matrix has a name, (dimension, facts), from its keys, of the same shape."""
        from rect import closed_form

        past = history.past(name, len(keys)) if self.remembers else None
        return closed_form.adjusted(keys, self.prior(layer, keys), None if past is None else past.to(keys))

    def vectors(self, model: EditableModel, facts: Sequence[Fact], layer: int) -> Vectors:
        """The vectors z of some facts at the output of a block: of the model as it stands, or of the unedited one."""
        from rect.update import Update

        if self.hparams.values == "each":
            return Vectors.of(self.values(model, facts, layer))

        def find() -> Vectors:
            with model.edited(Update({})):  # which puts back what is restored within
                model.restore()
                return Vectors.of(self.values(model, facts, layer))

        return self.keep(self.search(model, layer), facts, find)

    def search(self, model: EditableModel, layer: int) -> dict[str, Any]:
        """All that a vector depends on beside model and fact, as JSON; the same for all methods that search alike."""
        said = {key: getattr(self.hparams, key) for key in SEARCH}
        where = {"layer": layer, "loss_layer": self.loss_layer(model)}
        return {"version": Memit.version, **said, **where, "prefixes": self.prefixes.identity}

    def distribute(
        self,
        model: EditableModel,
        facts: Sequence[Fact],
        z: Tensor,
        history: History | None = None,
        layers: Sequence[int] | None = None,
    ) -> Update:
        """The update that brings the last edited block's output to z; it carries the keys that it was solved for.

        Args:
            model: the model that is edited.
            facts: the facts.
            z: their vectors, (facts, hidden).
            history: of the earlier operations, where the method remembers them.
            layers: those to spread it over; by default all.
        """
        from rect.editors.value_search.rise import Rise
        from rect.update import Update, UpdateError, outer

        layers = self.hparams.layers if layers is None else layers
        entries: dict[str, LowRank | Dense] = {}
        memory: dict[str, dict[str, Tensor]] = {}
        with Rise(model, facts, self.prefixes.templates, layers) as rise:
            for i, layer in enumerate(layers):
                keys, current = rise.look(layer)
                name, k = model.mlp_out_name(layer), keys.T.double()  # (dimension, facts)
                left_over = len(layers) - i
                share = left_over if self.hparams.spread == "linear" else math.sqrt(left_over)
                residual = (z - current).T.double() / share  # (hidden, facts)
                try:
                    right = self.adjusted(layer, name, k, History() if history is None else history).float()
                except UpdateError as error:
                    raise UpdateError(f"{self.name}: layer {layer}: {error}") from None
                left = residual.float()
                entries[name] = outer(left, right, model.architecture.transposed)
                memory[name] = {KEYS: keys}
                rise.edit(layer, left, right)
        return Update(entries, memory=memory)
