"""`sweeps plan --power`: what a sweep will be able to tell, before it is paid for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sweeps.plan import asked
from sweeps.plan.identity import Plan
from sweeps.results import power, variances
from sweeps.results.headlines import count
from sweeps.results.power import Sources
from sweeps.results.variances import ALL_TASKS, Seen

SPREADS = (0.02, 0.05)
"""Standard deviations between edited models that are reckoned with where a rehearsal does not know them."""


@dataclass(frozen=True)
class Planned:
    """What one group of cells has: edited models per regularizer, facts edited in, examples per task."""

    seeds: int
    facts: int
    examples: tuple[tuple[str, int], ...]


def lines(plan: Plan, folder: str) -> Iterator[str]:
    """In words, for each number of seeds and facts that the plan has.

    Args:
        folder: of a rehearsal, or of `sweeps evaluate`.

    Raises:
        InputError: there are no rows in that folder.
    """
    found = asked.read(folder).needed()
    seen = variances.read(found.rows, found.outputs.scores())
    most = max((one.seeds for one in seen.values()), default=0)
    rows = f"the rows in {folder} ({count(most, 'seed') if most else 'the unedited model alone'})"
    yield f"power by {rows}: half of a 95% interval, and the smallest difference between two regularizers that"
    yield f"one comparison alone shows with a chance of {power.POWER:.0%}"
    for one in planned(plan):
        yield f"  {count(one.seeds, 'seed')}, {count(one.facts, 'fact')}"
        for what in seen:
            if told := _told(what, seen, one):
                yield f"    {what:<{max(map(len, seen))}}  {seen[what].value:.3f}  {told}"


def planned(plan: Plan) -> list[Planned]:
    """Each number of seeds and facts once."""
    seeds: dict[tuple[object, ...], set[int]] = {}
    facts: dict[tuple[object, ...], int] = {}
    for cell in plan.cells:
        if cell.method is not None:
            key = (cell.model, cell.method, cell.setting, cell.batch_size)
            seeds.setdefault(key, set()).add(cell.seed)
            facts[key] = max(facts.get(key, 0), max(cell.checkpoints) * cell.batch_size)
    examples = tuple((one.name, len(one.examples)) for one in plan.questions)
    return [Planned(n, most, examples) for n, most in sorted({(len(mine), facts[key]) for key, mine in seeds.items()})]


def outlooks(what: str, seen: Mapping[str, Seen], planned: Planned) -> dict[float, power.Outlook]:
    """What to expect of a figure, by the spread between models that is reckoned with (NaN: that of the rehearsal).

    Nothing of a task that is not planned.
    """
    known, tasks = seen[what], dict(planned.examples)
    if what == ALL_TASKS:
        if not all(task in seen for task in tasks) or not tasks:
            return {}
        each = [(seen[task], n * seen[task].share) for task, n in tasks.items()]
        level, units = power.together([(one.level, n) for one, n in each], known.level.between)
        change, _ = power.together([(one.change, n) for one, n in each], known.change.between)
    elif what in tasks or what in variances.EDITING:
        level, change = known.level, known.change
        units = tasks[what] * known.share if what in tasks else float(planned.facts)
    else:
        return {}
    spreads = [math.nan] if not math.isnan(known.level.between) else list(SPREADS)
    return {spread: _outlook(level, change, spread, planned.seeds, units) for spread in spreads}


def _outlook(level: Sources, change: Sources, spread: float, seeds: int, units: float) -> power.Outlook:
    level, change = power.assumed(level, spread), power.assumed(change, spread, both=True)
    return power.outlook(level, change, seeds, units)


def _told(what: str, seen: Mapping[str, Seen], planned: Planned) -> str:
    found = outlooks(what, seen, planned)
    if planned.seeds == 1 and found:
        one = next(iter(found.values()))
        return f"+- {one.half:.3f} for one edited model; one seed cannot tell regularizers apart"
    told = []
    for spread, one in found.items():
        when = "" if math.isnan(spread) else f" if models differ by {spread:g}"
        least = f"differences of {power.points(one.smallest)} or more"
        told.append(f"+- {one.half:.3f}, {least if one.smallest < 1 else 'no difference that scores can have'}{when}")
    return "; ".join(told)
