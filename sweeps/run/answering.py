"""Metrics of what a model says by itself (`rect.metrics.Spoken`): an engine is asked of a cell's facts.

What the unedited model says to the same questions is asked once and kept in the folder (`unedited/`); where texts are
to be left out, for as long as the workplace has the model.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from modelfolder.errors import InputError
from rect import facts as fact_sets
from rect import metrics
from rect.facts import Fact
from rect.metrics.spoken import Question, Rules
from sweeps.plan.chain import identify
from sweeps.plan.grid import Cell
from sweeps.plan.identity import Plan, base_state
from sweeps.plan.outline import metric_kind
from sweeps.run import scoring
from sweeps.run.measure import Unedited, rows_of
from sweeps.store.schema import Row, measurement
from sweeps.store.store import Store
from tasks.engines.base import Engine

log = logging.getLogger(__name__)

Heard = dict[tuple[int, Callable[[str], bool] | None], dict[str, str]]
"""{how long an answer may be, and when it is enough: {prompt: answer}}"""

STRIDE = 10_000
"""A question's index in the outputs: its fact's place in the edit set times this, and its place among the fact's."""


class Answering:
    """The spoken metrics of a cell.

    Args:
        plan, cell: whose facts are asked about.
        store: where the unedited model's answers are kept.
        unedited: what is remembered of the model.
    """

    def __init__(self, plan: Plan, cell: Cell, store: Store, unedited: Unedited) -> None:
        self.plan, self.cell, self.store, self.unedited = plan, cell, store, unedited

    def remember(self, names: Sequence[str], engine: Engine) -> dict[str, Exception]:
        """Know what the unedited model says to all that the cell will ask; the engine may have its weights afterwards.

        Returns:
            {metric that cannot be asked: why}.
        """
        return _each(names, engine, lambda name: self._remember(name, engine))[1]

    def _remember(self, name: str, engine: Engine) -> None:
        said = self.unedited.said.setdefault(self.plan.kinds[metric_kind(name)], {})
        questions = asked(name, self.plan.edited(self.cell, self.cell.checkpoints[-1]), engine)
        texts = list(dict.fromkeys(question.text for question in questions))
        if not said.keys() >= set(texts):
            said.update(self._unedited(name, texts, engine))

    def _unedited(self, name: str, texts: Sequence[str], engine: Engine) -> Mapping[str, str]:
        model = self.cell.model
        evaluation = self.plan.kinds[metric_kind(name)]
        place = f"unedited/{identify(base_state(model, self.plan.contents.get(model)), evaluation, texts)}.json"
        kept = self.store.folder.read_or_none(place)
        if kept is None:
            engine.restore()
            said = dict(zip(texts, _said(engine, self._rules(name), texts), strict=True))
            if not self.plan.config.tasks.keep_texts:
                return said
            kept = self.store.shared(place, json.dumps(said, ensure_ascii=False).encode())
        found: dict[str, str] = json.loads(kept)
        return found

    def scores(
        self, names: Sequence[str], n_edits: int, engine: Engine
    ) -> tuple[list[Row], list[Row], dict[str, Exception]]:
        """(rows, outputs, {metric that failed: why}) of an engine with the edited weights; `remember` comes first.

        What several metrics ask alike is asked once.
        """
        heard: Heard = {}
        found, failed = _each(names, engine, lambda name: self._scores(name, n_edits, engine, heard))
        return [row for rows, _ in found for row in rows], [row for _, outputs in found for row in outputs], failed

    def _scores(self, name: str, n_edits: int, engine: Engine, heard: Heard) -> tuple[list[Row], list[Row]]:
        began = time.perf_counter()
        rules, evaluation = self._rules(name), self.plan.kinds[metric_kind(name)]
        facts = fact_sets.distinct(self.plan.edited(self.cell, n_edits))
        questions = asked(name, facts, engine)
        before = self.unedited.said[evaluation]
        known = heard.setdefault((rules.BUDGET, rules.enough), {})
        new = [text for text in dict.fromkeys(question.text for question in questions) if text not in known]
        known.update(zip(new, _said(engine, rules, new), strict=True))
        said = [known[question.text] for question in questions]
        judged = [rules.judge(q, text, before[q.text]) for q, text in zip(questions, said, strict=True)]
        took = measurement("time", "answering_seconds", time.perf_counter() - began, n=len(questions))
        rows = [took, *rows_of(rules.scores(name, facts, questions, judged), evaluation)]
        outputs = []
        for index, question, text, figures in zip(
            self._indices(facts, questions), questions, said, judged, strict=True
        ):
            gold = {"kind": question.kind, "answers": list(question.right), "before": before[question.text]}
            outputs.append({
                "task": metric_kind(name),
                "index": index,
                "prompt": question.text,
                "output": text,
                "gold": json.dumps(gold, ensure_ascii=False),
                "score": next((figures[one] for one in rules.SHOWN if one in figures), math.nan),
                "evaluation": evaluation,
                "unit": f"fact-{question.fact}",
                "numerator": math.nan,
                "denominator": math.nan,
            })  # fmt: skip
        if not self.plan.config.tasks.keep_texts:
            outputs = [{**row, "prompt": None, "output": None, "gold": None} for row in outputs]
        return rows, outputs

    def _rules(self, name: str) -> Rules:
        metric = _of(name)
        return metric.rules(getattr(self.plan.config.edits, metric.given) if metric.given else None)

    def _indices(self, facts: Sequence[Fact], questions: Sequence[Question]) -> list[int]:
        """The same question has the same index in all cells of a sweep."""
        places = {fact.edit: place for place, fact in enumerate(fact_sets.distinct(self.plan.facts))}
        of_fact: dict[int, int] = {}
        found = []
        for question in questions:
            number = of_fact[question.fact] = of_fact.get(question.fact, -1) + 1
            found.append(places[facts[question.fact].edit] * STRIDE + number)
        return found


