"""A training of MEND put together from its configuration, and spread over Ray Train workers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sweeps.config.training import TrainConfig
from sweeps.plan import skipped
from sweeps.run import cluster

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from rect.editors.mend.training import Metrics, Share, Trainer
    from rect.facts import Fact

log = logging.getLogger(__name__)

RESTARTS = 2  # of all workers after one was lost
SHOWN = ("loss", "reliability", "generalization", "locality")


def facts_for(config: TrainConfig) -> list[Fact]:
    """The facts that the model can be trained with. Loads its tokenizer, no weights.

    Raises:
        InputError: one of the user's own file is longer than the context or has no tokens of its own, or all are.
    """
    from rect import fact_files
    from rect.editors.mend.data import trouble

    found = fact_files.found(config.facts.source, config.facts.format, config.facts.strict)
    read, source = found.facts[: config.facts.count], config.facts.model_copy(update={"format": found.format})
    why_not = skipped.reader(config.model, config.model.revision, trouble)
    looked = {index: why_not(fact) for index, fact in enumerate(read)}
    bad = {index: why for index, why in looked.items() if why is not None}
    skipped.check(bad, read, source, config.model)
    if bad:
        log.warning("%s", skipped.note(bad, read, config.model))
    return [fact for index, fact in enumerate(read) if index not in bad]


def trainer_of(config: TrainConfig, device: str, share: Share | None = None) -> Trainer:
    """The training with its model, as far as it is in the folder; of one worker, its share."""
    from rect.editors.mend.training import Trainer
    from rect.model import EditableModel

    facts, spec = facts_for(config), config.model
    model = EditableModel.load(spec.name, device, spec.dtype, spec.revision, trust_remote_code=spec.trust_remote_code)
    return Trainer(model, facts, config.training, config.folder, share)


def line(metrics: Metrics) -> str:
    """Losses and rates, as they are shown."""
    return ", ".join(f"{name} {metrics[name]:.3f}" for name in SHOWN)


def over_workers(config: TrainConfig, console: Console, address: str | None) -> None:
    """Train with several workers; the checkpoints in the folder are what they leave, and what they resume from.

    Each worker takes a GPU where the cluster has enough of them (written for CUDA, not run on it).
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

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
    for metrics in trainer_of(config, "auto", share).train():
        if share.rank == 0 and "best" in metrics:
            validation = {name: metrics[f"validation_{name}"] for name in SHOWN}
            log.warning("%d edits, validation: %s", metrics["edits"], line(validation))


def _sum_over_workers(tensors: list[Tensor]) -> None:
    import torch.distributed

    for tensor in tensors:
        torch.distributed.all_reduce(tensor)
