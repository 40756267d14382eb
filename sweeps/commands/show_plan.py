"""`sweeps plan`: what a sweep would run, in words. Loads no model and downloads nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modelfolder import gguf
from modelfolder.errors import InputError, closest
from rect import fact_files, hub
from rect.known_models import known
from sweeps.plan import grid, identity, memory, needs, remarks, skipped
from sweeps.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from sweeps.config.config import Config, ModelSpec
    from sweeps.plan.grid import Cell
    from sweeps.plan.identity import Plan

LISTED = 200


def show(config: Config, out: str, console: Console, rehearsal: str | None = None, card: float | None = None) -> None:
    """Print the cells, which of them are done in a folder, their count per axis, and what is worth knowing.

    Where facts or examples would have to be downloaded first, what is done is not told.

    Args:
        rehearsal: a folder with rows by which to say what the sweep could tell.
        card: GiB of a GPU, on which a trial must fit.

    Raises:
        InputError: a method without a legal cell, data that cannot be read, no rows in that folder, or a trial that
            does not fit on such a GPU.
    """

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    store = Store(out)
    plan, absent = _plan(config, store.contents())
    if not absent:
        plan = skipped.known(plan, store)
    cells = plan.cells
    if absent:
        marks = [""] * len(cells)
        say(f"{len(cells)} cells; which are done is not known before sweeps run has downloaded the {absent}")
    else:
        there = store.done()
        missing = [plan.missing(cell, there) for cell in cells]
        marks = [_mark(cell, set(one)) for cell, one in zip(cells, missing, strict=True)]
        say(f"{len(cells)} cells, {marks.count('done')} done in {out}; {sum(map(len, missing))} checkpoints to do")
    for axis, values in grid.counts(cells).items():
        say(f"  {axis}: " + ", ".join(f"{value} ({n})" for value, n in values.items()))
    known = "tasks" not in absent
    say(f"  tasks: {', '.join(one.name + f' ({len(one.examples)})' * known for one in plan.questions)}")
    say(f"  engine: {plan.engine}")
    for mark, cell in zip(marks[:LISTED], cells, strict=False):
        say(f"{mark:>6}  {cell}{_points(cell)}")
    if len(cells) > LISTED:
        say(f"        and {len(cells) - LISTED} more")
    for what, why in plan.dropped:
        say(f"dropped {what}: {why}")
    for spec, content in plan.contents.items():
        if content is None:
            say(_absent(spec))
    known_facts = () if "edits" in absent else plan.facts
    for line in remarks.of(replace(plan, facts=known_facts)):
        say(f"note {line}")
    for _, reason in needs.lacking(cells):
        say(f"needed {reason}")
    for line in memory.told(plan, card):
        say(line)
    if rehearsal is not None:
        from sweeps.commands import show_power

        for line in show_power.lines(plan, rehearsal):
            say(line)


def _plan(config: Config, kept: Mapping[str, str]) -> tuple[Plan, str]:
    """The plan, and what would have to be downloaded to know its ids ("": nothing; else bundled data stands in)."""
    with hub.offline():
        try:
            contents = identity.contents_here(config, kept)
            return identity.make_plan(config, contents), ""
        except InputError:
            absent: dict[str, Any] = {}
            if fact_files.is_on_hub(config.edits.source):
                absent["edits"] = config.edits.model_copy(update={"source": "bundled", "count": None})
            if config.tasks.source == "hub":
                absent["tasks"] = config.tasks.model_copy(update={"source": "bundled", "examples": 1})
            if not absent:
                raise
            return identity.make_plan(config.model_copy(update=absent), contents), " and ".join(absent)


def _absent(spec: ModelSpec) -> str:
    """What is known of a model that is not at hand; whether the hub has it is not asked."""
    if gguf.is_named(spec.name):
        return f"needed model {spec.key}: not to be found: there is no such file"
    if not hub.is_id(spec.name):
        return f"needed model {spec.key}: not to be found: there is no such folder, and it is no id on the hub"
    meant = closest(spec.name, known())
    place = "neither as a folder nor in the hub's cache" + (f", {meant}" if meant else "")
    return f"note model {spec.key}: not found here, {place}; sweeps run downloads it; what is done is known then"


def _mark(cell: Cell, missing: set[int]) -> str:
    return "done" if not missing else "to do" if missing == set(cell.checkpoints) else "begun"


def _points(cell: Cell) -> str:
    """ " at 2, 4 edits": its checkpoints, where they say something."""
    if cell.setting in (grid.UNEDITED, "batch-single"):
        return ""
    return f" at {', '.join(map(str, cell.checkpoints))} {'edit' if cell.checkpoints == (1,) else 'edits'}"
