"""What all parts of a configuration share: frozen, and an unknown key or name is an error that knows the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


class Strict(BaseModel):
    """Frozen; an unknown key is an error that names the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = list(cls.model_fields) + list(cls._also())
            for key in data:
                if key not in known:
                    context = {"key": str(key), "nearest": nearest(str(key), known) or ";", "known": ", ".join(known)}
                    text = "unknown key '{key}'{nearest} known are {known}"
                    raise PydanticCustomError("unknown_key", text, context)
        return data

    @classmethod
    def _also(cls) -> tuple[str, ...]:
        """Keys that are read but are no fields: short forms."""
        return ()


def nearest(word: str, known: Sequence[str]) -> str:
    """ "; did you mean 'x'?" or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f", did you mean '{close[0]}'?" if close else ""


def known_name(kind: str, name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise PydanticCustomError("unknown_name", "unknown {kind} '{name}'{nearest} known are {known}", {
            "kind": kind, "name": name, "nearest": nearest(name, known) or ";", "known": ", ".join(known)})  # fmt: skip
    return name


class Named(Strict):
    """What may be written as its bare name."""

    name: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data
