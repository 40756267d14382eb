"""`sweeps train-mend`: train a MEND hypernetwork from a YAML file, here or data-parallel over Ray Train workers."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from modelfolder import whole_files, yaml_files
from modelfolder.errors import InputError
from rect import places
from rect.editors.mend.settings import MendSettings
from sweeps.config import dotted
from sweeps.config.config import Count, EditsSpec, ModelSpec
from sweeps.config.strict import Strict
from sweeps.plan import skipped
from sweeps.run import surroundings

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from rect.editors.mend.training import Metrics, Share, Trainer
    from rect.facts import Fact

log = logging.getLogger(__name__)

REPORT = "report.json"
RESTARTS = 2  # of all workers after one was lost
SHOWN = ("loss", "reliability", "generalization", "locality")


class TrainConfig(Strict):
    """A training. `load` makes one from a YAML file.

    Attributes:
        model: for which the hypernetwork is trained.
        facts: the edit set; it is split into facts to train on, to validate on, and held out.
        out: folder of the checkpoints, which all workers must see; default `results/mend/<name of the model>`.
        training: `rect.editors.mend.settings.MendSettings`.
        held_out_batches: sizes of the batches that the held-out facts are edited in for the final report.
        workers: processes of Ray Train; each takes its share of the edits of a step.
    """

    model: ModelSpec
    facts: EditsSpec = EditsSpec()
    out: str | None = None
    training: MendSettings = Field(default_factory=lambda: MendSettings.parse({}))
    held_out_batches: tuple[Count, ...] = (1, 4, 16)
    workers: Count = 1

    @field_validator("training", mode="before")
    @classmethod
    def _settings(cls, value: Any) -> Any:
        try:
            return MendSettings.parse(value) if isinstance(value, dict) else value
        except InputError as error:
            raise PydanticCustomError("training", "{reason}", {"reason": str(error)}) from None

    @property
    def folder(self) -> Path:
        from rect.editors.mend.files import default_folder

        return Path(self.out or default_folder(self.model.name))


def load(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML file, apply `key=value` overrides, validate.

    Raises:
        InputError: one line with the file, its line, the key and what is wrong.
    """
    data, lines = yaml_files.mapping_with_lines(Path(path))
    for text in overrides:
        dotted.override(data, text)
    try:
        return TrainConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        line = f":{lines[key]}" if key in lines else ""
        reason = "this key is missing" if first["type"] == "missing" else first["msg"]
        raise InputError(f"{path}{line}: {f'{key}: ' if key else ''}{reason}") from None


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
        facts_for(config)  # what is wrong with them is told here, not in a worker
        _train_on_ray(config, console, address)
    return _train_here(config, console, device)


def _train_here(config: TrainConfig, console: Console, device: str) -> dict[str, Metrics]:
    """Train in this process what is left to train."""
    trainer = _trainer(config, device)
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
        console.print(f"held-out facts, {size} at a time: {_line(metrics)}", highlight=False)
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


def facts_for(config: TrainConfig) -> list[Fact]:
    """The facts that the model can be trained with. Loads its tokenizer, no weights.

    Raises:
        InputError: one of the user's own file is longer than the context or has no tokens of its own, or all are.
    """
    from rect import fact_files
    from rect.editors.mend.data import trouble

    read = fact_files.read(config.facts.source, config.facts.format, config.facts.strict)[: config.facts.count]
    why_not = skipped.reader(config.model, config.model.revision, trouble)
    found = {index: why_not(fact) for index, fact in enumerate(read)}
    bad = {index: why for index, why in found.items() if why is not None}
    skipped.check(bad, read, config.facts, config.model)
    if bad:
        log.warning("%s", skipped.note(bad, read, config.model))
    return [fact for index, fact in enumerate(read) if index not in bad]


def _trainer(config: TrainConfig, device: str, share: Share | None = None) -> Trainer:
    from rect.editors.mend.training import Trainer
    from rect.model import EditableModel

    facts, spec = facts_for(config), config.model
    model = EditableModel.load(spec.name, device, spec.dtype, spec.revision, trust_remote_code=spec.trust_remote_code)
    return Trainer(model, facts, config.training, config.folder, share)


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
            bar.update(task, completed=int(metrics["edits"]), at=_line(metrics))
            if "best" in metrics:
                validation = {name: metrics[f"validation_{name}"] for name in SHOWN}
                star = " (best)" if metrics["best"] else ""
                console.print(f"{metrics['edits']:.0f} edits, validation: {_line(validation)}{star}", highlight=False)


def _line(metrics: Metrics) -> str:
    return ", ".join(f"{name} {metrics[name]:.3f}" for name in SHOWN)


# Ray Train


def _train_on_ray(config: TrainConfig, console: Console, address: str | None) -> None:
    """Train with several workers; the checkpoints in the folder are what they leave, and what they resume from.

    Each worker takes a GPU where the cluster has enough of them (written for CUDA, not run on it).
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from sweeps.run import cluster

    storage = config.folder.absolute()
    values = {**config.model_dump(mode="json"), "out": str(storage)}
    with cluster.connected(address, log_to_driver=True):
        gpus = ray.cluster_resources().get("GPU", 0) >= config.workers
        console.print(f"{config.workers} workers of Ray Train, {'a GPU each' if gpus else 'on CPUs'}", highlight=False)
        TorchTrainer(
            _worker,
            train_loop_config=values,
            scaling_config=ScalingConfig(num_workers=config.workers, use_gpu=gpus),
            run_config=RunConfig(
                name="ray", storage_path=str(storage), failure_config=FailureConfig(max_failures=RESTARTS)
            ),
        ).fit()


def _worker(values: dict[str, Any]) -> None:
    """One worker: its share of each step's edits; gradients are summed over all workers."""
    import ray.train

    from rect.editors.mend.training import Share

    config = TrainConfig.model_validate(values)
    context = ray.train.get_context()
    share = Share(context.get_world_rank(), context.get_world_size(), _sum_over_workers)
    for metrics in _trainer(config, "auto", share).train():
        if share.rank == 0 and "best" in metrics:
            validation = {name: metrics[f"validation_{name}"] for name in SHOWN}
            log.warning("%d edits, validation: %s", metrics["edits"], _line(validation))


def _sum_over_workers(tensors: list[Tensor]) -> None:
    import torch.distributed

    for tensor in tensors:
        torch.distributed.all_reduce(tensor)
