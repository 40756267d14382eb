"""Whether a space stands between a prompt and the answer behind it: one rule, for editing and for evaluation.

One space, but none

- where the answer begins with one;
- where either side of the place is a letter of a script without spaces (Chinese, Japanese, Thai ...) or its full-width
  punctuation;
- where the answer begins with a mark that belongs to the word before it (. , ; : ! ? % ) ] } or a clitic such as 's),
  unless a letter or digit follows the mark, as in ".NET";
- where the prompt ends with an opening bracket or quotation mark.

A fact's `space` says otherwise.
"""

from __future__ import annotations

import re

from modelfolder.scripts import is_unspaced

WIDE = (range(0x3000, 0x3040), range(0xFE30, 0xFE50), range(0xFF00, 0xFF66))  # punctuation of East Asian scripts
BOUND = re.compile(r"[.,;:!?%)\]}…»”]+(?!\w)|['’](?:s|t|d|m|re|ve|ll)\b")
OPEN = "([{«“‘¿¡"


def joint(prompt: str, answer: str, space: bool | None = None) -> str:
    """What stands between a prompt and an answer: " " or "".

    Args:
        prompt: without white space at its end.
        answer: as it follows.
        space: what the user says; None: what the text says.
    """
    if answer.startswith(" "):
        return ""
    if space is not None:
        return " " if space else ""
    sides = prompt[-1:] + answer[:1]
    wide = any(is_unspaced(character) or any(ord(character) in some for some in WIDE) for character in sides)
    return "" if wide or BOUND.match(answer) or prompt.endswith(tuple(OPEN)) else " "