def _said(engine: Engine, rules: Rules, texts: Sequence[str]) -> list[str]:
    return engine.generate(texts, rules.BUDGET, rules.enough)


def asked(name: str, facts: Sequence[Fact], engine: Engine) -> list[Question]:
    """The questions of a metric about facts, each edit once.

    Raises:
        InputError: one does not fit into the context with its answer (the fact is named), or the model has no chat
            template.
    """
    facts, budget = fact_sets.distinct(facts), _of(name).budget
    questions = _of(name).questions(facts, engine.chat)
    lengths = map(len, engine.texts.encode([question.text for question in questions]))
    for question, length in zip(questions, lengths, strict=True):
        if length + budget > engine.max_model_len:
            raise InputError(
                f"{facts[question.fact].shown}: {question.kind} prompt has {length} tokens, with an answer of {budget} "
                f"more than the context of {engine.max_model_len}"
            )
    return questions


R = TypeVar("R")


def _each(names: Sequence[str], engine: Engine, call: Callable[[str], R]) -> tuple[list[R], dict[str, Exception]]:
    """What comes of each metric, and those that failed. Raises where the engine is of no use any more."""
    found, lost = [], {}
    for name in names:
        try:
            found.append(call(name))
        except Exception as error:
            scoring.check_sound(engine, error)
            lost[metric_kind(name)] = failed(metric_kind(name), error)
    return found, lost


def failed(kind: str, error: Exception) -> Exception:
    """Tell that a metric failed: it costs its own rows alone."""
    log.warning("%s failed: %s", kind, line(error), exc_info=None if isinstance(error, InputError) else error)
    return error


def line(error: Exception) -> str:
    """The first line of what it says."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _of(name: str) -> metrics.Spoken:
    found = metrics.get(name)
    assert isinstance(found, metrics.Spoken)
    return found
