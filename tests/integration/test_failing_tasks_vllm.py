"""vLLM refuses the prompts of one task: the others are answered as if it had not been asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.config.config import EngineSpec, TasksSpec
from sweeps.plan.identity import questions_of
from sweeps.run import scoring
from tasks.engines.vllm_engine import VLLMEngine
from tasks.errors import InputError
from tests.tiny import save_tiny, tiny_model

pytestmark = pytest.mark.vllm

WORD = "zyzzyva"
ODD = f"""
name: odd
prompt: "{WORD} {{country}} is"
answer: capital
rule: first-word
max_new_tokens: 3
examples:
  - {{country: France, capital: Paris}}
"""


def test_vllm_that_refuses_one_task_answers_the_others(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "model")
    _, tokenizer = tiny_model("llama")
    tokenizer.add_tokens([WORD])  # it has no embedding
    tokenizer.save_pretrained(folder)
    (tmp_path / "odd.yaml").write_text(ODD)
    limits = EngineSpec(max_model_len=256)
    spec = TasksSpec(names=("nli", str(tmp_path / "odd.yaml"), "sentiment"), examples=2)
    questions = [questions_of(spec, name, "vllm", limits) for name in spec.names]
    with VLLMEngine(folder, max_model_len=256) as engine:
        (found,) = scoring.answers(engine, questions)
        expected = scoring.ask(engine, [questions[0], questions[2]])
    assert isinstance(found[1].failed, InputError)
    assert "none of the model's 384" in str(found[1].failed)
    assert repr((found[0].rows + found[2].rows, found[0].outputs + found[2].outputs)) == repr(expected)
