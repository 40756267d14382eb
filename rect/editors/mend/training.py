"""Training of a MEND hypernetwork: interruptible at any time, and resumed as if it had not been."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelfolder.errors import InputError
from rect.editors.mend import files, saved
from rect.editors.mend.data import Examples, Split
from rect.editors.mend.hypernetwork import Hypernetwork
from rect.editors.mend.settings import MendSettings
from rect.editors.mend.step import Editing, Outcome
from rect.facts import Fact
from rect.model import EditableModel

log = logging.getLogger(__name__)

RESUME = "training.safetensors"
Metrics = dict[str, float]
MEASURED = ("loss", "edit_loss", "locality_loss", "reliability", "generalization", "locality")


@dataclasses.dataclass(frozen=True)
class Share:
    """A process' part in a training of several: it computes every `size`-th edit of a step.

    Attributes:
        rank, size: which one of how many.
        add: sums tensors over all processes, in place.
    """

    rank: int = 0
    size: int = 1
    add: Callable[[list[Tensor]], None] = lambda _tensors: None


def edited_names(model: EditableModel, blocks: int) -> list[str]:
    """The MLP matrices of the last blocks: gate, up, down, or fc and proj."""
    layers = range(max(0, model.n_layers - blocks), model.n_layers)
    return [name for layer in layers for name in (*model.mlp_in_names(layer), model.mlp_out_name(layer))]


class Trainer:
    """Trains a hypernetwork for a model.

    Args:
        model: the unedited model; only read.
        facts: the edit set, split by `settings`.
        settings: how.
        folder: where checkpoints go and are resumed from; None keeps nothing.
        share: this process' part.

    Attributes:
        edits: done so far.
        losses: total loss of each step of the optimizer in this process.
        best: validation metrics of the best hypernetwork so far, with "edits".

    Raises:
        InputError: too few facts, or the folder holds a training with other settings, facts or model.
    """

    def __init__(
        self,
        model: EditableModel,
        facts: Sequence[Fact],
        settings: MendSettings,
        folder: Path | None = None,
        share: Share | None = None,
    ) -> None:
        if model.changed():
            raise InputError("MEND is trained on the unedited model: restore it first")
        self.model, self.settings, self.folder, self.share = model, settings, folder, share or Share()
        if settings.accumulate % self.share.size:
            raise InputError(f"accumulate {settings.accumulate} is not divisible by {self.share.size} workers")
        self.split = Split.of(facts, settings.validation, settings.held_out, settings.seed)
        names = edited_names(model, settings.blocks)
        self._about = saved.describe_model(model, names)
        shapes = {name: saved.matrix_shape(model, name) for name in names}
        self.network = Hypernetwork(shapes, settings.rank, settings.hidden_layers, settings.edit_lr, settings.seed)
        self.network.to(model.device)
        self.editing = Editing(model, self.network, settings.mixed_precision, settings.remember_mib * 2**20)
        self._examples = self.examples(self.split.train)
        groups = [
            {"params": self._weights(), "lr": settings.lr},
            {"params": [self.network.edit_lrs], "lr": settings.lr_lr},
        ]
        self.optimizer = torch.optim.Adam(groups)
        self.edits = 0
        self.losses: list[float] = []
        self.best: Metrics = {}
        self._best_network: dict[str, Tensor] = {}
        if folder is None or not (folder / RESUME).exists():
            self._normalize()
        else:
            self._resume(folder / RESUME)

    def _weights(self) -> list[torch.nn.Parameter]:
        return [p for name, p in self.network.named_parameters() if name != "edit_lrs"]

    def examples(self, facts: Sequence[Fact], batch_size: int | None = None) -> Examples:
        """Edits of some facts."""
        size = batch_size or self.settings.batch_size
        return Examples(self.model.tokenizer, facts, size, self.settings.seed, self.model.device)

    def _normalize(self) -> None:
        """Take the normalization's statistics: of gradients of the unedited model, which do not change in training."""
        facts = self.split.train[: self.settings.normalize_over]
        examples = self.examples(facts, 1)
        for number, fact in enumerate(facts):
            self.network.see(self.editing.gradients(examples.example([fact], number).edit))

    # Training

    def train(self, until: int | None = None) -> Iterator[Metrics]:
        """Train to the end, or up to a number of edits.

        Yields:
            After each step of the optimizer: "edits", "loss", "edit_loss", "locality_loss", "reliability", "locality"
            (means of the step); after a validation also "validation_..." of each of them, and "best" (0 or 1).
        """
        settings = self.settings
        end = min(settings.iterations, until or settings.iterations)
        while self.edits < end and not self.stopped:
            metrics = self._step()
            if self.edits % settings.validate_every == 0 or self.edits >= settings.iterations:
                metrics |= self._validate()
            if self.edits % settings.save_every == 0 or self.edits >= settings.iterations or self.stopped:
                self.save()
            yield metrics

    @property
    def stopped(self) -> bool:
        """Whether the validation loss has not become better for long enough."""
        return self.edits - self.best.get("edits", 0) >= self.settings.patience

    def _step(self) -> Metrics:
        """One step of the optimizer: `accumulate` edits."""
        settings, parameters = self.settings, list(self.network.parameters())
        self.optimizer.zero_grad()
        outcomes: list[Outcome] = []
        for number in range(self.edits + self.share.rank, self.edits + settings.accumulate, self.share.size):
            outcome = self.editing.step(self._examples[number])
            (outcome.total(settings.cedit, settings.cloc) / settings.accumulate).backward()
            outcomes.append(outcome)
        for parameter in parameters:
            if parameter.grad is None:  # of a matrix that no edit of this process reached
                parameter.grad = torch.zeros_like(parameter)
        self.share.add([parameter.grad for parameter in parameters if parameter.grad is not None])
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.grad_clip)
        if not bool(torch.isfinite(norm)):
            raise RuntimeError(f"MEND training: the gradient is not finite after {self.edits} edits")
        self.optimizer.step()
        self.edits += settings.accumulate
        metrics = mean(outcomes, settings)
        self.losses.append(metrics["loss"])
        return {"edits": float(self.edits), **metrics}

    def _validate(self) -> Metrics:
        """The first process looks and the others hear what it saw: so all of them stop at the same edit."""
        seen = self.evaluate(self.split.validation) if self.share.rank == 0 else dict.fromkeys(MEASURED, 0.0)
        values = torch.tensor([seen[name] for name in MEASURED], dtype=torch.float64, device=self.model.device)
        self.share.add([values])
        now = dict(zip(MEASURED, values.tolist(), strict=True))
        better = now["loss"] < self.best.get("loss", math.inf)
        if better:
            self.best = {"edits": float(self.edits), **now}
            self._best_network = {name: t.detach().clone() for name, t in self.network.state_dict().items()}
            if self.folder is not None and self.share.rank == 0:
                self._write(self.folder / files.FILE, self._best_network, {"metrics": self.best}, {})
        return {**{f"validation_{name}": value for name, value in now.items()}, "best": float(better)}

    @torch.no_grad()
    def evaluate(self, facts: Sequence[Fact], batch_size: int = 1) -> Metrics:
        """Means over single edits of some facts (or batches), with the hypernetwork as it stands.

        Returns:
            "loss", "edit_loss", "locality_loss"; "reliability", "generalization" (share of target tokens that are the
            argmax) and "locality" (share of tokens out of scope whose argmax is as before).
        """
        examples = self.examples(facts, batch_size)
        batches = [facts[i : i + batch_size] for i in range(0, len(facts), batch_size)]
        return mean([self.editing.step(examples.example(batch, i)) for i, batch in enumerate(batches)], self.settings)

    def take_best(self) -> None:
        """Go back to the best hypernetwork on the validation facts."""
        if self._best_network:
            self.network.load_state_dict(self._best_network)

    # Checkpoints

    def save(self) -> None:
        """Write what training resumes from."""
        if self.folder is None or self.share.rank != 0:
            return
        extra = {f"best/{name}": tensor for name, tensor in self._best_network.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            extra |= {f"optimizer/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
        self._write(self.folder / RESUME, self.network.state_dict(), {"best": self.best, "losses": self.losses}, extra)

    def _write(self, path: Path, network: dict[str, Tensor], more: dict[str, Any], extra: dict[str, Tensor]) -> None:
        header = {
            "model": self._about,
            "rank": self.settings.rank,
            "hidden_layers": self.settings.hidden_layers,
            "settings": self.settings.model_dump(mode="json"),
            "edits": self.edits,
            "digest": saved.digest(network),
            **more,
        }
        tensors = {f"network/{name}": tensor for name, tensor in network.items()}
        samples = {f"model/{n}": saved.sample_of(self.model.original(n)) for n in self._about["matrices"]}
        facts = {"facts": saved.facts_tensor(self.split.train)}
        saved.save(path, header, {**tensors, **samples, **facts, **extra})

    def _resume(self, path: Path) -> None:
        found = saved.load(path)
        found.check_model(self.model)
        changed = _differences(found.header["settings"], self.settings.model_dump(mode="json"))
        if not torch.equal(found.tensors["facts"], saved.facts_tensor(self.split.train)):
            changed.append("facts")
        if changed:
            raise InputError(f"{path}: a training with another {changed[0]}; give another folder, or remove this one")
        self.network.load_state_dict(found.part("network"))
        self._best_network = {name: tensor.to(self.model.device) for name, tensor in found.part("best").items()}
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in found.part("optimizer").items():
            index, _, name = key.partition("/")
            state.setdefault(int(index), {})[name] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.edits, self.best = found.header["edits"], found.header["best"]
        self.losses = list(found.header["losses"])
        log.info("MEND training goes on after %d edits", self.edits)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Settings that differ; how long and how often may change."""
    free = {"iterations", "patience", "save_every", "remember_mib"}
    return [key for key in new if key not in free and json.dumps(old.get(key)) != json.dumps(new[key])]


def mean(outcomes: Sequence[Outcome], settings: MendSettings) -> Metrics:
    """The means of some edits; what has no value is left out of its mean."""
    values = (
        [float(one.total(settings.cedit, settings.cloc).detach()) for one in outcomes],
        [float(one.edit.detach()) for one in outcomes],
        [float(one.locality.detach()) for one in outcomes],
        [one.reliability for one in outcomes],
        [one.generalization for one in outcomes],
        [one.kept for one in outcomes],
    )
    return {
        name: _mean([value for value in each if not math.isnan(value)])
        for name, each in zip(MEASURED, values, strict=True)
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
