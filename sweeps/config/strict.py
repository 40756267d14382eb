"""What all parts of a configuration share: frozen; what is wrong with one is one line that knows the nearest name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from modelfolder.errors import InputError, closest, nearest

Count = Annotated[int, Field(ge=1)]
Percent = Annotated[float, Field(gt=0, le=100)]
Kind = TypeVar("Kind", bound="Strict")
KINDS = ("instance-sequential", "batch-single", "batch-sequential")


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
                    context = {"key": str(key), "hint": nearest(key, known)}
                    raise PydanticCustomError("unknown_key", "unknown key '{key}'; {hint}", context)
        return data

    @classmethod
    def _also(cls) -> tuple[str, ...]:
        """Keys that are read but are no fields: short forms."""
        return ()


def known_name(kind: str, name: str, known: Collection[str]) -> str:
    if name not in known:
        raise InputError(f"unknown {kind} '{name}'; {nearest(name, known)}")
    return name


class Named(Strict):
    """What may be written as its bare name."""

    name: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data


def parse(
    kind: type[Kind], data: dict[str, Any], source: str, lines: dict[str, int] | None = None, given: Sequence[str] = ()
) -> Kind:
    """Plain data as a part of a configuration.

    Args:
        lines: where a dotted key stands in `source`.
        given: keys set on the command line.

    Raises:
        InputError: one line with the place, the dotted key, what is wrong and what would be right.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise InputError(_one_line(error, source, lines or {}, given)) from None


def _one_line(error: ValidationError, source: str, lines: dict[str, int], given: Sequence[str]) -> str:
    # A list all of whose items are wrong is reported as too short besides: the items say more.
    errors = [e for e in error.errors(include_url=False) if not (e["type"] == "too_short" and e["input"])]
    first = errors[0]
    key = ".".join(str(part) for part in first["loc"] if part not in KINDS)
    if first["type"] == "unknown_key":
        key = ".".join(filter(None, [key, first["ctx"]["key"]]))
    where = source
    line = lines.get(key) or lines.get(key.rpartition(".")[0])
    if any(key == one or key.startswith(one + ".") or one.startswith(key + ".") for one in given):
        where = "--set"
    elif line:
        where = f"{source}:{line}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{where}: {key + ': ' if key else ''}{_reason(first)}{more}"


def _reason(first: Any) -> str:
    kind, message, found = first["type"], first["msg"], first["input"]
    if kind == "missing":
        return "this key is missing"
    if kind == "extra_forbidden":
        return "this key is not known"
    if kind == "too_short":
        return "the list is empty: at least one entry is wanted"
    if kind == "union_tag_not_found":
        return f"the key 'kind' is missing: one of {', '.join(KINDS)}"
    if kind == "union_tag_invalid":
        tag = first["ctx"]["tag"]
        return f"unknown kind '{tag}'; {nearest(tag, KINDS)}"
    if kind == "unknown_key":
        return message
    if kind == "value_error":  # an InputError of ours
        return str(first["ctx"]["error"])
    hint = closest(found, first["ctx"]["expected"].replace("'", "").split(" or ")) if kind == "literal_error" else ""
    return f"{message[0].lower()}{message[1:]}, found {found!r}; {hint}".rstrip("; ")
