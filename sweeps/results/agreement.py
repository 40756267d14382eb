"""Do metrics of the edits order methods alike? Kendall's tau between the rankings that two metrics give."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from sweeps.results import intervals
from sweeps.results.ranking import PLACES, named
from sweeps.results.tradeoff import UNEDITED
from sweeps.results.units import Measured

FORCED = ("reliability_token_accuracy", "generalization_token_accuracy", "locality_token_accuracy")
WHOLE = ("counterfact_score", "task_score")
SAID = (
    "_reliability_contains",
    "_reliability_exact_match",
    "_generalization_contains",
    "_portability_contains",
    "_locality_unchanged",
)
COLUMNS = [*PLACES, "first", "second", "tau", "low", "high", "seeds", "competitors", "note"]


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau-b between rankings of methods with their regularizers, within each place of `ranking.PLACES`.

    Args:
        table: what `tradeoff.tradeoff` returns.

    Returns:
        one line per place with several methods and pair of metrics that it has: `first`, `second`; `tau`, the mean over
        seeds, from -1 (reversed) to 1 (alike); `low` to `high`, its 95% interval over edited models (Student's t, cut
        at -1 and 1; none of one seed, nor where all seeds agree to the last digit); `seeds`, those that have a tau;
        `competitors`, ranked in all of them; `note`, why something is missing.
    """
    edited = table[table["setting"] != UNEDITED]
    metrics = [name for name in (*FORCED, *WHOLE) if name in table]
    metrics += [name for name in table.columns if name.endswith(SAID)]
    lines = []
    for place, group in edited.groupby(PLACES, dropna=False, sort=False):
        if group["method"].nunique() < 2:
            continue
        here = [name for name in metrics if group[name].notna().any()]
        for pair in itertools.combinations(here, 2):
            lines.append(dict(zip(PLACES, place, strict=True)) | _of_pair(group, pair))
    return pd.DataFrame(lines, columns=COLUMNS)


def _of_pair(group: pd.DataFrame, pair: tuple[str, str]) -> dict[str, object]:
    who = group.assign(who=named(group))
    first, second = (who.pivot(index="seed", columns="who", values=name) for name in pair)
    whole = first.notna().all() & second.notna().all()
    both = list(whole.index[whole])
    per_seed = first[both].corrwith(second[both], axis=1, method="kendall") if len(both) > 1 else pd.Series()
    taus = [*per_seed.dropna()]  # NaN where one of the two puts all on one level
    found = intervals.mean([Measured(one) for one in taus])
    note = (
        "" if taus else "fewer than two competitors in all seeds" if len(both) < 2 else "all are level in one of them"
    )
    return {
        "first": pair[0],
        "second": pair[1],
        "tau": found.value,
        "low": float(np.clip(found.low, -1, 1)),
        "high": float(np.clip(found.high, -1, 1)),
        "seeds": len(taus),
        "competitors": len(both),
        "note": note,
    }
