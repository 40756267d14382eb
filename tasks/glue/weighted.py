"""Weighted F1: the mean of the classes' F1, each weighed by how many examples have that gold (scikit-learn's)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from tasks.scores import Score, mean_of_ratios


def weighted_f1(golds: Sequence[Hashable], answers: Sequence[Hashable]) -> Score:
    """sum_c w_c F_c, F_c = 2 TP_c / (2 TP_c + FP_c + FN_c), w_c the share of c among the golds.

    An answer that is no gold's (None) is a miss. The standard error is the delta method's (`mean_of_ratios`), with w_c
    as they are, a_ic = 2 [gold = answer = c] and b_ic = [gold = c] + [answer = c].
    """
    classes, pairs = Counter(golds), list(zip(golds, answers, strict=True))
    ratios = [
        (
            [2.0 * (gold == answer == one) for gold, answer in pairs],
            [float(gold == one) + float(answer == one) for gold, answer in pairs],
        )
        for one in classes
    ]
    return mean_of_ratios(ratios, len(golds), list(classes.values()))
