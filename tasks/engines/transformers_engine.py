"""Batched greedy generation with transformers alone: the engine where vLLM is not installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.engines.base import Engine, EngineError
from tasks.engines.likelihood import Likelihood

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 64  # prompts in a batch, at most
TOKENS = 8192  # prompts in a batch times their longest, at most


class TransformersEngine(Engine):
    """Greedy generation in batches of prompts of one budget and similar lengths, padded on the left.

    It loads a model of its own from the folder. In float32 its tokens equal VLLMEngine's.

    Args:
        folder, dtype, max_model_len, trust_remote_code: as in Engine.
        device: "auto" (a CUDA device if there is one, else the CPU), or a torch device.
    """

    name = "transformers"

    def __init__(self, folder: str | Path, *, device: str = "auto", **common: Any) -> None:
        super().__init__(folder, **common)
        import torch

        from modelfolder import loading

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        kind = getattr(torch, self.dtype)
        model = loading.causal_lm(self.folder, kind, trust_remote_code=self.trust_remote_code)
        self._model = model.to(device).eval().requires_grad_(False)

    def close(self) -> None:
        self._model = None

    def _generate(self, prompts: list[list[int]], budgets: list[int]) -> list[list[int]]:
        import torch

        outputs: list[list[int]] = [[]] * len(prompts)
        with torch.inference_mode():
            for rows in _batches([len(ids) for ids in prompts], budgets):
                batch = self._greedy([prompts[i] for i in rows], budgets[rows[0]])
                for i, ids in zip(rows, batch, strict=True):
                    outputs[i] = ids
        return outputs

    def _greedy(self, prompts: list[list[int]], budget: int) -> list[list[int]]:
        """New ids of each prompt. Rows that have ended leave the batch."""
        import torch
        from transformers import DynamicCache

        model = self._running()
        ids, mask = _left_padded(prompts)  # (rows, longest) both
        ids, mask = ids.to(model.device), mask.to(model.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache(config=model.config)
        outputs: list[list[int]] = [[] for _ in prompts]
        alive = list(range(len(prompts)))  # row of the batch -> prompt
        for step in range(budget):
            logits = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]  # (rows, vocabulary)
            chosen = logits.argmax(-1)
            tokens = chosen.tolist()
            for prompt, token in zip(alive, tokens, strict=True):
                outputs[prompt].append(token)
            keep = [row for row, token in enumerate(tokens) if token not in self.texts.end]
            if not keep or step + 1 == budget:
                break
            if len(keep) < len(alive):
                index = torch.tensor(keep, device=model.device)
                chosen, mask, positions = chosen[index], mask[index], positions[index]
                cache.batch_select_indices(index)
                alive = [alive[row] for row in keep]
            ids = chosen[:, None]
            mask = torch.cat([mask, mask.new_ones(len(keep), 1)], dim=1)
            positions = positions[:, -1:] + 1
        return outputs

    def _likelihoods(self, rows: list[tuple[list[int], list[int]]]) -> list[Likelihood]:
        """As in Engine. Continuations of one token after the same prompt (the choices of a task) share one pass."""
        import torch

        model = self._running()
        groups: dict[object, list[int]] = {}
        for i, (prompt, tail) in enumerate(rows):
            groups.setdefault(tuple(prompt) if len(tail) == 1 else i, []).append(i)
        members = list(groups.values())
        firsts = [rows[of_group[0]] for of_group in members]
        scores: dict[int, Likelihood] = {}
        with torch.inference_mode():
            for batch in _batches([len(prompt) + len(tail) - 1 for prompt, tail in firsts], [1] * len(firsts)):
                padded = _left_padded([firsts[group][0] + firsts[group][1][:-1] for group in batch])
                ids, mask = (part.to(model.device) for part in padded)
                last = max(len(firsts[group][1]) for group in batch)  # positions that predict; they end the rows
                logits = model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                    use_cache=False,
                    logits_to_keep=last,
                ).logits
                logprobs = logits.float().log_softmax(-1)  # (groups, last, vocabulary)
                likeliest = logprobs.argmax(-1)  # (groups, last)
                for row, group in enumerate(batch):
                    for i in members[group]:
                        wanted = torch.tensor(rows[i][1], device=logprobs.device)
                        own = logprobs[row, -len(wanted) :].gather(-1, wanted[:, None])[:, 0]  # (tail,)
                        greedy = bool((likeliest[row, -len(wanted) :] == wanted).all())
                        scores[i] = Likelihood(own.sum().item(), greedy)
        return [scores[i] for i in range(len(rows))]

    def _write(self, tensors: Mapping[str, Tensor], back_to_base: frozenset[str]) -> None:
        import torch

        model = self._running()
        with torch.no_grad():
            for name in back_to_base:
                model.get_parameter(name).copy_(self.checkpoint.tensor(name))
            for name, tensor in tensors.items():
                model.get_parameter(name).copy_(tensor)

    def _running(self) -> Any:
        if self._model is None:
            raise EngineError("the engine is closed")
        return self._model


def _batches(lengths: list[int], budgets: list[int]) -> Iterator[list[int]]:
    """Indices in batches: one budget each, similar lengths, the longest first (what does not fit fails at once)."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (budgets[i], lengths[i]), reverse=True):
        if batch and (
            budgets[i] != budgets[batch[0]] or len(batch) == ROWS or (len(batch) + 1) * lengths[batch[0]] > TOKENS
        ):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _left_padded(prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids, padded on the left, and the mask that says which are real: (prompts, longest) both."""
    import torch

    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
    return ids, mask
