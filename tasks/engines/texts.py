"""Texts to token ids and back: one place for all engines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from modelfolder.errors import InputError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONTEXT_FOR_DECODING = 6  # prompt tokens decoded along, so that a leading space survives in SentencePiece vocabularies
CHAT_DATE = "26 Jul 2024"  # what Llama 3's template has where it cannot ask for the date


class Texts:
    """Tokenizer, end tokens and context length of a model folder.

    Tokenization is the tokenizer's default (`modelfolder.tokenizer`): special tokens that it puts before a text by
    itself (such as <s>) are put there, no others.
    Only the end tokens are taken from the generation config: decoding is greedy, whatever the folder recommends.

    Args:
        folder: model folder.
        config: its transformers config.
        max_model_len: upper bound of the context in tokens.
        trust_remote_code: let the folder's own Python code run.
    """

    def __init__(
        self, folder: Path, config: PretrainedConfig, max_model_len: int, *, trust_remote_code: bool = False
    ) -> None:
        from modelfolder import tokenizer

        if max_model_len < 2:
            raise InputError(f"max_model_len must be at least 2, not {max_model_len}")
        self.folder = folder
        self.tokenizer = tokenizer.load(folder, trust_remote_code=trust_remote_code)
        limit = getattr(config, "max_position_embeddings", None)
        self.context = min(max_model_len, limit) if limit else max_model_len
        self.vocabulary: int | None = getattr(config, "vocab_size", None)
        self.end = _end_tokens(folder, config.eos_token_id, self.tokenizer.eos_token_id)

    @overload
    def encode(self, texts: str) -> list[int]: ...  # type: ignore[overload-overlap]
    @overload
    def encode(self, texts: Sequence[str]) -> list[list[int]]: ...
    def encode(self, texts: str | Sequence[str]) -> list[int] | list[list[int]]:
        """Token ids of a text, or of each of several; an empty text becomes the beginning (or else the end) token."""
        if isinstance(texts, str):
            return self.encode([texts])[0]
        if not texts:
            return []
        encoded: list[list[int]] = self.tokenizer(list(texts), return_attention_mask=False)["input_ids"]
        return [ids or [self.first] for ids in encoded]

    def ids(self, text: str, special: bool = True) -> list[int]:
        """Token ids of a text as it stands, none for an empty one; one that begins with `first` gets no second one.

        special: put before it what the tokenizer puts before a text.
        """
        special = special and not text.startswith(str(self.tokenizer.decode([self.first])))
        found: list[int] = self.tokenizer(text, add_special_tokens=special)["input_ids"]
        return found

    def check(self, prompts: Sequence[Sequence[int]]) -> None:
        """Raise InputError for a token that the model has no embedding for: a GPU would read what lies behind them."""
        if self.vocabulary is None:
            return
        for ids in prompts:
            token = max(ids, default=0)
            if token >= self.vocabulary:
                text = self.tokenizer.decode([token])
                raise InputError(
                    f"{self._text(list(ids))[:60]!r}: the tokenizer's token {token} ({text!r}) is none of the model's "
                    f"{self.vocabulary}"
                )

    @property
    def first(self) -> int:
        """The token that begins a text: the beginning token, or else the end token.

        Raises:
            InputError: the tokenizer has neither.
        """
        known = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, *sorted(self.end))
        found = next((token for token in known if token is not None), None)
        if found is None:
            raise InputError("an empty prompt, and the tokenizer has no token to begin with")
        return int(found)

    def chat(self, messages: Sequence[Mapping[str, str]], *, answers: bool = True) -> str:
        """Messages ("role", "content") as the tokenizer's chat template writes them, up to where the answer begins.

        answers: whether an answer follows; otherwise the last message stays open and is continued.
        A date that the template would put in is fixed, and a model that can think first is told not to: outputs must
        not depend on the day, and budgets of a few tokens leave no room.

        Raises:
            InputError: the tokenizer has no chat template, or the template refuses.
        """
        import jinja2

        if not self.tokenizer.chat_template:
            raise InputError(f"{self.folder}: the tokenizer has no chat template; ask without one")
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=answers,
                continue_final_message=not answers,
                date_string=CHAT_DATE,
                enable_thinking=False,
            )
        except (jinja2.TemplateError, ValueError) as error:
            raise InputError(f"{self.folder}: the tokenizer's chat template fails: {error}") from None
        first = self.tokenizer.bos_token
        adds = first is not None and self.tokenizer("a")["input_ids"][:1] == [self.tokenizer.bos_token_id]
        return str(text).removeprefix(first) if adds else str(text)  # `encode` adds that token again

    def cut(self, ids: list[int], budget: int) -> list[int]:
        """The ids if they leave room for the budget, else without their left part (a beginning token stays)."""
        room = self.context - budget
        if len(ids) <= room:
            return ids
        if ids[0] == self.tokenizer.bos_token_id and room > 1:
            return [ids[0], *ids[len(ids) - room + 1 :]]
        return ids[len(ids) - room :]

    def decode(self, prompt: list[int], generated: list[int]) -> str:
        """Text of the generated ids as it continues the prompt, without end and other special tokens."""
        stop = next((i for i, token in enumerate(generated) if token in self.end), len(generated))
        context = prompt[-CONTEXT_FOR_DECODING:]
        before, after = self._text(context), self._text(context + generated[:stop])
        return after[len(before) :] if after.startswith(before) else self._text(generated[:stop])

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _end_tokens(folder: Path, *fallbacks: int | list[int] | None) -> frozenset[int]:
    """Ids that end a text: of generation_config.json, else of the model config, else of the tokenizer."""
    path = folder / "generation_config.json"
    recommended = json.loads(path.read_text()).get("eos_token_id") if path.is_file() else None
    for ids in (recommended, *fallbacks):
        if ids is not None:
            return frozenset([ids] if isinstance(ids, int) else ids)
    return frozenset()
