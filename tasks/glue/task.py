"""What the six have in common: balanced examples, five tokens, weighted F1.

`score` is the share of right answers, by the first allowed word that stands by itself. `f1` is the weighted F1 of the
same answers, `score_release` that of the release's rule: it looks for the words in a fixed order, within words too.
In likelihood mode `f1` is of the likelier answer (the release's f1_new).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from modelfolder.errors import InputError
from tasks import sources
from tasks.base import Judgement, Labelled, paired
from tasks.glue.weighted import weighted_f1
from tasks.records import Example, Examples
from tasks.scores import Score
from tasks.text import first_standalone

log = logging.getLogger(__name__)

EXAMPLES = 100
CITATION = "Prompts and rule: Fang et al. 2025, AlphaEdit, ICLR (its code: glue_eval)"


class GlueTask(Labelled):
    """One of the six. A subclass says its prompt, data, `labels`, `answers` ({gold: continuation}), the release's rule.

    Attributes:
        fold: whether the case of an answer is ignored.
        behind: what the release cuts an output behind, at its last occurrence.
        words: {what the release looks for anywhere in an output, lower-cased: the gold that it takes it for}, the first
            one counts; none for the golds themselves, in the order of `answers`.
    """

    max_new_tokens = 5
    fold: ClassVar[bool] = True
    behind: ClassVar[str] = ""
    words: ClassVar[Mapping[str, str]] = {}
    metric = "accuracy of the first allowed word that stands by itself; f1 and score_release: weighted F1"

    def examples(self, source: str | Path = "bundled", limit: int | None = None, seed: int = 0) -> Examples:
        """As many of each gold, 100 in all where no limit is given.

        The draw depends on seed, task and index alone: a larger limit only adds to a smaller one.
        """
        if source == "bundled":
            raise InputError(f"task {self.name!r} has no bundled data; give a directory with its files, or hub")
        found = sources.examples(self, source, None, seed)
        by_gold: dict[str, list[Example]] = {gold: [] for gold in self.answers}
        for example in found:
            by_gold[example.gold].append(example)
        wanted = EXAMPLES if limit is None else limit
        if wanted < 1:
            raise InputError(f"examples must be at least 1 (or none given, for {EXAMPLES}), not {wanted}")
        least = min(map(len, by_gold.values()))
        if least * len(by_gold) < wanted:
            log.warning(
                "%s: %d balanced examples asked for, the source has %d", self.name, wanted, least * len(by_gold)
            )
        kept: set[str] = set()
        for place, one in enumerate(by_gold.values()):
            if share := min(wanted // len(by_gold) + (place < wanted % len(by_gold)), least):
                groups = {int(example.id): [example] for example in one}
                kept |= {example.id for example in sources.drawn(groups, self.name, share, seed)}
        return Examples([example for example in found if example.id in kept], found.provenance)

    # Scoring --------------------------------------------------------------------------------------------------------

    def answer(self, output: str) -> str | None:
        """The gold that an output says."""
        words = {said.strip(): gold for gold, said in self.answers.items()}
        found = first_standalone(output, list(words), fold=self.fold)
        return None if found is None else words[found]

    def released(self, output: str) -> str | None:
        """The gold that the release takes an output for."""
        said = (output.rpartition(self.behind)[2] if self.behind else output).lower()
        words = self.words or {gold: gold for gold in self.answers}
        return next((gold for word, gold in words.items() if word in said), None)

    def release_gold(self, example: Example) -> str:
        """The answer that the release holds to be right."""
        return str(example.gold)

    def judge(self, output: str, example: Example) -> Judgement:
        answer = self.answer(output)
        release = float(self.released(output) == self.release_gold(example))
        return Judgement(float(answer == example.gold), release, answer is not None)

    def gold_output(self, example: Example) -> str:
        return self.answers[example.gold]

    def score(self, outputs: Sequence[str], examples: Sequence[Example]) -> dict[str, Score]:
        """As `Task.score`, with `f1`; `score_release` is a weighted F1 too."""
        scores = super().score(outputs, examples)
        golds = [example.gold for example in examples]
        released = [self.release_gold(example) for example in examples]
        return scores | {
            "score_release": weighted_f1(released, [self.released(output) for output in outputs]),
            "f1": weighted_f1(golds, [self.answer(output) for output in outputs]),
        }

    def score_choices(self, logprobs: Sequence[Sequence[float]], examples: Sequence[Example]) -> dict[str, Score]:
        """As `Task.score_choices`, with `f1`."""
        scores = super().score_choices(logprobs, examples)
        answers = [self._likeliest(values) for values, _ in paired(logprobs, examples)]
        return scores | {"f1": weighted_f1([example.gold for example in examples], answers)}

    def _likeliest(self, logprobs: Sequence[float]) -> str | None:
        if any(map(math.isnan, logprobs)):
            return None
        return list(self.answers)[max(range(len(logprobs)), key=lambda i: logprobs[i])]
