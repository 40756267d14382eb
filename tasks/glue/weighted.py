"""Weighted F1: the mean of the classes' F1, each weighed by how many examples have that gold (scikit-learn's)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from tasks.scores import Score


def weighted_f1(golds: Sequence[Hashable], answers: Sequence[Hashable]) -> Score:
    """sum_c w_c F_c, F_c = 2 TP_c / (2 TP_c + FP_c + FN_c), w_c the share of c among the golds.

    An answer that is no gold's (None) is a miss. The standard error is the delta method's, with w_c as they are:
    variance n / (n - 1) sum_i u_i^2, u_i = sum_c w_c (a_ic - F_c b_ic) / sum_j b_jc, where a_ic = 2 [gold = answer = c]
    and b_ic = [gold = c] + [answer = c].
    """
    n = len(golds)
    value, influences = 0.0, [0.0] * n
    for one, count in Counter(golds).items():
        above = [2.0 * (gold == answer == one) for gold, answer in zip(golds, answers, strict=True)]
        below = [float(gold == one) + float(answer == one) for gold, answer in zip(golds, answers, strict=True)]
        total = math.fsum(below)  # at least the golds
        f1 = math.fsum(above) / total
        value += count / n * f1
        for i in range(n):
            influences[i] += count / n * (above[i] - f1 * below[i]) / total
    if n == 0:
        return Score(math.nan, math.nan, 0)
    stderr = math.sqrt(n / (n - 1) * math.fsum(u * u for u in influences)) if n > 1 else math.nan
    return Score(value, stderr, n)
