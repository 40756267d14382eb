"""Facts that a model cannot be edited with, found before the first edit: skipped, or an error in a file of one's own.

The facts are looked at in the order in which cells draw them, as far as they do. What was found lies in the store
(`skipped/<id>-<part>.json`), so that other processes, later runs and reports, which have no tokenizer, draw the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from modelfolder import config, tokenizer
from rect import facts, lengths, models
from rect.errors import InputError
from sweeps import edit_set
from sweeps.identity import Plan, base_state, facts_of, identify

if TYPE_CHECKING:
    from rect.facts import Fact
    from sweeps.config import ModelSpec
    from sweeps.store import Store

NAMED = 10  # skipped facts that a note names one by one

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
        bad = _bad(looked)
        if bad and edit_set.is_own(plan.config.edits):
            more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
            raise InputError(f"{_line(plan, *next(iter(bad.items())))}{more}; the model is {model.name}")
        if new and len(bad) == len(plan.facts):
            first = _line(plan, *next(iter(bad.items())))
            raise InputError(f"edits: {model.name} can be edited with none of {len(bad)} facts; {first}")
        if new:
            text = json.dumps({"model": model.name, "looked": new}, sort_keys=True)
            store.folder.write_if_absent(f"skipped/{_name(plan, model)}-{identify(text)[:12]}.json", text.encode())
    return replace(plan, skipped={model: _bad(looked) for model, looked in found.items()})


def notes(plan: Plan) -> list[str]:
    """One line for each model that facts are skipped for."""
    lines = []
    for model, bad in plan.skipped.items():
        if bad:
            named = "; ".join(_line(plan, *one) for one in list(bad.items())[:NAMED])
            more = "; ..." if len(bad) > NAMED else ""
            lines.append(f"facts: {len(bad)} of {len(plan.facts)} skipped for {model.name}: {named}{more}")
    return lines


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
    return identify("skipped", base_state(model, plan.contents.get(model)), content, edit_set.SKIPPING, _room(plan))


def _room(plan: Plan) -> int:
    return edit_set.room(plan.config.edits, plan.editors.values())


def _walk(plan: Plan, model: ModelSpec, looked: Looked) -> Looked:
    """What is found of the facts that a model's cells draw, seed by seed, until enough of them can be edited."""
    new: Looked = {}
    trouble: Callable[[Fact], str | None] | None = None
    for seed, n in _drawn(plan, model).items():
        good = 0
        for index in facts.permutation(len(plan.facts), seed):
            if good == n:
                break
            if index not in looked and index not in new:
                trouble = trouble or _reader(plan, model)
                new[index] = trouble(plan.facts[index])
            good += looked.get(index, new.get(index)) is None
    return new


def _drawn(plan: Plan, model: ModelSpec) -> dict[int, int]:
    """Per seed how many facts the cells of a model draw at most."""
    drawn: dict[int, int] = {}
    for cell in (*plan.cells, *plan.candidates):
        if cell.method is not None and cell.model == model:
            drawn[cell.seed] = max(drawn.get(cell.seed, 0), cell.checkpoints[-1] * cell.batch_size)
    return drawn


def _reader(plan: Plan, model: ModelSpec) -> Callable[[Fact], str | None]:
    folder = models.resolve(model.name, plan.revision(model))
    limit = lengths.context(config.load(folder, trust_remote_code=model.trust_remote_code))
    words = tokenizer.load(folder, trust_remote_code=model.trust_remote_code)
    return lambda fact: lengths.trouble(words, limit, fact, _room(plan))


def _bad(looked: Looked) -> dict[int, str]:
    return {index: why for index, why in sorted(looked.items()) if why is not None}


def _line(plan: Plan, index: int, why: str) -> str:
    return f"{plan.facts[index].shown}: {why}"
