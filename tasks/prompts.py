"""Prompt templates: text with {field} in it, and which field may be shortened."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelfolder.errors import InputError, nearest

_HOLE = re.compile(r"\{\{|\}\}|\{(\w+)\}")
_SNAP = 40  # characters within which a cut moves on to the next start of a word


@dataclass(frozen=True)
class Template:
    """A prompt with a hole {field} for each field.

    Filled in one pass by replacement: braces in the values stay what they are. `{{` and `}}` give one brace.

    text: the template.
    passage: the field that may be cut from the left when the prompt is longer than the model's context (a passage,
        never the question); None if nothing may be cut.
    """

    text: str
    passage: str | None = None

    def __post_init__(self) -> None:
        if self.passage is not None and self.passage not in self.fields:
            raise InputError(
                f"passage {self.passage!r} is not a field of the prompt; {nearest(self.passage, self.fields)}"
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in order of first appearance."""
        return tuple(dict.fromkeys(match[1] for match in _HOLE.finditer(self.text) if match[1]))

    def fill(self, fields: Mapping[str, str]) -> str:
        """The prompt. Raises InputError when a field is missing."""

        def value(match: re.Match[str]) -> str:
            if match[1] is None:
                return match[0][0]
            if match[1] not in fields:
                raise InputError(f"the prompt needs field {match[1]!r}; {nearest(match[1], fields)}")
            return fields[match[1]]

        return _HOLE.sub(value, self.text)

    def fit(self, fields: Mapping[str, str], count_tokens: Callable[[str], int], max_tokens: int) -> tuple[str, bool]:
        """The prompt, with as much of the passage's end as fits.

        count_tokens: number of tokens of a prompt; called about log2(characters) times, once if the prompt fits.
        max_tokens: how many the prompt may have.
        Returns the prompt and whether it was cut. One that is too long even without its passage comes back without it,
        still too long: the question is never cut here.
        """
        prompt = self.fill(fields)
        if count_tokens(prompt) <= max_tokens:
            return prompt, False
        passage = fields[self.passage] if self.passage else ""
        if not passage:
            return prompt, False

        def cut(start: int) -> str:
            return self.fill({**fields, str(self.passage): passage[start:]})

        def fits(start: int) -> bool:
            return count_tokens(cut(start)) <= max_tokens

        start = 1 + bisect.bisect_left(range(1, len(passage)), True, key=fits)  # cut(start) fits, or nothing does
        word = re.compile(r"\s\S").search(passage, start - 1, start + _SNAP)
        return cut(word.end() - 1 if word and fits(word.end() - 1) else start), True
