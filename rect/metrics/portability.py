"""Portability under teacher forcing (KnowEdit, Zhang et al. 2024): what follows from an edit, by kind.

The share of an answer's tokens that are the argmax behind a portability prompt, as reliability's token accuracy; of
several answers the first is asked for. A fact's value of a kind is the mean over its prompts of that kind, its value
as a whole the mean over its kinds. A fact without such prompts has none.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rect import queries
from rect.evaluation import EditScores, mean
from rect.exclusive import exclusive
from rect.facts import Fact

if TYPE_CHECKING:
    from rect.model import EditableModel

FIGURE = "token_accuracy"


@exclusive
def evaluate(model: EditableModel, facts: Sequence[Fact]) -> EditScores:
    """`portability/token_accuracy` and `portability/<kind>/token_accuracy` of the model as it stands.

    Raises:
        InputError: a prompt with its answer is longer than the model's context, or has no tokens; the fact is named.
    """
    asked = [[queries.query(model.tokenizer, one.prompt, one.answers[0]) for one in fact.portability] for fact in facts]
    queries.check(model, facts, "portability prompt", asked)
    said = queries.nested(asked, [share for share, _ in queries.read(model, queries.flat(asked))])
    of_facts = [_by_kind(fact, shares) for fact, shares in zip(facts, said, strict=True)]
    kinds = sorted({kind for means in of_facts for kind in means if kind})
    whole = {f"portability/{FIGURE}": tuple(mean(means.values()) for means in of_facts)}
    return EditScores(
        whole
        | {f"portability/{kind}/{FIGURE}": tuple(means.get(kind, math.nan) for means in of_facts) for kind in kinds}
    )


def _by_kind(fact: Fact, shares: Sequence[float]) -> dict[str, float]:
    """{kind: mean over the fact's prompts of that kind}; prompts without a kind are one, ""."""
    kinds = [one.kind or "" for one in fact.portability]
    return {
        kind: statistics.fmean(share for share, own in zip(shares, kinds, strict=True) if own == kind)
        for kind in dict.fromkeys(kinds)
    }
