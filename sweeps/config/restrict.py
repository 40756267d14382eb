"""A setting that is not for every model, method and regularizer of a sweep, as in the paper's grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from modelfolder.errors import InputError, nearest
from sweeps.config.strict import Strict


class Restricted(Strict):
    """Names of the sweep's own lists that a setting is for; None: all of them.

    Attributes:
        models: models, by label or name.
        methods: methods, by label or name.
        regularizers: names of regularizers, each with all its k.
    """

    models: tuple[str, ...] | None = Field(default=None, min_length=1)
    methods: tuple[str, ...] | None = Field(default=None, min_length=1)
    regularizers: tuple[str, ...] | None = Field(default=None, min_length=1)

    def check(self, index: int, known: Mapping[str, Sequence[str]]) -> None:
        """Raise InputError for a name that the sweep does not have.

        Args:
            index: of the setting in the list.
            known: per attribute the names that it may hold.
        """
        for key, names in known.items():
            for name in getattr(self, key) or ():
                if name not in names:
                    hint = nearest(name, dict.fromkeys(names), "there are ")
                    raise InputError(f"settings.{index}.{key}: '{name}' is not among the sweep's {key}; {hint}")

    def takes(self, key: str, *names: str) -> bool:
        """Whether it is for something, under any of its names."""
        only = getattr(self, key)
        return only is None or any(name in only for name in names)
