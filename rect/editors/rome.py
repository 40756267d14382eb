"""ROME: a rank-one change of one MLP (Meng et al. 2022, "Locating and Editing Factual Associations in GPT").

The MLP's output projection W is an associative memory from keys to values. With the key k* of a subject (the input of W
at the subject's last token, averaged over context prefixes) and a value v* that makes the model say the target,

    dW = (v* - W k) u^T / (u . k),    u = C^-1 k* / |C^-1 k*|    (eq. 2)

where k is the key at the bare prompt and C the covariance of keys (identity without `mom2_adjustment`).

R-ROME (Gupta, Anumanchipalli 2024, "Rebuilding ROME") takes k* in both places, dW = (v* - W k*) u^T / (u . k*), so that
dW k* = v* - W k*. As published v* - W k* is the vector that was found, delta; its release adds delta to the MLP's
output at the bare prompt in place of the mean over contexts, so that it is W k + delta - W k*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pydantic

from rect.editors.value_search.hparams import KeyValueEditor, ValueHparams
from rect.history import KEYS, History

if TYPE_CHECKING:
    from rect.facts import Fact
    from rect.model import EditableModel
    from rect.update import Update


class RomeHparams(ValueHparams):
    """Hyperparameters of ROME.

    Attributes:
        layers: the one edited layer.
        r_rome: k* in place of k, with v* as in R-ROME's paper or as in its release; None for ROME.
    """

    method: ClassVar[str] = "rome"
    switches: ClassVar[frozenset[str]] = ValueHparams.switches | {"r_rome"}

    layers: tuple[int] = pydantic.Field()
    r_rome: Literal["published", "released"] | None = None

    @classmethod
    def by_depth(cls, n_layers: int) -> dict[str, Any]:
        """A sixth of the way up, where the known models of the Llama and GPT-J families have it."""
        return {"layers": [max(min(round(n_layers / 6), n_layers - 2), 0)]}


class Rome(KeyValueEditor):
    """The ROME editor: one fact, one layer, an update of rank one."""

    name = "rome"
    version = "1"
    batch = False
    from_mlp = True
    hparams_class = RomeHparams

    hparams: RomeHparams

    def _compute(self, model: EditableModel, facts: list[Fact], history: History) -> Update:
        from rect.update import Update, outer

        layer = self.hparams.layers[0]
        name = model.mlp_out_name(layer)
        (value,) = self.values(model, facts)
        mean = value.keys.mean(0)  # k*, (inner,)
        u = mean
        if self.covariance is not None:
            u = self.covariance.of(layer).solve(u[:, None].double())[:, 0].to(u.dtype)
        u = u / u.norm()
        bare = value.keys[0]  # k; delta is v* - W k
        if self.hparams.r_rome is None:
            v = value.delta / (bare @ u)  # (hidden,)
        elif self.hparams.r_rome == "published":
            v = value.delta / (mean @ u)
        else:
            weight = model.weight(name).float()
            matrix = weight.T if model.architecture.transposed else weight  # (hidden, inner)
            v = (value.delta + matrix @ (bare - mean)) / (mean @ u)
        entry = outer(v[:, None], u[:, None], model.architecture.transposed)
        return Update({name: entry}, {"losses": [value.losses]}, {name: {KEYS: mean[None]}})


class RRomeHparams(RomeHparams):
    """Hyperparameters of R-ROME: ROME's."""

    method: ClassVar[str] = "r-rome"
    ours: ClassVar[str | None] = "rome"
    switches: ClassVar[frozenset[str]] = ValueHparams.switches

    r_rome: Literal["published", "released"] | None = "published"


class RRome(Rome):
    """R-ROME: ROME with the mean key throughout."""

    name = "r-rome"
    hparams_class = RRomeHparams
