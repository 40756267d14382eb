"""Scripts that are written without spaces between words: Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan."""

from __future__ import annotations

import unicodedata

_NAMES = (
    "CJK ",
    "HIRAGANA",
    "KATAKANA",
    "HALFWIDTH KATAKANA",
    "BOPOMOFO",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
    "TIBETAN",
)


def is_unspaced(character: str) -> bool:
    """Whether a character is a letter of such a script."""
    return unicodedata.name(character, "").startswith(_NAMES)
