"""MEMIT: the fast form equals the plain one on every family, leaves the model alone, and reaches its goal."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
import torch

from benchmarks import plain_editing
from modelfolder.errors import InputError
from rect import editors
from rect.architecture import ARCHITECTURES
from rect.covariance import Covariance
from rect.editors.memit import MemitHparams
from rect.editors.value_search import search
from rect.facts import Fact
from rect.model import EditableModel
from rect.prefixes import Prefixes
from tests import tiny as families
from tests.tiny import tiny_model

FAMILIES = [name for name in families.FAMILIES if ARCHITECTURES[name].mlp_norm is None]  # the others are refused
TEMPLATES = ["{}", "The answer is. {}", "She has 12 apples and. {}", "True. {}"]
FACTS = [
    Fact(subject="Albert Einstein", prompt="A film of {} was born in", target="Spain"),
    Fact(subject="France", prompt="{} is", target="Rome, Italy"),
    Fact(subject="the old bridge", prompt="The designer of {} was", target="Ulm"),
]
HPARAMS = {"layers": [0, 1], "v_num_grad_steps": 8, "mom2_update_weight": 2.0}


def tiny(family: str, **overrides: object) -> EditableModel:
    return EditableModel(*tiny_model(family, **overrides), name=f"tiny-{family}")


def some_covariance(n: int, layers: tuple[int, ...] = (0, 1)) -> Covariance:
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(len(layers), 4 * n, n, generator=generator, dtype=torch.float64)
    return Covariance({layer: k.T @ k / len(k) for layer, k in zip(layers, keys, strict=True)}, 4 * n, {"made": "up"})


def width(model: EditableModel) -> int:
    return model.weight(model.mlp_out_name(0)).shape[0 if model.architecture.transposed else 1]


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.cosine_similarity(a.flatten().double(), b.flatten().double(), 0).item()


def compute(model: EditableModel, facts: list[Fact], **changes: Any) -> tuple[Any, MemitHparams, Covariance]:
    covariance = some_covariance(width(model))
    editor = editors.create("memit", model, {**HPARAMS, **changes}, TEMPLATES, covariance)
    return editor.compute(model, facts), editor.hparams, covariance


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_plain_formulation(family: str) -> None:
    model = tiny(family)
    update, hparams, covariance = compute(model, FACTS)
    matrices = {layer: covariance.matrix(layer) for layer in covariance.layers}
    expected, values = plain_editing.memit(model, FACTS, TEMPLATES, hparams, matrices)
    assert list(update) == list(expected) == [model.mlp_out_name(0), model.mlp_out_name(1)]
    for losses, value in zip(update.provenance["losses"], values, strict=True):
        assert losses == pytest.approx(value.losses, rel=1e-4)
    for name in update:
        assert update[name].rank == len(FACTS)
        assert cosine(update.dense(name), expected.dense(name)) > 1 - 3e-5
        assert update.dense(name).norm().item() == pytest.approx(expected.dense(name).norm().item(), rel=1e-3)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("tokenizer", ["byte-level", "metaspace"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_untouched_and_the_targets_win(family: str, tokenizer: str) -> None:
    model = tiny(family, tokenizer=tokenizer)
    facts = [
        Fact(subject="France", prompt="The capital city of {}", target="is"),
        Fact(subject="Albert", prompt="The mother tongue of {}", target="was"),
    ]
    ids = {fact: torch.tensor([model.tokenizer(fact.filled)["input_ids"]]) for fact in facts}
    target = {fact: model.tokenizer(f"{fact.filled} {fact.target}")["input_ids"][-1] for fact in facts}
    original = {fact: model.hf(ids[fact]).logits[0, -1].argmax() for fact in facts}
    before = {name: tensor.clone() for name, tensor in model.hf.state_dict().items()}
    stiff = {"v_num_grad_steps": 60, "v_lr": 1.0, "clamp_norm_factor": 30, "mom2_update_weight": 1e-3}
    update, _, _ = compute(model, facts, **stiff)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.hf.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.hf.modules())
    with model.edited(update):
        for fact in facts:
            edited = model.hf(ids[fact]).logits[0, -1].log_softmax(-1)
            assert edited[target[fact]] > max(edited[original[fact]].item(), math.log(0.3))


@pytest.mark.usefixtures("both_ways")
def test_facts_together_are_as_each_alone() -> None:
    """Early stopping is each fact's own, whoever it shares its batch with."""
    model = tiny("llama")
    facts = [*FACTS, Fact(subject="France", prompt="The capital city of {}", target="is")]
    covariance = some_covariance(width(model))
    settings = {"v_num_grad_steps": 30, "v_lr": 1.0, "clamp_norm_factor": 30, "kl_factor": 0, "v_weight_decay": 0}
    editor = editors.create("memit", model, {**HPARAMS, **settings}, ["{}"], covariance)
    together, alone = editor.compute(model, facts), [editor.compute(model, [fact]) for fact in facts]
    lengths = [len(losses) for losses in together.provenance["losses"]]
    assert lengths == [len(update.provenance["losses"][0]) for update in alone]
    assert len(set(lengths)) > 1  # one of them did stop early
    for i, update in enumerate(alone):
        assert together.provenance["losses"][i] == pytest.approx(update.provenance["losses"][0], rel=1e-2, abs=1e-3)


