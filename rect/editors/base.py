"""What every editing method is: something that computes an update for some facts and leaves the model alone."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from modelfolder.errors import InputError
from rect import lengths
from rect.editors.hyperparameters import Hparams
from rect.facts import Fact
from rect.history import History

if TYPE_CHECKING:
    from rect.covariance import Covariance
    from rect.model import EditableModel
    from rect.prefixes import Prefixes
    from rect.update import Update


class Editor(abc.ABC):
    """One method with its hyperparameters.

    Args:
        hparams: its hyperparameters.

    Attributes:
        name: the method's name.
        version: goes up when the numbers change.
        batch: takes several facts in one operation.
        sparse: most elements of an update are zero, so that RECT may keep all that are not.
        remembers: earlier operations of the sequence count, beside what they did to the weights.
        hparams_class: its hyperparameters' class.
        declared: what the identity says of the hyperparameters.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    batch: ClassVar[bool]
    sparse: ClassVar[bool] = False
    remembers: ClassVar[bool] = False
    hparams_class: ClassVar[type[Hparams]]
    prefixes: Prefixes | None = None  # of the methods that use some, likewise
    covariance: Covariance | None = None

    def __init__(self, hparams: Hparams) -> None:
        self.hparams = hparams
        self.declared: dict[str, Any] = hparams.model_dump(mode="json")

    def compute(self, model: EditableModel, facts: Sequence[Fact], history: History | None = None) -> Update:
        """The update of one operation. The model is the same before and after, to the bit.

        Other threads that use the model wait meanwhile.

        Args:
            model: as it stands: edits that were made before count.
            facts: one fact, or several if `batch`.
            history: of the earlier operations; a method that does not remember them ignores it.

        Raises:
            InputError: no fact, or several for a method that takes one at a time, or one that is too long for the
                model or whose tokens are not what they should be (`rect.lengths`); no history for a method that
                remembers, on a model that was edited.
            UpdateError: the update holds NaN or infinity.
        """
        if not facts:
            raise InputError(f"{self.name}: no fact to edit")
        if len(facts) > 1 and not self.batch:
            raise InputError(f"{self.name} takes one fact in an operation, not {len(facts)}")
        lengths.check_edit(model, facts, self.contexts)
        with model.lock:
            if history is None and self.remembers and model.changed():
                raise InputError(
                    f"{self.name}: {model.name} was edited before: pass the history of these operations (rect.History)"
                )
            update = self._compute(model, list(facts), History() if history is None else history)
            about = {"editor": self.identity(), "facts": [fact.model_dump() for fact in facts]}
        update.provenance = {**about, **update.provenance}
        update.check_finite()
        return update

    @property
    def contexts(self) -> Sequence[str]:
        """Context templates that the edit prompt stands in, `{}` alone where there are none."""
        return lengths.BARE

    @abc.abstractmethod
    def _compute(self, model: EditableModel, facts: list[Fact], history: History) -> Update:
        """The update; its provenance need not name the editor and the facts."""

    @classmethod
    def build(cls, model: EditableModel, hparams: Hparams, prefixes: Any, covariance: Any) -> Self:
        """Make an editor for a model from what a user gave; methods take what they need of it."""
        return cls(hparams)

    @classmethod  # noqa: B027 - most methods need nothing
    def check(cls, model_name: str, hparams: Mapping[str, Any]) -> None:
        """Before anything is loaded: is there what `build` will need? `hparams` as declared.

        Raises:
            InputError: it is not, with what to do about it.
        """

    @classmethod
    def describe(cls, hparams: Mapping[str, Any], prefixes: Any = None, covariance: Any = None) -> dict[str, Any]:
        """An editor's identity from what is declared of its parts."""
        return {"name": cls.name, "version": cls.version, "hparams": dict(hparams)}

    def identity(self) -> dict[str, Any]:
        """All that the update depends on beside model and facts, as JSON: declared things only."""
        used = (None if one is None else one.identity for one in (self.prefixes, self.covariance))
        return self.describe(self.declared, *used)
