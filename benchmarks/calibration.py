"""Do the report's intervals hold what they promise? python benchmarks/calibration.py [--runs 4000] [--kind facts ...]

Sweeps are made up of which the truth is known, many at once, and go through the arrays that the report's intervals
are made of (`sweeps.results.intervals`; a test holds them equal to `intervals.mean`, run by run). A model of seed s
under a regularizer has a chance p of its own, drawn around a mean with standard deviation `spread`; its examples are
right with that chance, some harder than others for all models, unedited ones included (facts: for all models of one
seed). Counted, in percent of the runs:

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
from scipy import special

from sweeps.results import intervals, skewed

HARD = 0.6  # correlation of latent difficulty between models
AT_ONCE = 300_000  # models times units: as many as stay in a cache
DIFFERENCES = ("same", "pairs")
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


def chances(middle: float, spread: float, count: int | tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Chances of edited models: beta distributed with this mean and standard deviation."""
    widest = 0.9 * np.sqrt(middle * (1 - middle))
    spread = min(spread, widest)
    if spread == 0:
        return np.full(count, middle)
    size = middle * (1 - middle) / spread**2 - 1
    return random.beta(middle * size, (1 - middle) * size, count)


@dataclass(frozen=True)
class Many:
    """A figure of many models, as `units.Measured` is of one: values (runs, seeds), terms (runs, seeds, units)."""

    values: np.ndarray
    terms: np.ndarray


def scores(kind: Kind, p: np.ndarray, hard: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What models with these chances, (runs, seeds), add to both sums of the figure: two (runs, seeds, units).

    Args:
        hard: how hard the examples are, standard normal, (runs, seeds, units) or with one for all seeds.
    """
    shape = np.broadcast_shapes((*p.shape, 1), hard.shape)

    def latent() -> np.ndarray:
        return HARD * hard + np.float32(np.sqrt(1 - HARD**2)) * random.standard_normal(shape, dtype=np.float32)

    edge, below = special.ndtri(p)[..., None], np.ones(shape)
    if kind.name == "f1":  # two entities a sentence, and a wrong one on average
        hits = (latent() < edge).astype(float) + (latent() < edge)
        above, below = 2 * hits, hits + random.poisson(1.0, shape) + 2.0
    elif kind.name == "mean":  # skewed, of mean p
        above = p[..., None] * np.exp(0.6 * latent() - 0.18)
    else:
        above = (latent() < edge).astype(float)
    return above, below


def draw(
    kind: Kind, seeds: int, size: int, spread: float, runs: int, random: np.random.Generator
) -> tuple[list[np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
    """Chances and scores of RECT, of its twin, of its control, and of what both are a share of."""
    rect, other, base = kind.middle
    drawn = [chances(middle, spread, (runs, seeds), random) for middle in (rect, rect, other)]
    drawn.append(np.full((runs, 1), base) if kind.common else chances(base, spread, (runs, seeds), random))
    hard = random.standard_normal((runs, 1 if kind.common else seeds, size), dtype=np.float32)
    return drawn, [scores(kind, p, hard, random) for p in drawn]


def figures(models: list[tuple[np.ndarray, np.ndarray]], edge: float) -> dict[str, Many]:
    """Differences and shares as `units` makes them of one model: value and terms."""
    a, twin, b, base = (_ratio(above, below) for above, below in models)
    share = a.values / base.values
    return {
        "same": Many(a.values - twin.values, a.terms - twin.terms),
        "pairs": Many(a.values - b.values, a.terms - b.terms),
        "kept": Many(share, (a.terms - share[..., None] * base.terms) / base.values[..., None]),
        "above": Many(a.values - edge * base.values, a.terms - edge * base.terms),
    }


def _ratio(above: np.ndarray, below: np.ndarray) -> Many:
    total = below.sum(-1)
    values = above.sum(-1) / total
    return Many(values, (above - values[..., None] * below) / total[..., None])


def estimate(of: Many, common: bool, leans: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean over models, its standard error, degrees of freedom and skewness, of each run: as `intervals.mean` gives.

    Args:
        leans: whether there is a skewness to ask for: not of differences (`intervals.paired`).
    """
    _, seeds, size = of.terms.shape
    square = ((of.terms**2).sum(-1) * size / (size - 1)).mean(-1)
    spread = of.values.var(-1, ddof=1) if seeds > 1 else np.full(len(square), np.nan)
    found, df = intervals.variance(spread, np.full(len(square), seeds), square, np.full(len(square), seeds * size))
    if common and seeds > 1:
        found, df = intervals.together([(found, df), (size / (size - 1) * intervals.in_common(of.terms), size - 1)])
    if seeds == 1 or not leans:
        return of.values.mean(-1), np.sqrt(found), df, np.zeros(len(square))
    mean = of.terms.mean(1, keepdims=True) if common else of.terms / seeds  # (runs, seeds or 1, units)
    third = size**2 / ((size - 1) * (size - 2)) * (mean**3).sum((1, 2))
    skew = skewed.skewness(third, size / (size - 1) * (mean**2).sum((1, 2)), found)
    return of.values.mean(-1), np.sqrt(found), df, skew


def run(kind: Kind, seeds: int, size: int, spread: float, runs: int, random: np.random.Generator) -> dict[str, float]:
    """Percent of the runs, by the names above."""
    many = [kind.figure(chances(middle, spread, 4_000_000, random)) for middle in kind.middle]
    truth = float(many[0].mean() - many[1].mean())
    inverse = 1 / float(kind.figure(np.array(kind.middle[2]))) if kind.common else float((1 / many[2]).mean())
    share = float(many[0].mean()) * inverse
    edge = float(many[0].mean()) / (1 / inverse if kind.common else float(many[2].mean()))
    hits: dict[str, list[np.ndarray]] = {name: [] for name in ("false", "covers", "kept", "inferior", "own")}
    at_once = max(1, AT_ONCE // (seeds * size))
    for start in range(0, runs, at_once):
        drawn, models = draw(kind, seeds, size, spread, min(at_once, runs - start), random)
        found = {name: estimate(of, kind.common, name not in DIFFERENCES) for name, of in figures(models, edge).items()}

        def within(name: str, true: float | np.ndarray, found: dict[str, tuple[np.ndarray, ...]] = found) -> np.ndarray:
            value, stderr, df, skew = found[name]
            edge = special.stdtrit(df, (1 + intervals.LEVEL) / 2)
            distance = (value - true) / stderr
            return (distance <= skewed.reach(edge, skew, df)) & (-distance <= skewed.reach(edge, -skew, df))

        hits["covers"].append(within("pairs", truth))
        if seeds == 1:
            hits["own"].append(within("pairs", (kind.figure(drawn[0]) - kind.figure(drawn[2]))[:, 0]))
            continue
        hits["false"].append(~within("same", 0.0))
        hits["kept"].append(within("kept", share))
        value, stderr, df, skew = found["above"]  # at the edge of the claim
        hits["inferior"].append(value / stderr > skewed.reach(special.stdtrit(df, intervals.claimed(df)), skew, df))
    return {name: 100 * float(np.mean(np.concatenate(of))) if of else float("nan") for name, of in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000)
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
