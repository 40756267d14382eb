"""A vLLM engine that was handed changed tensors equals one started from the edited model, and equals transformers.

Token for token in float32, for the default model (Llama family) and a tiny GPT-2 (weights stored the other way round,
biases in every module). All engines of this file start at once: their imports run side by side.

The prompts are longer than a block of the prefix cache and are asked before and after each exchange. Without the reset
of that cache the first test fails (tried: with `reset_prefix_cache` left out of vllm_child.py the outputs after `load`
are partly those of the old weights).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from tasks.engines import EngineError
from tasks.engines.transformers_engine import TransformersEngine
from tasks.engines.vllm_engine import VLLMEngine, memory_file
from tests.tiny import save_tiny

pytestmark = [pytest.mark.vllm, pytest.mark.model]

PASSAGE = (
    "The Eiffel Tower is a tower of iron in Paris. It was built for the fair of 1889 by the company of Gustave Eiffel, "
    "and it was the tallest building of the world until 1930. Question: "
)
QUESTIONS = (
    "In which city is the tower? Answer:",
    "Who built it? Answer:",
    "Until which year was it the tallest? Answer:",
    "What is the capital of Italy? Answer:",
    "What is it made of? Answer:",
    "Is it in Germany? True or False? Answer:",
    "How much is 12 + 30? Answer:",
)
PROMPTS = [PASSAGE + question for question in QUESTIONS] + [question * 3 for question in QUESTIONS]
BUDGETS = [(1, 5, 12)[i % 3] for i in range(len(PROMPTS))]


@dataclass
class Family:
    """A model, an edit of one MLP output projection, a second of parts of fused matrices, and engines on both."""

    folder: Path
    edited: Path
    edit: dict[str, torch.Tensor]
    parts: dict[str, torch.Tensor]
    swapped: VLLMEngine
    fresh: VLLMEngine


def rank_one(weight: torch.Tensor, size: float, seed: int) -> torch.Tensor:
    """The weight plus a random update of rank one with `size` times its norm, as an editor would leave it."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(length, generator=generator) for length in weight.shape)
    update = torch.outer(left, right)
    return weight + size * weight.norm() / update.norm() * update


def family(folder: Path, edited: Path, mlp_out: str, parts: list[str], size: float) -> Family:
    """Export the edited model; start an engine on either folder, without waiting."""
    base = load_file(folder / "model.safetensors")
    edit = {mlp_out: rank_one(base[mlp_out], size, seed=0)}
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, tensor in edit.items():
        model.get_parameter(name).data.copy_(tensor)
    model.save_pretrained(edited)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(edited)
    swapped, fresh = (VLLMEngine(path, max_model_len=256, kv_cache_gib=0.25, wait=False) for path in (folder, edited))
    changed = {name: rank_one(base[name], size, seed) for seed, name in enumerate(parts, start=1)}
    return Family(folder, edited, edit, changed, swapped, fresh)


@pytest.fixture(scope="module")
def families(default_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Family]]:
    gpt2 = save_tiny("gpt2", tmp_path_factory.mktemp("gpt2"))
    layer = "model.layers.12."
    found = {
        "llama": family(
            default_model_folder,
            tmp_path_factory.mktemp("edited-llama"),
            layer + "mlp.down_proj.weight",
            [layer + "mlp.up_proj.weight", layer + "self_attn.k_proj.weight"],
            size=0.5,
        ),
        "gpt2": family(
            gpt2,
            tmp_path_factory.mktemp("edited-gpt2"),
            "transformer.h.1.mlp.c_proj.weight",
            ["transformer.h.0.attn.c_attn.weight", "transformer.h.2.mlp.c_fc.weight"],
            size=0.5,
        ),
    }
    yield found
    for one in found.values():
        one.swapped.close()
        one.fresh.close()


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest, families: dict[str, Family]) -> Family:
    return families[request.param]


def test_exchanged_weights_equal_a_fresh_engine_and_transformers(model: Family) -> None:
    assert len(set(PROMPTS)) == len(PROMPTS)
    before = model.swapped.generate(PROMPTS, BUDGETS)
    model.swapped.load(model.edit)
    after = model.swapped.generate(PROMPTS, BUDGETS)
    assert after == model.fresh.generate(PROMPTS, BUDGETS)
    with TransformersEngine(model.edited, max_model_len=256) as engine:
        assert after == engine.generate(PROMPTS, BUDGETS)
    assert after != before
    assert len(set(after)) >= 5

    model.swapped.restore()
    assert model.swapped.generate(PROMPTS, BUDGETS) == before
    with TransformersEngine(model.folder, max_model_len=256) as engine:
        assert before == engine.generate(PROMPTS, BUDGETS)
    assert len(set(before)) >= 5
    assert model.swapped.weight_version == 3  # start, load, restore


