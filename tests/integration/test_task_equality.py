"""All eight tasks on the default model through both engines: in float32 they say the same."""

from __future__ import annotations

import json
from pathlib import Path

import asking
import pytest

import tasks
from sweeps.config.config import EngineSpec, TasksSpec
from sweeps.plan.identity import exam_of
from tasks import engines

pytestmark = [pytest.mark.vllm, pytest.mark.model, pytest.mark.slow]

CHOICES = [f"{name}:likelihood" for name in tasks.NAMES if tasks.get(name).has_choices]


def test_both_engines_say_the_same_and_weigh_alike(default_model_folder: Path) -> None:
    limits = EngineSpec(max_model_len=1024)
    spec = TasksSpec(names=(*tasks.NAMES, *CHOICES), examples=4)
    with engines.create("vllm", default_model_folder, max_model_len=1024, wait=False) as vllm:
        with engines.create("transformers", default_model_folder, max_model_len=1024) as other:
            rows, expected = asking.ask(other, [exam_of(spec, name, other.name, limits) for name in spec.names])
        found_rows, found = asking.ask(vllm, [exam_of(spec, name, vllm.name, limits) for name in spec.names])
    assert len(expected) == len(found) == 4 * (len(tasks.NAMES) + 3 + len(CHOICES))
    for one, other_one in zip(found, expected, strict=True):
        assert one["prompt"] == other_one["prompt"]
        if one["task"] in CHOICES:
            values, other_values = ([v for _, v in json.loads(row["output"])] for row in (one, other_one))
            assert values == pytest.approx(other_values, abs=1e-3)
        else:
            assert one["output"] == other_one["output"], one["task"]
    generated = {row["name"]: row["value"] for row in rows if not row["name"].startswith(tuple(CHOICES))}
    assert generated.items() <= {row["name"]: row["value"] for row in found_rows}.items()
    assert len({row["output"] for row in found}) > 20
