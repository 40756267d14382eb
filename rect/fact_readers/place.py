"""Where a subject stands in a prompt: as it is written, else in another case or composed otherwise in Unicode.

Text is compared by clusters, a character with the marks behind it, each decomposed (NFD) and case folded: "Zürich" with
a composed and a decomposed u-umlaut are one name, and no match begins or ends within a letter.
"""

from __future__ import annotations

import re
import unicodedata

from modelfolder.errors import InputError

JAMO = range(0x1160, 0x1200)  # vowels and final consonants, which continue a Hangul syllable


def put(prompt: str, subject: str) -> tuple[str, str]:
    """(the prompt with {} where the subject stands, the subject as it stands there).

    It is looked for as it is written, first as a word, then anywhere: the first place counts. Where it is not there it
    is looked for in another case or composition, which must then be one spelling. A prompt with {} is left as it is.

    Raises:
        InputError: it is not in the prompt, or only in several other spellings.
    """
    subject = subject.strip()
    if "{}" in prompt or not subject:
        return prompt, subject
    found = re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", prompt) or re.search(re.escape(subject), prompt)
    start, end = found.span() if found else _otherwise(prompt, subject)
    return prompt[:start] + "{}" + prompt[end:], prompt[start:end]


def _otherwise(prompt: str, subject: str) -> tuple[int, int]:
    """Where the subject stands in another spelling."""
    places = [*_places(prompt, subject)]
    words = [(a, b) for a, b in places if not prompt[:a][-1:].isalnum() and not prompt[b:][:1].isalnum()]
    places = words or places
    spellings = list(dict.fromkeys(prompt[a:b] for a, b in places))
    if not places:
        raise InputError(f"subject not in prompt: {subject!r} does not occur in {prompt!r}, nor does {{}}")
    if len(spellings) > 1:
        listed = " and ".join(map(repr, spellings[:3]))
        raise InputError(f"subject not in prompt: {subject!r} does not occur in {prompt!r} as written, but as {listed}")
    return places[0]


def _places(prompt: str, subject: str) -> list[tuple[int, int]]:
    """(start, end) of each run of clusters of the prompt that reads as the subject's."""
    here, wanted = _clusters(prompt), [key for key, _, _ in _clusters(subject)]
    keys = [key for key, _, _ in here]
    n = len(wanted)
    return [(here[i][1], here[i + n - 1][2]) for i in range(len(keys) - n + 1) if keys[i : i + n] == wanted]


def _clusters(text: str) -> list[tuple[str, int, int]]:
    """(what it reads as, start, end) of each character with the marks behind it."""
    starts = [i for i, c in enumerate(text) if not i or not (unicodedata.combining(c) or ord(c) in JAMO)]
    ends = [*starts[1:], len(text)]
    return [(_key(text[a:b]), a, b) for a, b in zip(starts, ends, strict=True)]


def _key(cluster: str) -> str:
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", cluster).casefold())