def test_parts_of_fused_matrices_keep_their_companions(model: Family) -> None:
    """One of q/k/v, one of gate/up, a matrix with a bias: what shares its module in vLLM must not be lost."""
    with TransformersEngine(model.folder, max_model_len=256) as engine:
        for name, tensor in model.parts.items():  # each load takes the one before back
            engine.load({name: tensor})
            model.swapped.load({name: tensor})
            outputs = model.swapped.generate(PROMPTS, BUDGETS)
            assert outputs == engine.generate(PROMPTS, BUDGETS)
        engine.restore()
        model.swapped.restore()
        assert model.swapped.generate(PROMPTS, BUDGETS) == engine.generate(PROMPTS, BUDGETS) != outputs


def test_long_prompts_are_cut_alike(model: Family) -> None:
    long = [" ".join(PROMPTS), "Short.", " ".join(reversed(PROMPTS))]
    with TransformersEngine(model.folder, max_model_len=256) as engine:
        assert model.swapped.generate(long, [10, 3, 1]) == engine.generate(long, [10, 3, 1])
        assert model.swapped.truncated == engine.truncated == 2


def test_likelihoods_agree(model: Family) -> None:
    pairs = [(prompt, continuation) for prompt in PROMPTS[:4] for continuation in (" yes", " no", " Paris, of course")]
    with TransformersEngine(model.folder, max_model_len=256) as engine:
        for tensors in (model.edit, {}):
            engine.load(tensors)
            model.swapped.load(tensors)
            expected, found = engine.likelihoods(pairs), model.swapped.likelihoods(pairs)
            assert [one.logprob for one in found] == pytest.approx([one.logprob for one in expected], abs=1e-3)
            assert [one.greedy for one in found] == [one.greedy for one in expected]


def test_likelihoods_agree_up_to_the_last_token_of_the_context(model: Family) -> None:
    """The last token of a row is asked for and not read, so one more fits than the model can read."""
    engine = model.swapped
    ids = engine.texts.ids(" ".join(PROMPTS * 9))[: engine.max_model_len + 1]
    assert len(ids) == 257
    rows = [(ids[:-1], ids[-1:]), (ids[:1], ids[1:]), (ids[:-9], ids[-9:-5])]
    with TransformersEngine(model.folder, max_model_len=256) as other:
        expected, found = other.token_likelihoods(rows), engine.token_likelihoods(rows)
        assert [one.logprob for one in found] == pytest.approx([one.logprob for one in expected], rel=1e-4)
        assert [one.greedy for one in found] == [one.greedy for one in expected]


def test_what_vllm_passes_over_is_told(families: dict[str, Family]) -> None:
    """It reports what it has loaded; a buffer of the checkpoint is sent and not loaded."""
    engine = families["gpt2"].swapped
    name = "transformer.h.1.mlp.c_proj"
    sent = {f"{name}.{part}": engine.checkpoint.tensor(f"{name}.{part}") for part in ("weight", "bias")}
    with memory_file({**sent, "transformer.h.1.attn.bias": torch.zeros(1, 1, 4, 4)}) as path:
        answer = engine._running().ask({"do": "load", "path": path})
    assert answer == {"not_loaded": ["transformer.h.1.attn.bias"]}


def test_wrong_tensors_do_not_reach_vllm(families: dict[str, Family]) -> None:
    engine = families["gpt2"].swapped
    version = engine.weight_version
    with pytest.raises(ValueError, match=r"has shape \(3,\)"):
        engine.load({"transformer.h.1.mlp.c_proj.weight": torch.zeros(3)})
    assert engine.weight_version == version


def test_a_killed_child_is_an_error_that_tells_the_end_of_its_log(families: dict[str, Family]) -> None:
    """Last in this file: the engine is gone afterwards. That it starts again is tested in test_engine_kills.py."""
    import os
    import signal

    engine = families["gpt2"].fresh
    assert engine.generate(["Here"], 1)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"was killed by signal 9; the end of its log:\n"):
        engine.generate(["Here"], 1)
    assert engine.pid is None
