"""Named entity recognition: CoNLL-2003, each sentence asked once for each of four types."""

from __future__ import annotations

import re
from collections.abc import Sequence

from modelfolder.errors import InputError
from tasks import fields
from tasks.base import Judgement, Task, paired
from tasks.prompts import Template
from tasks.records import Data, Example, HubData
from tasks.scores import Score, mean, mean_of_ratios, ratio

TYPES = {"PER": "Person", "LOC": "Location", "ORG": "Organization", "MISC": "Miscellaneous"}
_SEPARATORS = re.compile(r"[,;\n\r]")


class NER(Task):
    """An example is a (sentence, type) pair; a sentence gives four, and a limit counts sentences.

    score: micro F1 over (sentence, type, entity string), the output split at commas, semicolons and line ends,
    repeated strings counted once. release: per type the share of gold entities that occur anywhere in the output, mean
    over the types that have gold entities. Standard errors: delta method over sentences (tasks.scores). A pair with
    neither gold nor named entities counts in neither score.
    """

    name = "ner"
    max_new_tokens = 10
    template = Template(
        "Please identify {type} Entity from the given text. Text: {sentence} Entity:", passage="sentence"
    )
    metric = "micro F1 over (sentence, type, entity string)"
    data = Data(
        title="CoNLL-2003, English, four examples a sentence",
        split="test",
        size=3453,
        licence="Reuters text, research use only",
        citation="Tjong Kim Sang and De Meulder 2003, CoNLL-2003 Shared Task, W03-0419",
        files=("test-NER.txt", "conll2003.jsonl", "conll2003/test.txt", "eng.testb", "conll2003/eng.testb"),
        hub=HubData("lhoestq/conll2003", None, "test"),
        text="conll",
    )

    def parse(self, record: fields.Record, index: str) -> list[Example]:
        """`tokens`, `ner_tags` (O, B-/I- with PER, LOC, ORG, MISC). Gold: the entity strings of the type, in order."""
        tokens = fields.texts(record, "tokens")
        tags = fields.texts(record, "ner_tags", count=len(tokens))
        found = entities(tokens, tags)
        return [
            Example(
                f"{index}/{name}", {"type": name, "sentence": joined(tokens)}, [text for at, text in found if at == tag]
            )
            for tag, name in TYPES.items()
        ]

    def judge(self, output: str, example: Example) -> Judgement:
        """One pair alone: its F1, its share of gold entities that occur (both 0 where it has no gold entities)."""
        hits, named, gold = _counts(output, example)
        occurring = sum(entity in output for entity in example.gold)
        return Judgement(
            score=2 * hits / (named + gold) if hits else 0.0,
            release=occurring / len(example.gold) if example.gold else 0.0,
            answered=named > 0,
        )

    def counts(self, output: str, example: Example) -> tuple[float, float]:
        """(2 TP, entities named + entities in gold)."""
        hits, named, gold = _counts(output, example)
        return 2.0 * hits, float(named + gold)

    def unit(self, example: Example) -> str:
        """The sentence."""
        return example.id.rpartition("/")[0] or example.id

    def gold_output(self, example: Example) -> str:
        return " " + ", ".join(example.gold) if example.gold else ""

    def score(self, outputs: Sequence[str], examples: Sequence[Example]) -> dict[str, Score]:
        pairs = paired(outputs, examples)
        answered = [(output, example) for output, example in pairs if split(output)]
        return {
            "score": self._micro_f1(pairs),
            "score_release": self._release(pairs),
            "score_answered": self._micro_f1(answered),
            "answered": mean(bool(split(output)) for output, _ in pairs),
        }

    def _micro_f1(self, pairs: Sequence[tuple[str, Example]]) -> Score:
        """F1 = 2 TP / (named + gold), summed over the pairs; the units of its error are sentences."""
        sums: dict[str, list[float]] = {}
        for output, example in pairs:
            sums_of = sums.setdefault(self.unit(example), [0.0, 0.0])
            for i, count in enumerate(self.counts(output, example)):
                sums_of[i] += count
        return ratio([a for a, _ in sums.values()], [b for _, b in sums.values()], n=len(pairs))

    def _release(self, pairs: Sequence[tuple[str, Example]]) -> Score:
        """Mean over types of (gold entities that occur in their output) / (gold entities)."""
        sentences = {name: position for position, name in enumerate(dict.fromkeys(self.unit(e) for _, e in pairs))}
        sums = {name: ([0.0] * len(sentences), [0.0] * len(sentences)) for name in TYPES.values()}
        for output, example in pairs:
            at = sentences[self.unit(example)]
            occurring, gold = sums.setdefault(example.fields["type"], ([0.0] * len(sentences), [0.0] * len(sentences)))
            occurring[at] += sum(entity in output for entity in example.gold)
            gold[at] += len(example.gold)
        return mean_of_ratios(list(sums.values()), n=len(pairs))


def joined(tokens: Sequence[str]) -> str:
    """Tokens joined by spaces, none before `,` and `.`: the sentence as it stands in the prompt."""
    return "".join(token if not i or token in (",", ".") else f" {token}" for i, token in enumerate(tokens))


def entities(tokens: Sequence[str], tags: Sequence[str]) -> list[tuple[str, str]]:
    """(tag, text) of each entity, from BIO2 or IOB1: B- begins one, and so does I- after O or another type."""
    found: list[tuple[str, list[str]]] = []
    before = "O"
    for token, tag in zip(tokens, tags, strict=True):
        prefix, _, kind = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or kind not in TYPES):
            raise InputError(f"field 'ner_tags': {tag[:40]!r} is no tag; known: O, B- and I- with {', '.join(TYPES)}")
        if prefix == "B" or (prefix == "I" and before != kind):
            found.append((kind, [token]))
        elif prefix == "I":
            found[-1][1].append(token)
        before = kind or "O"
    return [(kind, joined(words)) for kind, words in found]


def split(output: str) -> list[str]:
    """The entity strings named in an output, each once, in order."""
    return list(dict.fromkeys(piece.strip() for piece in _SEPARATORS.split(output) if piece.strip()))


def _counts(output: str, example: Example) -> tuple[int, int, int]:
    """True positives, entities named, entities in gold (those with a comma inside count as their pieces)."""
    named, gold = set(split(output)), {piece for entity in example.gold for piece in split(entity)}
    return len(named & gold), len(named), len(gold)
