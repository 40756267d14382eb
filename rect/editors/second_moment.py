"""The covariance that hyperparameters ask for: which text it is taken over, and where an editor gets it from.

`mom2_dataset`, `mom2_n_samples` and `mom2_dtype` are EasyEdit's keys. What is set beside the hyperparameters (a sweep's
`covariance:`, an option of a command) goes before them, key by key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError
from rect import recipe as recipes
from rect import sampling
from rect.corpus import SELF, Corpus
from rect.recipe import Recipe

if TYPE_CHECKING:
    from rect.covariance import Covariance
    from rect.editors.hyperparameters import Hparams
    from rect.model import EditableModel

KEYS = ("mom2_dataset", "mom2_n_samples", "mom2_dtype")


@dataclasses.dataclass(frozen=True)
class Given:
    """What is set beside the hyperparameters; None where nothing is.

    Attributes:
        corpus, revision, samples, seed: of `rect.corpus.Corpus`.
        tokens: of `rect.covariance.Recipe`.
    """

    corpus: str | None = None
    revision: str | None = None
    samples: int | None = None
    tokens: int | str | None = None
    seed: int = 0


def recipe(
    cls: type[Hparams],
    declared: Mapping[str, Any],
    model: str,
    given: Given | None = None,
    **about: Any,
) -> Recipe:
    """What the covariance is computed from.

    Args:
        cls: the method's hyperparameters.
        declared: their values; a key that is missing has its default.
        model: name of the model.
        given: what is set beside them.
        about: other fields of `Recipe`, of the model: its revision, dtype ...

    Raises:
        InputError: what is asked for does not go together.
    """
    given, said = given or Given(), _said(cls, declared)
    source = given.corpus or said["mom2_dataset"]
    samples = given.samples
    if samples is None and given.corpus != SELF:
        samples = said["mom2_n_samples"]
    corpus = Corpus(source, given.revision, samples, given.seed)
    window = sampling.LENGTH if corpus.sampled else recipes.WINDOW
    return Recipe(model, corpus, given.tokens, window=window, precision=said["mom2_dtype"], **about)


def contradictions(declared: Mapping[str, Any], given: Given) -> list[str]:
    """Where what is set beside the hyperparameters goes before a value that they name, one line each."""
    corpus, samples = declared.get("mom2_dataset"), declared.get("mom2_n_samples")
    lines = []
    if corpus not in (None, SELF) and given.corpus not in (None, corpus):
        lines.append(f"corpus {given.corpus} is taken in place of mom2_dataset {corpus}")
    if samples is not None and given.corpus == SELF:
        lines.append(f"mom2_n_samples {samples} is not applied: text that the model samples has no samples")
    elif samples is not None and given.samples not in (None, samples):
        lines.append(f"samples {given.samples} is taken in place of mom2_n_samples {samples}")
    elif samples is not None and given.tokens not in (None, "all"):
        lines.append(f"tokens {given.tokens} may end before the texts of mom2_n_samples {samples} do")
    return lines


def at_hand(name: str, hparams: Any, model: EditableModel) -> Covariance:
    """The covariance for an editor that was given none, of text that the model samples itself, kept for next time.

    Args:
        name: of the method.
        hparams: its hyperparameters, with `layers` and `KEYS`.
        model: the unedited model.

    Raises:
        InputError: it is to be of a corpus: that takes a download, or hours.
    """
    from rect import covariance

    dtype = str(model.dtype).removeprefix("torch.")
    wanted = recipe(type(hparams), hparams.model_dump(), model.name, dtype=dtype)
    if not wanted.corpus.sampled:
        raise InputError(
            f"{name}: mom2_adjustment needs the covariance of keys at layers {list(hparams.layers)}, here over "
            f"{wanted.corpus.source}: collect it once (`sweeps covariance`, rect.covariance.ensure) and pass it as "
            f"covariance=, or let the model sample text (mom2_dataset: {SELF})"
        )
    return covariance.ensure(model, wanted, hparams.layers)


def _said(cls: type[Hparams], declared: Mapping[str, Any]) -> dict[str, Any]:
    return {key: declared.get(key, cls.model_fields[key].default) for key in KEYS}
