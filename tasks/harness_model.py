"""Our engine as a model of the lm-evaluation-harness. All that depends on lm-eval's model interface is in this file.

Numbers are those of the harness' own model class (`HFLM` of lm-eval 0.4.13) on the same weights: its splitting of texts
into tokens, its cutting from the left, its stop strings. Where that class fails (a continuation without tokens, one
longer than the context), a line names the request. Two things differ: a text for which more tokens are asked than the
context has is given half of it, which is said, and sampling is refused.

Imports lm_eval: to be imported where a task of the harness is run.
"""

from __future__ import annotations

import bisect
import logging
from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from modelfolder.errors import InputError
from tasks.engines.base import Engine
from tasks.engines.likelihood import fitted, split
from tasks.errors import Unaskable

log = logging.getLogger(__name__)

NEW_TOKENS = 256  # the harness's default where a task names none
FREE = {"until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p", "use_cache", "early_stopping"}
NEUTRAL = {"num_beams": 1, "num_return_sequences": 1, "repetition_penalty": 1, "length_penalty": 1}
"""What a task may say of decoding, and values that change nothing; with anything else it is refused."""


class EngineLM(LM):
    """Answers the harness's requests with an engine and the weights that it holds.

    Decoding is greedy: a task that wants sampling or beams is refused.

    Attributes:
        cut: examples of which something was cut from the left because it did not fit: (task, index).
        halved: generations that were given half of the context, because more was asked for than it holds.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.cut: set[tuple[str | None, int | None]] = set()
        self.halved = 0

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """(log-probability, whether greedy) of each (context, continuation).

        Raises:
            Unaskable: a continuation without tokens of its own, or longer than the context, or with a token that is
                none of the model's.
        """
        rows = []
        refused: dict[str, str] = {}
        first = ""
        for one in requests:
            try:
                row, cut = fitted(*split(self.engine.texts, *one.args), self.engine.max_model_len)
                self.engine.texts.check(row)
            except InputError as error:
                refused.setdefault(f"{one.task_name}/{one.doc_id}", str(error))
                first = first or f"{_name(one)}: {error}"
                continue
            rows.append(row)
            self._note(one, cut)
        if refused:
            raise Unaskable(first, refused)
        return [(found.logprob, found.greedy) for found in self.engine.token_likelihoods(rows)]

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """Log-probability of whole texts, in windows of the model's context; each token is predicted once."""
        texts = self.engine.texts
        rows, owners = [], []
        for number, one in enumerate(requests):
            windows = get_rolling_token_windows(
                token_list=texts.ids(one.args[0]),
                prefix_token=texts.first,
                max_seq_len=self.engine.max_model_len,
                context_len=1,
            )
            for window in windows:
                context, predicted = make_disjoint_window(window)
                rows.append((list(context), list(predicted)))
                owners.append(number)
        sums = [0.0] * len(requests)
        for number, found in zip(owners, self.engine.token_likelihoods(rows), strict=True):
            sums[number] += found.logprob
        return sums

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Greedy continuations up to the first of each request's stop strings.

        Raises:
            InputError: a request wants something else than greedy decoding.
        """
        prompts, budgets, stops = [], [], []
        for one in requests:
            wishes = _wishes(one)
            budget = self._budget(one, wishes["max_gen_toks"])
            ids = self.engine.texts.ids(one.args[0]) or [self.engine.texts.first]
            room = self.engine.max_model_len - budget
            self._note(one, len(ids) > room)
            prompts.append(ids[-room:])
            budgets.append(budget)
            stops.append(wishes["until"])
        if self.halved:
            asked = max(_wishes(one)["max_gen_toks"] for one in requests)
            log.warning(
                "lm_eval:%s asks for up to %d new tokens, the context has %d: %d of %d texts get half of it, %d",
                *(requests[0].task_name, asked, self.engine.max_model_len),
                *(self.halved, len(requests), self.engine.max_model_len // 2),
            )
        stops = [handle_stop_sequences(list(until), eos=self._eos) for until in stops]
        generated = self.engine.generate_ids(prompts, budgets, lambda i, ids: self._stopped(ids, stops[i]))
        return [self._text(ids, until) for ids, until in zip(generated, stops, strict=True)]

    def _budget(self, one: Instance, wanted: int) -> int:
        if wanted < 1:
            raise InputError(f"{_name(one)}: max_gen_toks is {wanted}: at least 1 token is to be generated")
        if wanted < self.engine.max_model_len:
            return wanted
        self.halved += 1
        return self.engine.max_model_len // 2

    def _note(self, one: Instance, cut: bool) -> None:
        if cut:
            self.cut.add((one.task_name, one.doc_id))

    @property
    def _eos(self) -> str | None:
        tokenizer = self.engine.texts.tokenizer
        return None if tokenizer.eos_token_id is None else str(tokenizer.decode([tokenizer.eos_token_id]))

    def _stopped(self, ids: Sequence[int], until: Sequence[str]) -> bool:
        """Whether one of the stop strings has come, an end token's text among them (an empty one comes at once)."""
        text = self.engine.texts.tokenizer.decode(list(ids))
        return any(stop in text for stop in until)

    def _text(self, ids: list[int], until: list[str]) -> str:
        """The generated tokens up to the one that brought a stop string, alone, as text before that string."""
        if self._stopped(ids, until):
            ids = ids[: bisect.bisect_left(range(1, len(ids)), True, key=lambda n: self._stopped(ids[:n], until)) + 1]
        end = next((i for i, token in enumerate(ids) if token in self.engine.texts.end), len(ids))
        text = self.engine.texts.tokenizer.decode(ids[: end + 1], skip_special_tokens=True)
        return str(postprocess_generated_text(text, until, None))

    @property
    def tokenizer_name(self) -> str:
        """For the harness's cache of requests."""
        return str(self.engine.folder)

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The template's text, for the harness's records."""
        return str(self.engine.texts.tokenizer.chat_template or "") if chat_template else ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Messages as the tokenizer's chat template writes them."""
        return self.engine.texts.chat(chat_history, answers=add_generation_prompt)


def _wishes(one: Instance) -> dict[str, Any]:
    """How a text is to be generated, in the harness's normal form."""
    wishes: dict[str, Any] = dict(normalize_gen_kwargs(one.args[1], NEW_TOKENS))
    other = [key for key in wishes if key not in FREE and wishes[key] != NEUTRAL.get(key)]
    if wishes.get("do_sample") or other:
        said = f"{other[0]}={wishes[other[0]]!r}" if other else "sampling"
        raise InputError(f"lm_eval:{one.task_name} wants {said}: engines here decode greedily, and no other way")
    until = wishes.get("until") or []
    return {**wishes, "until": [until] if isinstance(until, str) else list(until)}


def _name(one: Instance) -> str:
    return f"lm_eval:{one.task_name}, example {one.doc_id}"