def test_five_prefixes_of_ten_tokens_are_drawn_beside_the_empty_one() -> None:
    model = EditableModel(*tiny_model("llama"))
    drawn = editors.create("memit", model, {**HPARAMS, "mom2_adjustment": False}).prefixes  # type: ignore[attr-defined]
    assert drawn == Prefixes.sample(model, seed=0, lengths=[(10, 5)])
    assert len(drawn) == 6


def test_without_covariance() -> None:
    model = tiny("gpt2")
    editor = editors.create("memit", model, {**HPARAMS, "mom2_adjustment": False}, TEMPLATES)
    update = editor.compute(model, FACTS)
    assert all(update[name].rank == 3 for name in update)
    assert editor.identity()["covariance"] is None


def test_a_missing_covariance_is_an_error() -> None:
    model = tiny("gpt2")
    with pytest.raises(InputError, match=r"memit: mom2_adjustment needs the covariance of keys at layers \[0, 1\]"):
        editors.create("memit", model, {**HPARAMS, "mom2_dataset": "wikipedia"}, TEMPLATES)
    with pytest.raises(InputError, match="the covariance given lacks layer 1"):
        editors.create("memit", model, HPARAMS, TEMPLATES, some_covariance(256, (0,)))


def test_layers_that_do_not_follow_each_other() -> None:
    model = tiny("llama", num_hidden_layers=5)
    covariance = some_covariance(160, (0, 3))
    editor = editors.create("memit", model, {**HPARAMS, "layers": [0, 3]}, TEMPLATES, covariance)
    matrices = {layer: covariance.matrix(layer) for layer in (0, 3)}
    expected, _ = plain_editing.memit(model, FACTS, TEMPLATES, editor.hparams, matrices)
    update = editor.compute(model, FACTS)
    for name in update:
        assert cosine(update.dense(name), expected.dense(name)) > 1 - 3e-5
    with pytest.raises(InputError, match="layers must ascend"):
        editors.create("memit", model, {"layers": [3, 0]}, TEMPLATES, covariance)


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_facts_are_put_together_in_the_cheapest_way(share: float) -> None:
    """Against every way to cut the facts, sorted by length."""
    draw = random.Random(0)
    for _ in range(50):
        shapes = [[draw.randint(1, 9) for _ in range(draw.randint(2, 7))] for _ in range(draw.randint(1, 7))]
        chosen = search.groups(shapes, 100, share)
        assert sorted(i for run in chosen for i in run) == list(range(len(shapes)))
        order = sorted(range(len(shapes)), key=lambda i: -max(shapes[i]))
        ways = []
        for cuts in itertools.product([False, True], repeat=len(shapes) - 1):
            runs = [[order[0]]]
            for i, cut in zip(order[1:], cuts, strict=True):
                runs = [*runs, [i]] if cut else [*runs[:-1], [*runs[-1], i]]
            if all(len(run) == 1 or cost(shapes, run, share) <= 100 for run in runs):
                ways.append(sum(cost(shapes, run, share) + search.PASS for run in runs))
        assert sum(cost(shapes, run, share) + search.PASS for run in chosen) == pytest.approx(min(ways))


def cost(shapes: list[list[int]], run: list[int], share: float) -> float:
    lengths = [length for i in run for length in shapes[i]]
    return sum(length + share * (max(lengths) - length) for length in lengths)
