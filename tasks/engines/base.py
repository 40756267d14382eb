"""What every engine shares: texts in and out, which weights it holds, and the books about changed tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelfolder.errors import InputError

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from tasks.engines.likelihood import Likelihood

DTYPES = ("float32", "bfloat16", "float16")
FIRST_ROUND = 16  # tokens that a text is first continued by; each round is twice as long as the one before


class EngineError(RuntimeError):
    """The engine could not start, or ended while it was in use. The message ends with the last lines of its log."""


class Engine(ABC):
    """Greedy generation from a model folder whose weights can be exchanged while the engine stays warm.

    The engine's weights are always the folder's (the base) plus the tensors of the last `load`. Texts are tokenized and
    decoded here, in one place for all engines, so that engines can differ in nothing but arithmetic.

    Args:
        folder: a Hugging Face model folder (config, tokenizer, safetensors).
        dtype: "float32", "bfloat16" or "float16": weights and activations.
        max_model_len: longest prompt plus budget in tokens; the model's own limit where that is lower.
        trust_remote_code: let the folder's own Python code run.

    Raises:
        InputError: the folder is no model folder, or the dtype is unknown.
    """

    name: str

    def __init__(
        self,
        folder: str | Path,
        *,
        dtype: str = "float32",
        max_model_len: int = 2048,
        trust_remote_code: bool = False,
    ) -> None:
        from modelfolder import config as configs
        from tasks.engines.checkpoint import Checkpoint
        from tasks.engines.texts import Texts

        if dtype not in DTYPES:
            raise InputError(f"engine dtype {dtype!r} is unknown: choose one of {', '.join(DTYPES)}")
        self.folder, self.dtype, self.trust_remote_code = Path(folder), dtype, trust_remote_code
        config = configs.load(self.folder, trust_remote_code=trust_remote_code).get_text_config()
        self.checkpoint = Checkpoint(self.folder, tied=bool(config.tie_word_embeddings))
        self.texts = Texts(self.folder, config, max_model_len, trust_remote_code=trust_remote_code)
        self.weight_version = 0
        self.truncated = 0
        self._dirty: frozenset[str] = frozenset()

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus budget, in tokens."""
        return self.texts.context

    def chat(self, message: str) -> str:
        """A user's message in the tokenizer's chat template, up to where the answer begins.

        Raises:
            InputError: the tokenizer has no chat template.
        """
        return self.texts.chat([{"role": "user", "content": message}])

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int | Sequence[int],
        ended: Callable[[str], bool] | None = None,
    ) -> list[str]:
        """Greedy continuations of the prompts, in their order, without the prompts.

        One call for everything is fastest: prompts are sorted here so that those with a common beginning meet.
        A prompt that does not fit is cut from the left; `truncated` says how many were.

        Args:
            prompts: the whole inputs.
            max_new_tokens: the budget, one for all or one per prompt. A text ends earlier at the model's end token.
            ended: of a continuation so far whether it is enough; it may come out somewhat longer.

        Raises:
            InputError: a budget below 1, budgets and prompts of different numbers, a budget that fills the context, a
                token that the model does not have.
            EngineError: the engine ended.
        """
        prepared, budgets = self._prepared(prompts, max_new_tokens)
        if ended is None:
            said = self._sorted(prepared, budgets)
        else:
            said = self.generate_ids(prepared, budgets, lambda i, ids: ended(self.texts.decode(prepared[i], ids)))
        return [self.texts.decode(*pair) for pair in zip(prepared, said, strict=True)]

    def generate_ids(
        self,
        prompts: Sequence[list[int]],
        budgets: Sequence[int],
        ended: Callable[[int, list[int]], bool] = lambda index, ids: False,
    ) -> list[list[int]]:
        """As `generate`, for token ids: those of each prompt's continuation.

        Args:
            prompts, budgets: each pair fits into the context.
            ended: (index, ids so far) -> whether the text is over; it may come out somewhat longer.
        """
        return until(self._sorted, prompts, budgets, lambda i, ids: not self.texts.end.isdisjoint(ids) or ended(i, ids))

    def _prepared(
        self, prompts: Sequence[str], max_new_tokens: int | Sequence[int]
    ) -> tuple[list[list[int]], list[int]]:
        """Token ids of the prompts, cut where they do not fit, and the budget of each."""
        if isinstance(prompts, str):
            raise InputError("prompts must be a list of texts, not one text: each of its letters would be a prompt")
        budgets = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
        if len(budgets) != len(prompts):
            raise InputError(f"{len(prompts)} prompts but {len(budgets)} token budgets: give one for all or one each")
        if budgets and not 1 <= min(budgets) <= max(budgets) < self.max_model_len:
            raise InputError(f"token budgets must be at least 1 and below max_model_len ({self.max_model_len})")
        encoded = self.texts.encode(prompts)
        fitting = [self.texts.cut(ids, budget) for ids, budget in zip(encoded, budgets, strict=True)]
        self.truncated = sum(len(cut) < len(ids) for cut, ids in zip(fitting, encoded, strict=True))
        return fitting, budgets

    def _sorted(self, prompts: list[list[int]], budgets: list[int]) -> list[list[int]]:
        """`_generate` with the prompts sorted, so that those with a common beginning meet; answers in their order."""
        self.texts.check(prompts)
        order = sorted(range(len(prompts)), key=prompts.__getitem__)
        generated = self._generate([prompts[i] for i in order], [budgets[i] for i in order]) if order else []
        return [ids for _, ids in sorted(zip(order, generated, strict=True))]

    def likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Log-probability of each continuation after its prompt, and whether greedy decoding would give it.

        Texts are cut into tokens as the lm-evaluation-harness does it. A long prompt is cut from the left; `truncated`
        says how many were.

        Args:
            pairs: (prompt, continuation); the continuation brings its own leading space.

        Raises:
            InputError: a continuation without tokens, or too long for the context.
            EngineError: the engine ended.
        """
        from tasks.engines.likelihood import fitted, split

        cut = [fitted(*split(self.texts, *pair), self.max_model_len) for pair in pairs]
        self.truncated = sum(was_cut for _, was_cut in cut)
        return self.token_likelihoods([row for row, _ in cut])

    def token_likelihoods(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[Likelihood]:
        """As `likelihoods`, for token ids: (context, continuation), neither empty, at most `max_model_len` + 1."""
        self.texts.check([ids for row in rows for ids in row])
        order = sorted(range(len(rows)), key=rows.__getitem__)
        scored = self._likelihoods([rows[i] for i in order]) if order else []
        return [likelihood for _, likelihood in sorted(zip(order, scored, strict=True))]

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Make the weights the base plus exactly these tensors; what an earlier load changed is put back.

        Args:
            tensors: Hugging Face parameter names -> tensors in the parameter's own shape and orientation, any dtype
                and device. The engine keeps no reference.

        Raises:
            InputError: a name that the folder does not know, or another shape.
            EngineError: the engine ended, or refused the tensors; the next load writes everything concerned again.
        """
        for name, tensor in tensors.items():
            self.checkpoint.check(name, tensor)
        previous = self._dirty
        self._dirty = previous | frozenset(tensors)  # stands if the engine fails half way
        if self._dirty:
            self._write(tensors, previous - frozenset(tensors))
        self._dirty = frozenset(tensors)
        self.weight_version += 1

    def restore(self) -> None:
        """Put the base weights back, exactly."""
        self.load({})

    @abstractmethod
    def close(self) -> None:
        """Give back memory and processes. Closing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _generate(self, prompts: list[list[int]], budgets: list[int]) -> list[list[int]]:
        """New token ids of each prompt, up to its budget or through the first end token (`texts.end`)."""

    @abstractmethod
    def _likelihoods(self, rows: list[tuple[list[int], list[int]]]) -> list[Likelihood]:
        """Likelihood of the second ids after the first, for each row. The very last id is asked for and not read."""

    @abstractmethod
    def _write(self, tensors: Mapping[str, Tensor], back_to_base: frozenset[str]) -> None:
        """Write these tensors over the weights, and the base over those of `back_to_base`."""


def until(
    generate: Callable[[list[list[int]], list[int]], list[list[int]]],
    prompts: Sequence[list[int]],
    budgets: Sequence[int],
    ended: Callable[[int, list[int]], bool],
) -> list[list[int]]:
    """New token ids of each prompt, up to its budget or a little beyond where `ended(index, ids)` says that it is over.

    A prompt that goes on is asked again with what it has said: an engine with a prefix cache reads it from there.

    Args:
        generate: (prompts, budgets) -> new ids, fewer than the budget only where a text has ended.
    """
    said: list[list[int]] = [[] for _ in prompts]
    going = [index for index, budget in enumerate(budgets) if budget > 0]
    step = FIRST_ROUND
    while going:
        steps = [min(step, budgets[index] - len(said[index])) for index in going]
        new = generate([prompts[index] + said[index] for index in going], steps)
        for index, ids in zip(going, new, strict=True):
            said[index] = said[index] + ids
        going = [index for index in going if len(said[index]) < budgets[index] and not ended(index, said[index])]
        step *= 2
    return said
