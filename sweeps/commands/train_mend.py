"""`sweeps train-mend`: train a MEND hypernetwork from a YAML file, here or data-parallel over Ray Train workers."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from modelfolder import whole_files
from rect import places
from sweeps.run import mend_training, surroundings

if TYPE_CHECKING:
    from rich.console import Console

    from rect.editors.mend.training import Metrics, Trainer
    from sweeps.config.training import TrainConfig

REPORT = "report.json"


def train(
    config: TrainConfig, console: Console, device: str = "auto", address: str | None = None
) -> dict[str, Metrics]:
    """Train to the end, or go on with what is in the folder; then look at the held-out facts.

    Args:
        config: the training.
        console: where progress goes.
        device: of the model in this process.
        address: of a Ray cluster, for several workers; None starts one on this machine.

    Returns:
        Metrics of the best hypernetwork on the held-out facts, per batch size; also written to `report.json`.

    Raises:
        InputError: Ray cannot be had, or the folder would be a job's own.
    """
    joined = surroundings.cluster_address(address) if config.workers > 1 else None
    surroundings.check_shared_path("out:", str(config.folder), joined)
    places.check_folder(f"out: {config.folder}", config.folder)
    if config.workers > 1:
        mend_training.facts_for(config)  # what is wrong with them is told here, not in a worker
        mend_training.over_workers(config, console, address)
    return _train_here(config, console, device)


def _train_here(config: TrainConfig, console: Console, device: str) -> dict[str, Metrics]:
    """Train in this process what is left to train."""
    trainer = mend_training.trainer_of(config, device)
    split, settings = trainer.split, config.training
    console.print(
        f"MEND for {config.model.name}: {len(trainer.network.matrices)} matrices, rank {settings.rank}; "
        f"{len(split.train)} facts to train on, {len(split.validation)} to validate on, {len(split.held_out)} held out",
        highlight=False,
    )
    if trainer.edits:
        console.print(f"goes on after {trainer.edits} edits in {config.folder}", highlight=False)
    began = time.perf_counter()
    _run(trainer, console)
    if trainer.stopped:
        console.print(f"stopped early: the best was after {trainer.best['edits']:.0f} edits", highlight=False)
    trainer.take_best()
    held_out = _held_out(trainer, config.held_out_batches)
    for size, metrics in held_out.items():
        console.print(f"held-out facts, {size} at a time: {mend_training.line(metrics)}", highlight=False)
    report = {
        "config": config.model_dump(mode="json"),
        "edits": trainer.edits,
        "seconds": round(time.perf_counter() - began, 1),
        "best": trainer.best,
        "held_out_facts": len(split.held_out),
        "held_out": held_out,
    }
    whole_files.write(config.folder / REPORT, (json.dumps(report, indent=1) + "\n").encode())
    console.print(f"edit with it: hparams: {{checkpoint: {config.folder}}}", highlight=False)
    return held_out


def _held_out(trainer: Trainer, sizes: Sequence[int]) -> dict[str, Metrics]:
    """Metrics per batch size; batches that the held-out facts do not fill are left out."""
    facts = trainer.split.held_out
    found = {}
    for size in sizes:
        whole = facts[: len(facts) // size * size]
        if whole:
            found[str(size)] = trainer.evaluate(whole, size)
    return found


def _run(trainer: Trainer, console: Console) -> None:
    columns = (
        TextColumn("edits"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[at]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=trainer.settings.iterations, completed=trainer.edits, at="")
        for metrics in trainer.train():
            bar.update(task, completed=int(metrics["edits"]), at=mend_training.line(metrics))
            if "best" in metrics:
                validation = {name: metrics[f"validation_{name}"] for name in mend_training.SHOWN}
                star = " (best)" if metrics["best"] else ""
                console.print(
                    f"{metrics['edits']:.0f} edits, validation: {mend_training.line(validation)}{star}", highlight=False
                )
