"""Our engine as a model of the lm-evaluation-harness. All that depends on lm-eval's model interface is in this file.

Imports lm_eval: to be imported where a task of the harness is run.
"""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from tasks.engines.base import Engine
from tasks.errors import InputError

NEW_TOKENS = 256  # the harness's default where a task names none


class EngineLM(LM):
    """Answers the harness's requests with an engine and the weights that it holds.

    Decoding is greedy: a task that wants sampling or beams is refused.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """(log-probability, whether greedy) of each (context, continuation)."""
        return [(found.logprob, found.greedy) for found in self.engine.likelihoods([one.args for one in requests])]

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """Log-probability of whole texts, in windows of the model's context; each token is predicted once."""
        texts = self.engine.texts
        rows, owners = [], []
        for number, one in enumerate(requests):
            windows = get_rolling_token_windows(
                token_list=texts.tokenizer(one.args[0], add_special_tokens=False)["input_ids"],
                prefix_token=texts.first,
                max_seq_len=self.engine.max_model_len - 2,  # vLLM generates a token besides
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
        """Greedy continuations up to the first of each request's stop strings."""
        prompts, budgets, stops = [], [], []
        for one in requests:
            prompt, wishes = one.args[:2]
            if wishes.get("do_sample") or wishes.get("num_beams", 1) != 1:
                raise InputError(f"lm_eval:{one.task_name} wants sampling or beams: engines here decode greedily")
            until = wishes.get("until") or []
            stops.append([until] if isinstance(until, str) else [stop for stop in until if stop])
            wanted = wishes.get("max_gen_toks") or wishes.get("max_new_tokens") or NEW_TOKENS
            budgets.append(max(1, min(int(wanted), self.engine.max_model_len // 2)))
            prompts.append(prompt)
        return self.engine.generate_until(prompts, budgets, stops)

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
