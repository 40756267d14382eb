"""What an output scores that knows nothing of the question: the floor above which a task can tell anything.

For a task with choices: guessing among them, or the best constant answer, if that scores more. For another: the best
constant answer. An answer that only one example has is none: it would be right there alone, and knows that example.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

CONSTANTS = 10  # of the most common answers so many are tried


def of_choices(worth: Sequence[Mapping[str, float]]) -> float:
    """Chance of a task with choices; NaN without examples.

    Args:
        worth: per example what each of its choices scores.
    """
    if not worth:
        return math.nan
    guessed = math.fsum(math.fsum(scores.values()) / len(scores) for scores in worth)
    constant: defaultdict[str, list[float]] = defaultdict(list)
    for scores in worth:
        for choice, score in scores.items():
            constant[choice].append(score)
    shared = [math.fsum(scores) for scores in constant.values() if len(scores) > 1]
    return max([guessed, *shared]) / len(worth)


def of_answers(answers: Sequence[str], score: Callable[[str], float]) -> float:
    """Chance of a task without choices; NaN without examples.

    Args:
        answers: a right answer per example.
        score: of one answer given to all examples.
    """
    if not answers:
        return math.nan
    common = [answer for answer, count in Counter(answers).most_common(CONSTANTS) if count > 1]
    return max((score(answer) for answer in common), default=0.0)
