"""What knowing nothing scores in a task of the lm-evaluation-harness, as far as that can be read off the task."""

from __future__ import annotations

import logging
import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tasks import chance as floor

log = logging.getLogger(__name__)

OF_CHOICES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")
MATCHES = {"generate_until": ("exact_match",), "loglikelihood": ("acc",)}


def chance(docs: Sequence[tuple[Any, Any]]) -> float:
    """Chance over (task, document) pairs, by `tasks.chance`; NaN where one of the tasks scores in a way of its own.

    The harness's metric is the first that a task lists where higher is better, as for `score`.
    """
    try:
        return _chance(docs)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # a task of an unusual make
        log.warning("chance is not known: %s cannot be read (%s: %s)", docs[0][0], type(error).__name__, error)
        return math.nan


def _chance(docs: Sequence[tuple[Any, Any]]) -> float:
    if not docs:
        return math.nan
    kinds = {id(task): _kind(task) for task, _ in docs}
    if set(kinds.values()) == {"choices"}:
        return floor.of_choices([_worth(task, doc) for task, doc in docs])
    if set(kinds.values()) == {"match"}:
        golds = [_gold(task, doc) for task, doc in docs]
        if None in golds:
            return math.nan
        counts = Counter(golds)
        return floor.of_answers([str(gold) for gold in golds], lambda gold: counts[gold] / len(golds))
    return math.nan


def _kind(task: Any) -> str:
    """ "choices", "match" or "" for what is not known."""
    if task.config.process_results is not None:  # the task's own arithmetic
        return ""
    better = task.higher_is_better()
    metric = next((name for name in better if better[name] is not False), "")
    if task.OUTPUT_TYPE == "multiple_choice":
        return "choices" if metric in OF_CHOICES else ""
    return "match" if metric in MATCHES.get(task.OUTPUT_TYPE, ()) else ""


def _worth(task: Any, doc: Any) -> dict[str, float]:
    """Which choices of a document are right: one, or several."""
    choices = [str(choice) for choice in task.doc_to_choice(doc)]
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    golds = gold if isinstance(gold, list) else [gold]
    right = {choices[one] if isinstance(one, int) and 0 <= one < len(choices) else one for one in golds}
    return {choice: float(choice in right) for choice in choices}


def _gold(task: Any, doc: Any) -> str | None:
    """The one right answer of a document; None where there are several."""
    gold = task.doc_to_target(doc)
    if task.config.doc_to_choice is not None and isinstance(gold, int):
        gold = task.doc_to_choice(doc)[gold]
    return None if isinstance(gold, list) else _normalized(task, str(gold))


def _normalized(task: Any, text: str) -> str:
    """As `exact_match` compares it: without what the task's metric ignores."""
    metrics = task.config.metric_list or []
    options: dict[str, Any] = next((one for one in metrics if one.get("metric") == "exact_match"), {})
    for pattern in options.get("regexes_to_ignore") or ():
        text = re.sub(pattern, "", text)
    text = text.lower() if options.get("ignore_case") else text
    gone = string.punctuation * bool(options.get("ignore_punctuation"))
    gone += string.digits * bool(options.get("ignore_numbers"))
    return text.translate(str.maketrans("", "", gone))
