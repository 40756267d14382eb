"""Do the report's intervals hold what they promise? python benchmarks/calibration.py [--runs 1000] [--kind facts ...]

Sweeps are made up of which the truth is known, and go through the functions that the report uses (`units` and
`intervals` of `sweeps.results`). A model of seed s under a regularizer has a chance p of its own, drawn around a mean
with standard deviation `spread`; its examples are right with that chance, some harder than others for all models,
unedited ones included (facts: for all models of one seed). Counted, in percent of the runs:

  false      "different" at 5% where both regularizers have the same distribution (3 to 7 are wanted)
  covers     95% intervals of a difference that hold the true one (92 to 97)
  kept       95% intervals of the share that is kept (of the unedited score; facts: of the unregularized one)
  inferior   "keeps at least so much" at 5% where it keeps just that (3 to 7)
  own        of one seed, intervals of a difference that hold that of these two very models
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from sweeps.results import intervals, units
from sweeps.results.units import Measured

HARD = 0.6  # correlation of latent difficulty between models
Truth = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Kind:
    """What is scored: mean chances of RECT, its control and the unedited (facts: unregularized) model; the figure."""

    name: str
    middle: tuple[float, float, float]
    sizes: tuple[int, ...]
    figure: Truth  # of a chance, over all examples
    common: bool = True  # whether all seeds have the same examples
    spreads: tuple[float, ...] = (0.0, 0.05, 0.15)


KINDS = (
    Kind("proportion", (0.60, 0.50, 0.70), (50, 200, 1000), lambda p: p),
    Kind("mean", (0.30, 0.25, 0.35), (50, 200, 1000), lambda p: p),
    Kind("f1", (0.50, 0.40, 0.60), (50, 200, 1000), lambda p: 4 * p / (2 * p + 3)),
    Kind("facts", (0.75, 0.60, 0.85), (20, 100, 500), lambda p: p, common=False),
    Kind("near 1", (0.97, 0.94, 0.99), (20, 100, 500), lambda p: p, common=False, spreads=(0.0, 0.02)),
)
SEEDS = (1, 3, 5, 10)


def chances(middle: float, spread: float, count: int, random: np.random.Generator) -> np.ndarray:
    """Chances of edited models: beta distributed with this mean and standard deviation."""
    widest = 0.9 * np.sqrt(middle * (1 - middle))
    spread = min(spread, widest)
    if spread == 0:
        return np.full(count, middle)
    size = middle * (1 - middle) / spread**2 - 1
    return random.beta(middle * size, (1 - middle) * size, count)


def measured(kind: Kind, p: float, hard: np.ndarray, key: str, random: np.random.Generator) -> Measured:
    """What a model with this chance scores on examples of this difficulty (standard normal, per example)."""
    count = len(hard)

    def latent() -> np.ndarray:
        return HARD * hard + np.sqrt(1 - HARD**2) * random.standard_normal(count)

    below = np.ones(count)
    if kind.name == "f1":  # two entities a sentence, and a wrong one on average
        edge = stats.norm.ppf(p)
        hits = (latent() < edge).astype(float) + (latent() < edge)
        above, below = 2 * hits, hits + random.poisson(1.0, count) + 2.0
    elif kind.name == "mean":  # skewed, of mean p
        above = p * np.exp(0.6 * latent() - 0.18)
    else:
        above = (latent() < stats.norm.ppf(p)).astype(float)
    return units.ratio(above, below, key, kind.name, kind.common)


def run(kind: Kind, seeds: int, size: int, spread: float, runs: int, random: np.random.Generator) -> dict[str, float]:
    """Percent of the runs, by the names above."""
    rect, other, base = kind.middle
    many = [kind.figure(chances(m, spread, 400_000, random)) for m in kind.middle]
    truth = float(many[0].mean() - many[1].mean())
    inverse = 1 / float(kind.figure(np.array(base))) if kind.common else float((1 / many[2]).mean())
    share = float(many[0].mean()) * inverse
    edge = float(many[0].mean()) / (1 / inverse if kind.common else float(many[2].mean()))
    hits: dict[str, list[bool]] = {name: [] for name in ("false", "covers", "kept", "inferior", "own")}
    for _ in range(runs):
        same, pairs, kept, above, own = [], [], [], [], 0.0
        hard = random.standard_normal(size)
        unedited = measured(kind, base, hard, "examples", random)
        draws = [chances(m, spread, seeds, random) for m in (rect, rect, other, base)]
        for s in range(seeds):
            mine = hard if kind.common else random.standard_normal(size)
            a, twin, b, c = (measured(kind, float(p[s]), mine, "examples", random) for p in draws)
            denominator = unedited if kind.common else c
            same.append(units.difference(a, twin))
            pairs.append(units.difference(a, b))
            kept.append(units.quotient(a, denominator))
            above.append(units.margin(a, denominator, edge))
            own = float(kind.figure(draws[0][s]) - kind.figure(draws[2][s]))
        null, one, share_kept = intervals.mean(same), intervals.mean(pairs), intervals.mean(kept)
        hits["covers"].append(one.low <= truth <= one.high)
        if seeds == 1:
            hits["own"].append(one.low <= own <= one.high)
            continue
        hits["false"].append(null.p() < 0.05)
        hits["kept"].append(share_kept.low <= share <= share_kept.high)
        hits["inferior"].append(intervals.mean(above).p_below(0.0) < 0.05)  # at the edge of the claim
    return {name: 100 * float(np.mean(found)) if found else float("nan") for name, found in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--kind", nargs="*", choices=[kind.name for kind in KINDS], default=[k.name for k in KINDS])
    wanted = parser.parse_args()
    names = ("false", "covers", "kept", "inferior", "own")
    print(",".join(("kind", "seeds", "size", "spread", *names)))
    for kind in [kind for kind in KINDS if kind.name in wanted.kind]:
        for seeds, size, spread in itertools.product(SEEDS, kind.sizes, kind.spreads):
            random = np.random.default_rng([seeds, size, int(100 * spread), len(kind.name)])
            found = run(kind, seeds, size, spread, wanted.runs, random)
            print(
                ",".join([kind.name, str(seeds), str(size), str(spread), *(f"{found[n]:.1f}" for n in names)]),
                flush=True,
            )


if __name__ == "__main__":
    main()
