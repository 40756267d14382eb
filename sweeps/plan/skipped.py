"""Facts that a model cannot be edited with, found before the first edit: skipped, or an error in a file of one's own.

The facts are looked at in the order in which cells draw them, as far as they do. What was found lies in the store
(`skipped/<id>-<part>.json`), so that other processes, later runs and reports, which have no tokenizer, draw the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from modelfolder import config, tokenizer
from modelfolder.errors import InputError
from rect import facts, lengths, models
from rect.order import permutation
from sweeps.plan.edit_set import SKIPPING, is_own, room
from sweeps.plan.identity import Plan, base_state, facts_of, identify

if TYPE_CHECKING:
    from rect.facts import Fact
    from sweeps.config.config import EditsSpec, ModelSpec
    from sweeps.store.store import Store

NAMED = 10  # skipped facts that a note names one by one

Trouble = Callable[..., str | None]
Looked = dict[int, str | None]  # {index of a fact: why it cannot be edited, None where it can}


def known(plan: Plan, store: Store) -> Plan:
    """The plan with the facts that runs have found to be skipped."""
    return replace(plan, skipped={model: _bad(looked) for model, looked in _stored(plan, store).items()})


def look(plan: Plan, store: Store) -> Plan:
    """The plan with the facts that are skipped. Those that were never looked at are, as far as its cells draw them.

    Loads tokenizers and configs, no weights.

    Raises:
        InputError: a fact of the user's own file cannot be edited, or none of a data set can.
    """
    found = _stored(plan, store)
    for model in plan.config.models:
        looked = found.setdefault(model, {})
        new = _walk(plan, model, looked)
        looked |= new
        if new:
            check(_bad(looked), plan.facts, plan.config.edits, model)
            text = json.dumps({"model": model.name, "looked": new}, sort_keys=True)
            store.folder.write_if_absent(f"skipped/{_name(plan, model)}-{identify(text)[:12]}.json", text.encode())
    return replace(plan, skipped={model: _bad(looked) for model, looked in found.items()})


def notes(plan: Plan) -> list[str]:
    """One line for each model that facts are skipped for."""
    return [note(bad, plan.facts, model) for model, bad in plan.skipped.items() if bad]


def check(bad: Mapping[int, str], edit_set: Sequence[Fact], edits: EditsSpec, model: ModelSpec) -> None:
    """Raise InputError where bad facts are not to be skipped: they are the user's own, or all that there are."""
    if not bad or not (is_own(edits) or len(bad) == len(edit_set)):
        return
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    none = "" if is_own(edits) else f"facts: {model.name} can be edited with none of {len(bad)}; "
    raise InputError(f"{none}{_line(edit_set, *next(iter(bad.items())))}{more}; the model is {model.name}")


def note(bad: Mapping[int, str], edit_set: Sequence[Fact], model: ModelSpec) -> str:
    """How many facts are skipped for a model, and which."""
    named = "; ".join(_line(edit_set, *one) for one in list(bad.items())[:NAMED])
    more = "; ..." if len(bad) > NAMED else ""
    return f"facts: {len(bad)} of {len(edit_set)} skipped for {model.name}: {named}{more}"


def reader(model: ModelSpec, revision: str | None, trouble: Trouble) -> Callable[[Fact], str | None]:
    """Tells of what use a fact is to a model, from its tokenizer and config alone.

    Args:
        trouble: as `rect.lengths.trouble`: (tokenizer, context, fact, vocabulary=) -> why it is of none.
    """
    folder = models.resolve(model.name, revision)
    about = config.load(folder, trust_remote_code=model.trust_remote_code)
    limit, vocabulary = lengths.context(about), getattr(about.get_text_config(), "vocab_size", None)
    words = tokenizer.load(folder, trust_remote_code=model.trust_remote_code)
    return lambda fact: trouble(words, limit, fact, vocabulary=vocabulary)


def _stored(plan: Plan, store: Store) -> dict[ModelSpec, Looked]:
    """What earlier runs have found."""
    names = store.folder.names("skipped", ".json")
    found: dict[ModelSpec, Looked] = {}
    for model in plan.config.models if names else ():
        prefix = f"skipped/{_name(plan, model)}-"
        for name in names:
            if name.startswith(prefix):
                looked: Mapping[str, str | None] = json.loads(store.folder.read(name))["looked"]
                found.setdefault(model, {}).update({int(index): why for index, why in looked.items()})
    return found


def _name(plan: Plan, model: ModelSpec) -> str:
    """Id of what is looked at: the model, the facts, the rule."""
    content = facts_of(plan.config.edits, plan.facts, plan.editors.values())
    return identify("skipped", base_state(model, plan.contents.get(model)), content, SKIPPING, _room(plan))


def _room(plan: Plan) -> int:
    return room(plan.config.edits, plan.editors.values())


def _walk(plan: Plan, model: ModelSpec, looked: Looked) -> Looked:
    """What is found of the facts that a model's cells draw, seed by seed, until enough of them can be edited."""
    new: Looked = {}
    units = facts.units(plan.facts)
    trouble: Callable[[Fact], str | None] | None = None
    for seed, n in _drawn(plan, model).items():
        good = 0
        for unit in permutation(len(units), seed):
            if good == n:
                break
            for index in units[unit]:
                if index not in looked and index not in new:
                    trouble = trouble or reader(model, plan.revision(model), partial(lengths.trouble, room=_room(plan)))
                    new[index] = trouble(plan.facts[index])
            good += all(looked.get(index, new.get(index)) is None for index in units[unit])
    return new


def _drawn(plan: Plan, model: ModelSpec) -> dict[int, int]:
    """Per seed how many facts the cells of a model draw at most."""
    drawn: dict[int, int] = {}
    for cell in (*plan.cells, *plan.candidates):
        if cell.method is not None and cell.model == model:
            drawn[cell.seed] = max(drawn.get(cell.seed, 0), cell.checkpoints[-1] * cell.batch_size)
    return drawn


def _bad(looked: Looked) -> dict[int, str]:
    return {index: why for index, why in sorted(looked.items()) if why is not None}


def _line(edit_set: Sequence[Fact], index: int, why: str) -> str:
    return f"{edit_set[index].shown}: {why}"
