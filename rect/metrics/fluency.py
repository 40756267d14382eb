"""Fluency of what an edited model writes: entropy of its n-grams (Meng et al. 2022, section 3.4, "GE").

The weighted mean of the entropies of bigrams (2/3) and trigrams (4/3), in bits, of a prompt with its greedy
continuation by at most `BUDGET` tokens; repetition lowers it. Prompts are a fact's `openings` (CounterFact's generation
prompts), else its edit prompt. Tables elsewhere have 100 times as much, of texts that were sampled.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from rect.facts import Fact
from rect.metrics.spoken import Chat, Question, by_kind

BUDGET = 100
SHOWN = ("entropy",)
enough = None
scores = by_kind
WEIGHTS = {2: 2 / 3, 3: 4 / 3}
ABBREVIATION = re.compile(
    r"\W*(dr|mrs?|ms|prof|rev|gen|col|sen|rep|gov|st|jr|sr|vs|etc|inc|ltd|co|corp|no|vol|e\.g|i\.e|(\w\.)*\w)",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"""[.?!]["')\]]*\s+""")


def openings(facts: Sequence[Fact], chat: Chat) -> list[Question]:
    """What is to be continued."""
    return [
        Question(index, "text", prompt)
        for index, fact in enumerate(facts)
        for prompt in fact.openings or (fact.filled,)
    ]


def judge(question: Question, said: str, before: str) -> dict[str, float]:
    """`entropy` of the prompt with its continuation."""
    return {"entropy": entropy(words(question.text + said))}


def entropy(tokens: Sequence[str]) -> float:
    """Weighted mean of the entropies of bigrams and trigrams, in bits; 0 for fewer than three tokens."""
    return math.fsum(weight * _entropy(tokens, n) for n, weight in WEIGHTS.items()) / len(WEIGHTS)


def _entropy(tokens: Sequence[str], n: int) -> float:
    counts = Counter(zip(*(tokens[i:] for i in range(n)), strict=False))
    total = counts.total()
    return -math.fsum(count / total * math.log2(count / total) for count in counts.values())


def words(text: str) -> list[str]:
    """Words and punctuation as the Penn Treebank has them (NLTK), sentence by sentence.

    Sentences end as in English, not behind initials and common abbreviations: NLTK's own rule needs a model that its
    package does not have.
    """
    from nltk.tokenize import NLTKWordTokenizer

    tokenizer = NLTKWordTokenizer()
    return [word for sentence in _sentences(text) for word in tokenizer.tokenize(sentence)]


def _sentences(text: str) -> list[str]:
    found, begin = [], 0
    for match in SENTENCE_END.finditer(text):
        last = re.split(r"\s", text[begin : match.start()])[-1]
        if text[match.start()] != "." or not ABBREVIATION.fullmatch(last):
            found.append(text[begin : match.end()].rstrip())
            begin = match.end()
    return [*found, text[begin:]]
