"""What the earlier operations of a sequence left for the next one: keys, and whatever else an update carries.

    history = History()
    for facts in operations:
        update = editor.compute(model, facts, history)
        kept = regularizer(update, model, k=40, history=history)
        model.add(kept)
        history = history.after(kept)

An update carries its memory in its file, so a history is rebuilt from stored updates without a forward pass.

**Which keys.** Those that the solve of the operation used: of each layer with the layers below it edited by the *raw*
update. A regularizer that cuts a lower layer's update afterwards changes what the layer above sees, and the keys that
are remembered are still those of the solve: they are known from the stored update alone, and are the ones that the
update was computed for. (Released code takes them anew when all layers are written; where nothing was cut the two are
equal to the bit.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from modelfolder.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from rect.update import Update

KEYS = "keys"


class History:
    """The memory of some operations, in their order; made longer by `after`, never changed."""

    def __init__(self) -> None:
        self._operations = 0
        self._keys: dict[str, tuple[Tensor, ...]] = {}
        self._last: Mapping[str, Mapping[str, Tensor]] = {}

    def __len__(self) -> int:
        """Number of operations."""
        return self._operations

    def after(self, update: Update) -> History:
        """The history with one more operation.

        Args:
            update: as it was applied, regularized or not: regularizers pass its memory on.
        """
        longer = History()
        longer._operations = self._operations + 1
        longer._keys = dict(self._keys)
        for name, parts in update.memory.items():
            if KEYS in parts:
                longer._keys[name] = (*self._keys.get(name, ()), parts[KEYS])
        longer._last = update.memory
        return longer

    def keys(self, name: str) -> tuple[Tensor, ...]:
        """Keys of a matrix, one tensor (facts, in) per operation.

        Raises:
            InputError: an operation left none.
        """
        keys = self._keys.get(name, ())
        if len(keys) != self._operations:
            raise InputError(
                f"{name}: of {self._operations} earlier operations {self._operations - len(keys)} left no keys: their "
                f"updates are of a method without, or were computed by an earlier version"
            )
        return keys

    def past(self, name: str, dimension: int) -> Tensor | None:
        """Keys of a matrix over all operations, K_p (in, facts) in float64, where the last ones lie; None before the
        first one.

        Raises:
            InputError: an operation left none, or keys of another dimension.
        """
        import torch

        keys = self.keys(name)
        if not keys:
            return None
        if wrong := {part.shape[1] for part in keys} - {dimension}:
            raise InputError(f"{name}: the history's keys have {min(wrong)} dimensions, those of the model {dimension}")
        return torch.cat([part.to(keys[-1].device, torch.float64) for part in keys]).T

    def last(self, name: str, part: str) -> Tensor | None:
        """What the last operation left of a matrix under a name, if it did."""
        return self._last.get(name, {}).get(part)
