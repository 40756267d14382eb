"""What a sweep of many cells costs its driver, on a simulated cluster with a stub in place of the cell.

    python benchmarks/scale_sim.py                          # 100, 1,000 and 10,000 cells; then 1,000,000 rows
    python benchmarks/scale_sim.py --cells 100 1000 --nodes 4 --actors 4 --rows 0

The cluster is real Ray with several raylets on this machine; driver, experiments, progress, store and aggregation are
the ones of a real sweep. Only the cell is a stub: it writes as many rows as a cell does and does not import torch.
Printed per number of cells: milliseconds of the driver's processor per cell, planning included (goal: under 50, and not
growing), of wall clock, and the driver's memory; then what reading and aggregating the rows takes (goal: under 10 s and
2 GiB). Each driver is a process of its own, with memory of its own; what it imports is not counted.
"""

from __future__ import annotations

import argparse
import io
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import ray
from ray import tune
from ray.cluster_utils import Cluster
from rich.console import Console

from sweeps.run.job import Job
from sweeps.store.journal import Journal
from sweeps.store.schema import Row, complete, measurement
from sweeps.store.store import Store

ROWS_PER_CELL = 100
MODEL = "gpt2"
AGGREGATE = """
import resource, sys, time
began = time.perf_counter()
from sweeps.results import tradeoff
from sweeps.store.store import Store
imported = time.perf_counter()
rows = Store(sys.argv[1]).rows()
read = time.perf_counter()
table = tradeoff.tradeoff(rows)
done = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{len(rows):,} rows of {len(table):,} cells: read in {read - imported:.1f} s, "
      f"aggregated in {done - read:.1f} s, {done - imported:.1f} s together; peak of memory {peak:.2f} GiB")
"""


class StubTrial(tune.Trainable):
    """Writes rows as a cell does, and measures nothing."""

    def setup(self, config: dict[str, Any], job: Job | None = None) -> None:
        assert job is not None
        self.job = job
        self.store = Store(job.url)
        self.journal = Journal(self.store.folder)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cell = self.job.plan.cell(new_config["cell"]["id"])
        self.store.done(self.cell.id)
        self.journal.write("cell-started", cell=self.cell.id)
        return True

    def step(self) -> dict[str, Any]:
        wanted = list(self.job.plan.wanted(self.cell))
        where = {"cell": self.cell.id, "n_edits": self.cell.checkpoints[-1], **self.cell.axes(), "engine": "stub"}
        rows = stub_rows(wanted)
        self.store.write(self.cell.id, self.cell.checkpoints[-1], complete(rows, where), [])
        self.journal.write("rows-written", cell=self.cell.id, n_edits=where["n_edits"], evaluations=wanted)
        return {"done": True, "score": 0.5}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing."""


def stub_rows(evaluations: list[str]) -> list[Row]:
    """As many rows as a cell with eight tasks writes, the names that the trade-off is made of among them."""
    names = [("edit", f"{m}/token_accuracy") for m in ("reliability", "generalization", "locality")]
    names += [("task", f"task-{i}/{what}") for i in range(8) for what in ("score", "score_release", "answered")]
    names += [("ability", "perplexity"), ("ability", "drift")]
    names += [("edit", f"reliability/token_accuracy/fact-{i}") for i in range(ROWS_PER_CELL - len(names))]
    found = [measurement(kind, name, 0.5, 0.01, 100, evaluations[0]) for kind, name in names]
    return found + [measurement("stub", one, 0.0, evaluation=one) for one in evaluations[1:]]


def plan_of(cells: int, actors: int = 8) -> Any:
    """A plan with so many edited cells, of one model, in which every cell has one checkpoint."""
    from sweeps.config.config import validate
    from sweeps.plan.identity import make_plan

    per_seed = min(cells, 100)
    data = {
        "name": "scale",
        "models": [MODEL],
        "methods": ["rome"],
        "settings": [{"kind": "instance-sequential", "edits": 1}],
        "regularizers": [{"name": "rect", "k": [100 * (i + 1) / per_seed for i in range(per_seed)]}],
        "seeds": list(range(max(1, cells // per_seed))),
        "resources": {"cpus": 1, "gpus": 0, "concurrency": actors},
    }
    return make_plan(validate(data, "benchmarks/scale_sim.py"))


def simulate(cells: int, actors: int, address: str, folder: Path) -> None:
    """Run the driver over so many stubs and print what it took."""
    from sweeps.run import trial
    from sweeps.run.driver import Session

    plan_of(1)  # now everything is imported, which takes as long for one cell as for many
    ray.init(address=address, log_to_driver=False)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    plan = plan_of(cells, actors)
    planned = time.perf_counter() - began
    with (
        mock.patch.object(trial, "EditingTrial", StubTrial),
        Session(Store(folder), console=Console(file=io.StringIO())) as session,
    ):
        session.finish(plan)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    number = len(plan.cells)
    done = Store(folder).done()
    if any(plan.missing(cell, done) for cell in plan.cells):
        raise SystemExit("not all cells were finished")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    files = len(Store(folder).folder.names("rows", ".parquet"))
    print(
        f"{number:>6,} cells: the driver's processor {1000 * processor / number:.1f} ms a cell, wall clock "
        f"{1000 * wall / number:.1f} ms a cell; planned in {planned:.1f} s; its memory {after.ru_maxrss / 2**20:.2f} "
        f"GiB; {files} files of rows",
        flush=True,
    )


def many_rows(rows: int, folder: Path) -> None:
    """Write so many rows of cells of several checkpoints as a sweep's parts put together, then read and tradeoff."""
    store = Store(folder)
    plan = plan_of(max(100, rows // (4 * ROWS_PER_CELL)))
    wanted = list(plan.wanted(plan.cells[1]))
    lines = stub_rows(wanted[:1])
    for start in range(0, len(plan.cells), 100):
        part: list[Row] = []
        for cell in plan.cells[start : start + 100]:
            for n_edits in (1, 2, 3, 4):
                part += complete(lines, {"cell": cell.id, "n_edits": n_edits, **cell.axes(), "engine": "stub"})
        store.write(plan.cells[start].id, 4, part, [])
    store.compact()
    subprocess.run([sys.executable, "-c", AGGREGATE, str(folder)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--nodes", type=int, default=8, help="raylets")
    parser.add_argument("--actors", type=int, default=8, help="trials at a time, at most 16")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--address", help="of a cluster that is there; default one with so many raylets")
    given = parser.parse_args()
    actors = min(given.actors, 16)
    if given.address:
        for number in given.cells:
            with tempfile.TemporaryDirectory() as folder:
                simulate(number, actors, given.address, Path(folder))
    elif given.cells:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for index in range(given.nodes):
                cluster.add_node(num_cpus=-(-actors // given.nodes), node_name=f"node-{index}")
            for number in given.cells:
                one = [f"--cells={number}", f"--actors={actors}", "--rows=0", f"--address={cluster.address}"]
                subprocess.run([sys.executable, __file__, *one], check=True)
        finally:
            cluster.shutdown()
    if given.rows:
        with tempfile.TemporaryDirectory() as folder:
            many_rows(given.rows, Path(folder))


if __name__ == "__main__":
    main()
