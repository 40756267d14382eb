"""Where editing cannot give right numbers it says so: broken weights, norms behind the MLP, unknown blocks, devices."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import nn

from modelfolder.errors import InputError
from rect import EditableModel, editors
from rect.covariance import Covariance
from rect.editors.memit import Memit
from rect.editors.value_search import calls, packing
from rect.facts import Fact
from rect.update import Dense, LowRank, Update, UpdateError, product
from tests.tiny import tiny_model

FACT = Fact(subject="France", prompt="The capital of {} is", target="Rome", original="Paris")
FAST = {"mom2_adjustment": False, "layers": [1], "v_num_grad_steps": 2}
HPARAMS = {"rome": FAST, "memit": FAST, "kn": {"steps": 3}}


def tiny(family: str = "llama") -> EditableModel:
    return EditableModel(*tiny_model(family), name=f"tiny {family}")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("method", HPARAMS)
def test_broken_weights_give_no_update(method: str, layer: int, bad: float) -> None:
    model = tiny()
    prefixes = {} if method == "kn" else {"prefixes": ["{}"]}
    editor = editors.create(method, model, HPARAMS[method], **prefixes)
    model.weight(model.mlp_out_name(layer)).fill_(bad)
    with pytest.raises(UpdateError):
        editor.compute(model, [FACT])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_memit_with_a_broken_target_ends_in_one_line(bad: float) -> None:
    """What breaks in a lower layer goes up through keys, values and solves without an error of another kind."""
    model = tiny()
    editor = editors.create("memit", model, {**FAST, "layers": [0, 1, 2]}, ["{}"])
    assert isinstance(editor, Memit)
    targets = torch.full((1, model.hidden_size), bad)
    with pytest.raises(UpdateError, match="holds NaN or infinity"):
        Update(editor.distribute(model, [FACT], targets)).check_finite()


def test_a_covariance_that_holds_no_numbers_gives_no_update() -> None:
    model = tiny()
    inner = model.weight(model.mlp_out_name(1)).shape[1]
    broken = Covariance({1: torch.full((inner, inner), float("nan"))}, 10, {})
    facts = [FACT.model_copy(update={"target": target}) for target in ("Rome", "Ulm")]
    for method, some in (("memit", facts), ("rome", facts[:1])):
        editor = editors.create(method, model, {**FAST, "mom2_adjustment": True}, ["{}"], broken)
        with pytest.raises((UpdateError, InputError)):
            editor.compute(model, some)


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text"])
def test_memit_is_refused_behind_a_norm_and_rome_arrives(family: str) -> None:
    model = tiny(family)
    with pytest.raises(InputError, match=rf"^memit: tiny {family} \({family}\) has a norm behind each MLP"):
        editors.create("memit", model, HPARAMS["memit"], ["{}"])
    update = editors.create("rome", model, {**FAST, "layers": [1], "v_num_grad_steps": 20}, ["{}"]).compute(
        model, [FACT]
    )
    out = model.module(model.path(model.architecture.mlp_out, 1))
    seen: list[torch.Tensor] = []
    ids = torch.tensor([model.tokenizer("The capital of France")["input_ids"]])
    with torch.no_grad():
        handle = out.register_forward_hook(lambda _m, inputs, output: seen.append((inputs[0][0, -1], output[0, -1])))
        model.hf(ids)
        with model.edited(update):
            model.hf(ids)
        handle.remove()
    (key, before), (_, after) = seen
    wanted = update.dense(model.mlp_out_name(1)) @ key  # v* - W k at the bare prompt
    assert float(wanted.norm()) > 0.1
    torch.testing.assert_close(after - before, wanted, rtol=1e-3, atol=1e-4)


def test_factors_only_where_they_are_smaller() -> None:
    generator = torch.Generator().manual_seed(0)
    for rank, kind in ((1, LowRank), (5, LowRank), (6, Dense), (20, Dense)):  # 10 x 14: 140 numbers, 24 per rank
        left, right = torch.randn(10, rank, generator=generator), torch.randn(rank, 14, generator=generator)
        found = product(left, right)
        assert type(found) is kind
        assert sum(t.numel() for t in vars(found).values()) <= min(rank * 24, 140)
        torch.testing.assert_close(found.dense(), left @ right)


def test_memit_of_many_facts_is_dense() -> None:
    model = tiny()
    facts = [
        FACT.model_copy(update={"target": str(i)}) for i in range(50)
    ]  # hidden 64, inner 160: 45 facts are as large
    hparams = {**HPARAMS["memit"], "v_num_grad_steps": 1}
    update = editors.create("memit", model, hparams, ["{}"]).compute(model, facts)
    assert [type(entry) for entry in update.values()] == [Dense]


def test_rows_are_packed_in_float32_and_float64() -> None:
    hf, _ = tiny_model("llama")
    assert [packing.applies(hf.to(kind)) for kind in (torch.float64, torch.float32, torch.bfloat16, torch.float16)] == [
        True,
        True,
        False,
        False,
    ]


class _Odd(nn.Module):
    def forward(self, states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return states


@pytest.mark.parametrize(
    "call",
    [
        lambda: calls.cache_name(_Odd()),
        lambda: calls.named(_Odd(), (torch.zeros(1),), {}),
        lambda: calls.named(_Odd(), (), {"unheard_of": 1}),
        lambda: calls.axis("new_argument", torch.zeros(1, 7), 7),
    ],
)
def test_an_unknown_block_names_the_version_of_transformers(call: object) -> None:
    with pytest.raises(InputError, match=f"transformers {transformers.__version__} "):
        call()  # type: ignore[operator]


def test_a_device_without_float64_is_refused() -> None:
    with pytest.raises(InputError, match=r"^device 'mps' cannot be used \(it has no float64, in which"):
        EditableModel.load("smollm2-135m", device="mps")
