"""How a MEND hypernetwork is built and trained."""

from __future__ import annotations

from typing import Self

import pydantic


class MendSettings(pydantic.BaseModel):
    """Frozen; the defaults are those of the released runs (EasyEdit's MEND on ZsRE).

    Attributes:
        blocks: the last so many blocks are edited, all matrices of their MLPs.
        rank: of the layers of the hypernetwork.
        hidden_layers: of the hypernetwork, beside its output layer.
        edit_lr: where the learned step size of each matrix starts.
        lr, lr_lr: learning rates of the hypernetwork and of the step sizes (Adam).
        cedit, cloc: weights of the edit loss and the locality loss.
        batch_size: facts that are edited together.
        accumulate: edits per step of the optimizer.
        grad_clip: largest norm of the gradient.
        iterations: edits at most (`iterations / accumulate` steps of the optimizer).
        validate_every, validation, patience: each so many edits the loss on so many validation facts is taken; after
            `patience` edits without a new best training stops. The best hypernetwork is the one that is kept.
        held_out: facts that are neither trained nor validated on, for the final report.
        save_every: edits between two checkpoints to resume from.
        normalize_over: facts over which the normalization statistics are taken before training.
        remember_mib: memory for the states of the blocks below the edited ones: facts that come again in each epoch
            then need only the edited blocks.
        mixed_precision: run the language model in bfloat16 autocast, on CUDA only.
        seed: of the split, the order and the initial hypernetwork.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    blocks: int = pydantic.Field(3, ge=1)
    rank: int = pydantic.Field(1920, ge=1)
    hidden_layers: int = pydantic.Field(1, ge=0)
    edit_lr: float = pydantic.Field(1e-4, gt=0)
    lr: float = pydantic.Field(1e-6, gt=0)
    lr_lr: float = pydantic.Field(1e-4, gt=0)
    cedit: float = pydantic.Field(0.1, gt=0)
    cloc: float = pydantic.Field(1.0, ge=0)
    batch_size: int = pydantic.Field(1, ge=1)
    accumulate: int = pydantic.Field(10, ge=1)
    grad_clip: float = pydantic.Field(100.0, gt=0)
    iterations: int = pydantic.Field(100_000, ge=1)
    validate_every: int = pydantic.Field(1000, ge=1)
    validation: int = pydantic.Field(500, ge=1)
    patience: int = pydantic.Field(20_000, ge=1)
    held_out: int = pydantic.Field(0, ge=0)
    save_every: int = pydantic.Field(5000, ge=1)
    normalize_over: int = pydantic.Field(1000, ge=2)
    remember_mib: int = pydantic.Field(512, ge=0)
    mixed_precision: bool = False
    seed: int = 0

    @pydantic.model_validator(mode="after")
    def _whole_steps(self) -> Self:
        for key in ("validate_every", "save_every"):
            if getattr(self, key) % self.accumulate:
                raise ValueError(f"{key} must be a multiple of accumulate ({self.accumulate})")
        return self
