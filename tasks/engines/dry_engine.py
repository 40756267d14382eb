"""An engine without weights: it prepares every request as the others do, and answers nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tasks.engines.base import Engine
from tasks.engines.likelihood import Likelihood

if TYPE_CHECKING:
    from torch import Tensor


class DryEngine(Engine):
    """Shows which requests an engine on a model folder would refuse. Texts are empty, log-probabilities 0.

    Args:
        folder, dtype, max_model_len, trust_remote_code: as in Engine.
    """

    name = "dry"

    def close(self) -> None:
        pass

    def _generate(self, prompts: list[list[int]], budgets: list[int]) -> list[list[int]]:
        return [[] for _ in prompts]

    def _likelihoods(self, rows: list[tuple[list[int], list[int]]]) -> list[Likelihood]:
        return [Likelihood(0.0, False) for _ in rows]

    def _write(self, tensors: Mapping[str, Tensor], back_to_base: frozenset[str]) -> None:
        pass
