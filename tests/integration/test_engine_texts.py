"""vLLM reads the texts of a folder as everything else does: without an end, and with tokens that the model has."""

from __future__ import annotations

from pathlib import Path

import asking
import pytest
import transformers
from tokenizers import processors

from modelfolder.errors import InputError
from tasks.engines.transformers_engine import TransformersEngine
from tasks.engines.vllm_engine import VLLMEngine
from tests.tiny import SENTENCES, save_tiny

pytestmark = pytest.mark.vllm

PAIRS = [(text[:30], text[30:]) for text in SENTENCES]


def test_an_end_behind_texts_and_a_token_too_many_change_nothing(tmp_path: Path) -> None:
    plain, odd = (save_tiny("llama", tmp_path / name, tokenizer="metaspace") for name in ("plain", "odd"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(odd)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer.add_tokens(["zyzzyva"])
    tokenizer.save_pretrained(odd)
    with VLLMEngine(odd, max_model_len=256, kv_cache_gib=0.25, wait=False) as vllm:
        with TransformersEngine(plain, max_model_len=256) as other:
            base, likely = other.generate(SENTENCES, 6), asking.logprobs(other, PAIRS)
        for _ in range(2):  # what is refused leaves nothing behind
            assert vllm.generate(SENTENCES, 6) == base
            assert asking.logprobs(vllm, PAIRS) == pytest.approx(likely, rel=1e-3)
            with pytest.raises(InputError, match="none of the model's"):
                vllm.generate([*SENTENCES, "The zyzzyva is"], 6)
            with pytest.raises(InputError, match="none of the model's"):
                asking.logprobs(vllm, [*PAIRS, ("The capital of", " zyzzyva")])
