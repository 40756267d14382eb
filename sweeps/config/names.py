"""Names that a configuration may use: those of the registries, which are read without what is behind them."""

from __future__ import annotations

import tasks as package
from rect.editors import EDITORS
from rect.metrics import METRICS
from rect.regularizers import REGULARIZERS

KEEP_LARGEST = ("rect", "magnitude")  # elements that are 0 come last


def methods() -> tuple[str, ...]:
    """Registered editing methods."""
    return tuple(EDITORS)


def regularizers() -> tuple[str, ...]:
    """Registered regularizers."""
    return tuple(REGULARIZERS)


def metrics() -> tuple[str, ...]:
    """Registered metrics beside reliability, generalization and locality."""
    return tuple(METRICS)


def tasks() -> tuple[str, ...]:
    """Registered tasks, in the paper's order."""
    return tuple(package.NAMES)


def takes_batches(method: str) -> bool:
    """Whether a method takes several facts in one operation."""
    return EDITORS[method].batch


def is_sparse(method: str) -> bool:
    """Whether most elements of a method's updates are zero."""
    return EDITORS[method].sparse
