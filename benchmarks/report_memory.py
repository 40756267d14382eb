"""How much memory `sweeps report` and `sweeps compare` take: python benchmarks/report_memory.py [--checkpoints 262]

Made-up rows and outputs of a sweep (sequences of several regularizers, the paper's eight tasks, prompts about as long
as those of the real data sets), written as a run writes them and put together as its driver does. Then the two commands
as processes of their own, the sweep compared with itself; printed are their seconds and the most memory that each held.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sweeps.store.schema import OUTPUTS, ROWS
from sweeps.store.store import Store
from tests.sweeps import synthetic_rows
from tests.sweeps.synthetic_rows import TASKS

ROOT = Path(__file__).resolve().parents[1]
PROMPT = {"summarization": 900, "closed_domain_qa": 700, "reasoning": 250}
"""Characters; of the other tasks 300."""
WORDS = ("the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "was", "with", "be", "by", "on", "not", "he")
EVERY = 80  # checkpoints between two times that parts are put together


def rows_of(checkpoints: int) -> pd.DataFrame:
    """An unedited model and nine edited ones, so many checkpoints in all."""
    each = (checkpoints - 1) // 9
    rows = synthetic_rows.sweep(
        models=("gpt2-xl",), ks=(5, 10, 20, 30, 40, 50, 60), checkpoints=tuple(range(1, each + 1)), facts=1, n=1000
    )
    left = rows[["cell", "n_edits"]].drop_duplicates()
    return rows.merge(left.head(checkpoints), on=["cell", "n_edits"])


def texts(count: int, characters: int, random: np.random.Generator) -> list[str]:
    chosen = random.integers(len(WORDS), size=(count, characters // 4))
    return [" ".join([f"{i}", *(WORDS[j] for j in line)]) for i, line in enumerate(chosen)]


class Asked:
    """The questions of a task, the same at every checkpoint."""

    def __init__(self, task: str, count: int, random: np.random.Generator) -> None:
        self.task, self.count, self.random = task, count, random
        self.prompts = pa.array(texts(count, PROMPT.get(task, 300), random))
        self.answers = pa.array(texts(count, 40, random))
        self.gold = pa.array([json.dumps(f"answer {i % 97}") for i in range(count)])
        self.units = pa.array([str(i // 4 if task == "ner" else i) for i in range(count)])

    def at(self, cell: str, n_edits: int, score: float) -> pa.Table:
        right = (self.random.random(self.count) < score).astype(float)
        none = pa.array(np.full(self.count, np.nan))
        same = {"cell": cell, "n_edits": n_edits, "task": self.task, "evaluation": f"task-{self.task}"}
        columns = {name: pa.repeat(value, self.count) for name, value in same.items()}
        columns |= {"index": pa.array(range(self.count)), "prompt": self.prompts, "gold": self.gold, "unit": self.units}
        columns["output"] = self.answers.take(pa.array(self.random.permutation(self.count)))
        columns |= {"score": pa.array(right), "numerator": none, "denominator": none}
        return pa.table([columns[name] for name in OUTPUTS.names], OUTPUTS)


def fill(folder: str, rows: pd.DataFrame, count: int) -> None:
    """A sweep's folder; what rows say of a task is what its outputs say."""
    random, store = np.random.default_rng(0), Store(folder)
    asked = [Asked(task, count // len(TASKS), random) for task in TASKS]
    for done, ((cell, n_edits), part) in enumerate(rows.groupby(["cell", "n_edits"], sort=False), 1):
        keep = float(np.exp(-0.05 * n_edits))
        tables = [one.at(cell, n_edits, keep * synthetic_rows.UNEDITED_SCORES[one.task]) for one in asked]
        found = {f"{one.task}/score": float(t["score"].to_numpy().mean()) for one, t in zip(asked, tables, strict=True)}
        said = part.assign(value=part["name"].map(found).fillna(part["value"])).reindex(columns=ROWS.names)
        commit(store, f"{cell[:16]}-{n_edits}", tables, said)
        if done % EVERY == 0:
            store.compact()
    store.compact()


def commit(store: Store, part: str, tables: Sequence[pa.Table], rows: pd.DataFrame) -> None:
    """As `Store.write`, of tables: one part each of outputs and rows."""
    from sweeps.store.parts import _bytes

    store.begin()
    store.folder.write(f"outputs/{part}.parquet", _bytes([pa.concat_tables(tables)]))
    store.folder.write(f"rows/{part}.parquet", _bytes([pa.Table.from_pandas(rows, ROWS, preserve_index=False)]))


def measure(words: Sequence[str]) -> tuple[float, float]:
    """(seconds, GiB at the most) of a command."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "sweeps", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"sweeps {' '.join(words)}: ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - began, used.ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=262)
    parser.add_argument("--outputs", type=int, default=25_000, help="of a checkpoint")
    parser.add_argument("--keep", metavar="DIR", help="where the sweep lies, and stays for the next time")
    wanted = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        folder = str(Path(wanted.keep or scratch) / "sweep")
        rows = rows_of(wanted.checkpoints)
        if not Path(folder).exists():
            fill(folder, rows, wanted.outputs)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet")) / 1e6
        points = len(rows[["cell", "n_edits"]].drop_duplicates())
        print(f"{points} checkpoints of {wanted.outputs} outputs, {size:.0f} MB of files")
        for words in (["report", folder], ["compare", folder, folder]):
            seconds, gib = measure(words)
            print(f"sweeps {words[0]}: {seconds:.0f} s, {gib:.2f} GiB at the most", flush=True)


if __name__ == "__main__":
    main()
