"""Names that a configuration may use, known without importing what is behind them (torch takes seconds)."""

from __future__ import annotations

from rect.editors.easyeditor import environment

METHODS = (
    *("kn", "memit", "mend", "rome", "alphaedit", "emmet", "encore", "memit-history", "r-rome"),
    *(environment.PREFIX + name for name in environment.METHODS),
)
ONE_FACT = ("kn", "rome", "r-rome", "easyeditor:KN", "easyeditor:ROME")
SPARSE = ("kn", "easyeditor:KN")
REGULARIZERS = (
    *("none", "rect", "random", "pca", "pca-release", "magnitude"),
    *("rect-feedback", "sphere", "null-space", "simie", "prune"),
)
KEEP_LARGEST = ("rect", "magnitude")  # elements that are 0 come last


def methods(wanted: str) -> tuple[str, ...]:
    """Registered editing methods. The registry itself is opened only for a name that is not among the usual ones."""
    if wanted in METHODS:
        return METHODS
    from rect.editors import EDITORS

    return tuple(EDITORS)


def regularizers(wanted: str) -> tuple[str, ...]:
    """Registered regularizers; as `methods`."""
    if wanted in REGULARIZERS:
        return REGULARIZERS
    from rect.regularizers import REGULARIZERS as registry

    return tuple(registry)


def tasks() -> tuple[str, ...]:
    """Registered tasks, in the paper's order."""
    import tasks as package

    return tuple(package.NAMES)


def takes_batches(method: str) -> bool:
    """Whether a method takes several facts in one operation."""
    if method in ONE_FACT:
        return False
    if method in METHODS:
        return True
    from rect.editors import EDITORS

    return EDITORS[method].batch


def is_sparse(method: str) -> bool:
    """Whether most elements of a method's updates are zero."""
    if method in METHODS:
        return method in SPARSE
    from rect.editors import EDITORS

    return EDITORS[method].sparse
