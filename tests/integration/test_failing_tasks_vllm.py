"""vLLM refuses the prompts of one task: the others are answered as if it had not been asked."""

from __future__ import annotations

from pathlib import Path

import asking
import pytest

from modelfolder.errors import InputError
from sweeps.config.config import EngineSpec, TasksSpec
from sweeps.plan.identity import exam_of
from sweeps.run import scoring
from tasks.engines.vllm_engine import VLLMEngine
from tests.sweeps import odd_task

pytestmark = pytest.mark.vllm


def test_vllm_that_refuses_one_task_answers_the_others(tmp_path: Path) -> None:
    folder, odd = odd_task.save_model(tmp_path / "model"), odd_task.save_task(tmp_path)
    limits = EngineSpec(max_model_len=256)
    spec = TasksSpec(names=("nli", str(odd), "sentiment"), examples=2)
    questions = [exam_of(spec, name, "vllm", limits) for name in spec.names]
    with VLLMEngine(folder, max_model_len=256) as engine:
        (found,) = scoring.answers(engine, questions)
        expected = asking.ask(engine, [questions[0], questions[2]])
    assert isinstance(found[1].failed, InputError)
    assert "none of the model's 384" in str(found[1].failed)
    assert repr((found[0].rows + found[2].rows, found[0].outputs + found[2].outputs)) == repr(expected)
