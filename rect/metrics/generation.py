"""Edits judged by what the model says when it simply answers (Yang et al., ACL 2025, "The Mirage of Model Editing").

Greedy continuations of at most `BUDGET` tokens, or little more than their first line that is not blank. Where an answer
ends there are two rules, each with figures of its own:

- by itself: at the end of its first line that is not blank, or of the text;
- released (suffix `_at_period`): at the first "." or newline, as their release has it; "J. R. R. Tolkien" becomes "J".

Of the edit prompt (reliability), the rephrasings (generalization) and the portability prompts: `exact_match` with an
answer that is right, after SQuAD's normalization, and `contains` (`modelfolder.answers`); aliases are right. Of the
locality prompts: `unchanged`, whether the answer is letter by letter what the unedited model says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelfolder import answers
from rect.facts import Fact
from rect.metrics.spoken import Chat, Question, by_kind, has_line

BUDGET = 50
SHOWN = ("contains", "unchanged")
LOCALITY = "locality"
scores = by_kind
enough = has_line
QUESTION = "Please answer the question:\n\nQ: {}\nA:"


def as_it_is(facts: Sequence[Fact], chat: Chat) -> list[Question]:
    """The prompts themselves."""
    return _questions(facts, lambda prompt: prompt)


def as_question(facts: Sequence[Fact], chat: Chat) -> list[Question]:
    """The prompts in the release's instruction to answer a question."""
    return _questions(facts, lambda prompt: QUESTION.replace("{}", prompt))


def in_chat(facts: Sequence[Fact], chat: Chat) -> list[Question]:
    """The prompts as a user's message in the model's chat template.

    Raises:
        InputError: it has none.
    """
    return _questions(facts, chat)


def _questions(facts: Sequence[Fact], form: Chat) -> list[Question]:
    found = []
    for index, fact in enumerate(facts):
        right = fact.target, *fact.aliases
        found.append(Question(index, "reliability", form(fact.filled), right))
        found += [Question(index, "generalization", form(one), right) for one in fact.rephrasings]
        found += [
            Question(index, _kind("portability", one.kind), form(one.prompt), one.answers) for one in fact.portability
        ]
        found += [Question(index, _kind(LOCALITY, one.kind), form(one.prompt)) for one in fact.locality]
    return found


def _kind(what: str, kind: str | None) -> str:
    return f"{what}/{kind}" if kind else what


def judge(question: Question, said: str, before: str) -> dict[str, float]:
    """Figures of one answer, 1 or 0 each.

    Args:
        said, before: what the edited and what the unedited model continue the prompt with.
    """
    found = {}
    for ends, suffix in ENDS:
        answer = ends(said)
        if question.kind.startswith(LOCALITY):
            found[f"unchanged{suffix}"] = float(answer == ends(before))
        else:
            found[f"exact_match{suffix}"] = float(answers.equals(answer, question.right))
            found[f"contains{suffix}"] = float(answers.contains(answer, question.right))
    return found


def by_itself(text: str) -> str:
    """The first line that is not blank; "" if there is none."""
    return text.strip().partition("\n")[0].strip()


def at_period(text: str) -> str:
    """What stands before the first "." or newline, which may be nothing."""
    return text.partition(".")[0].partition("\n")[0].strip()


ENDS: tuple[tuple[Callable[[str], str], str], ...] = ((by_itself, ""), (at_period, "_at_period"))
