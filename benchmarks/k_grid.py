"""What a grid over k costs in editing: one edit and ten values of k, against the same edit with a single k.

    python benchmarks/k_grid.py                       # ROME on the default model, one and two workers, twice each
    python benchmarks/k_grid.py --method memit --batch-size 10 --ks 5 10 20 40

Real sweeps with Ray, without tasks, each into an empty folder, taking turns. Editing time is what the journals say:
seconds of computing and of reading updates, summed over all workers. Printed per number of workers: how often an editor
ran, the editing time of both sides, and their ratio (goal: at most 1.2).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sweeps.config.config import Config, validate
from sweeps.run.driver import run
from sweeps.store import journal
from sweeps.store.store import Store

KS = (5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)


@dataclass(frozen=True)
class Spent:
    """Editing of one sweep: how often an editor ran, and seconds of computing, reading and waiting for another."""

    computed: int
    computing: float
    reading: float
    waiting: float

    @property
    def editing(self) -> float:
        return self.computing + self.reading


def config(model: str, method: str, batch_size: int, ks: list[float], workers: int) -> Config:
    """One edit on the unedited model, regularized with each k."""
    return validate(
        {
            "name": "k-grid",
            "models": [model],
            "methods": [method],
            "settings": [{"kind": "batch-single", "batch_sizes": [batch_size]}],
            "regularizers": [{"name": "rect", "k": ks}],
            "resources": {"cpus": 1, "concurrency": workers},
        },
        "benchmarks/k_grid.py",
    )


def spent(store: Store) -> Spent:
    """Sum up what the journals of a sweep say."""
    wanted: dict[str, float] = {}
    seconds = {"edit-computed": 0.0, "edit-loaded": 0.0}
    computed, waiting = 0, 0.0
    for event in journal.events(store.folder):
        if event["event"] == "edit-wanted":
            wanted[event["process"]] = event["time"]
        elif event["event"] in ("edit-started", "edit-loaded"):
            waiting += event["time"] - wanted.pop(event["process"], event["time"])
        if event["event"] in seconds:
            seconds[event["event"]] += event["seconds"]
            computed += event["event"] == "edit-computed"
    return Spent(computed, seconds["edit-computed"], seconds["edit-loaded"], waiting)


def measure(wanted: Config) -> Spent:
    """Run a sweep into an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(wanted, folder)
        if outcome.failed or outcome.remaining:
            raise SystemExit(f"not all cells were finished: {outcome}")
        return spent(Store(Path(folder)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--method", default="rome")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--ks", type=float, nargs="+", default=list(KS))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeat", type=int, default=2)
    given = parser.parse_args()
    for workers in given.workers:
        sides: dict[int, list[Spent]] = {1: [], len(given.ks): []}
        for _ in range(given.repeat):
            for number, runs in sides.items():
                runs.append(measure(config(given.model, given.method, given.batch_size, given.ks[:number], workers)))
        for number, runs in sides.items():
            print(
                f"workers {workers}, k {number:3d}: the editor ran {', '.join(str(one.computed) for one in runs)} "
                "times; "
                f"editing {statistics.median(one.editing for one in runs):.3f} s, "
                f"of it reading {statistics.median(one.reading for one in runs):.3f} s; "
                f"beside it waiting {statistics.median(one.waiting for one in runs):.3f} s"
            )
        single, grid = (statistics.median(one.editing for one in runs) for runs in sides.values())
        print(f"workers {workers}: total editing time of {len(given.ks)} k over that of one: {grid / single:.2f}")


if __name__ == "__main__":
    main()
