"""Updates add up, and survive the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from modelfolder.errors import InputError
from rect import EditableModel, Update
from rect.update import Dense, LowRank, UpdateError
from tests import tiny


def low_rank(rows: int = 8, cols: int = 6, rank: int = 1, seed: int = 0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(rows, rank, generator=generator), torch.randn(rank, cols, generator=generator))


def test_factors_are_a_product() -> None:
    entry = LowRank(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0, 5.0]]))
    assert entry.dense().tolist() == [[3, 4, 5], [6, 8, 10]]
    assert (entry.shape, entry.rank) == ((2, 3), 1)
    assert (Dense(torch.ones(2, 3)).shape, Dense(torch.ones(2, 3)).rank) == ((2, 3), 2)
    with pytest.raises(ValueError, match="do not fit"):
        LowRank(torch.ones(2, 3), torch.ones(2, 3))


def test_an_update_is_a_read_only_mapping() -> None:
    entries = {"a": low_rank(), "b": Dense(torch.ones(2, 2))}
    update = Update(entries, {"method": "rome"})
    entries.clear()
    assert list(update) == ["a", "b"]
    assert len(update) == 2
    assert "a" in update
    assert torch.equal(update.dense("b"), torch.ones(2, 2))
    with pytest.raises(TypeError):
        update["c"] = low_rank()  # type: ignore[index]


def test_sums_stay_thin_while_that_is_smaller() -> None:
    thin = Update({"a": low_rank(seed=1), "only": low_rank()}, {"n": 1}) + Update({"a": low_rank(seed=2)}, {"n": 2})
    assert isinstance(thin["a"], LowRank)
    assert thin["a"].rank == 2
    torch.testing.assert_close(thin.dense("a"), low_rank(seed=1).dense() + low_rank(seed=2).dense())
    assert torch.equal(thin.dense("only"), low_rank().dense())
    assert thin.provenance == {"sum": [{"n": 1}, {"n": 2}]}
    thick = thin + Update({"a": low_rank(rank=2, seed=3)})  # rank 4 of (8, 6): 56 numbers in factors, 48 in the matrix
    assert isinstance(thick["a"], Dense)
    torch.testing.assert_close(thick.dense("a"), thin.dense("a") + low_rank(rank=2, seed=3).dense())
    mixed = thin + Update({"a": Dense(torch.ones(8, 6))})
    torch.testing.assert_close(mixed.dense("a"), thin.dense("a") + 1)
    with pytest.raises(ValueError, match=r"a: cannot add .*\(8, 6\) and \(2, 2\)"):
        thin + Update({"a": Dense(torch.ones(2, 2))})


def test_saved_updates_come_back(tmp_path: Path) -> None:
    provenance = {"method": "rome", "facts": ["Zürich", {"k": 1.5}], "none": None}
    matrix = torch.randn(4, 4).to(torch.bfloat16)
    update = Update({"model.a/b.weight": low_rank(), "c": Dense(matrix), "bias": Dense(torch.ones(3))}, provenance)
    update.save(tmp_path / "deep" / "one.safetensors")
    again = Update.load(tmp_path / "deep" / "one.safetensors")
    assert again.provenance == provenance
    assert set(again) == set(update)
    assert isinstance(again["model.a/b.weight"], LowRank)
    assert torch.equal(again["model.a/b.weight"].left, update["model.a/b.weight"].left)  # type: ignore[union-attr]
    assert torch.equal(again["c"].matrix, matrix)  # type: ignore[union-attr]
    assert again["c"].matrix.dtype == torch.bfloat16  # type: ignore[union-attr]
    assert again["bias"].shape == (3,)
    assert Update.from_bytes(update.to_bytes()).dense("c").tolist() == update.dense("c").tolist()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["one.safetensors"]


def test_equal_updates_are_equal_files() -> None:
    """An update is stored by the id of its operation; two that compute it must write the same bytes."""
    one = Update({"a": low_rank(), "b": low_rank(seed=2)}, {"x": 1, "y": 2})
    two = Update({"b": low_rank(seed=2), "a": low_rank()}, {"y": 2, "x": 1})
    assert one.to_bytes() == two.to_bytes()


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    update = Update({"a": low_rank()}, {"x": object()})
    with pytest.raises(TypeError):
        update.save(tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100, b"\x10\0\0\0\0\0\0\0{}"])
def test_what_is_no_safetensors_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=r"x: not a safetensors file"):
        Update.load(tmp_path / "x")


def test_what_is_no_update(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="not a saved update"):
        Update.load(tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"none.safetensors: cannot read the update \(No such file"):
        Update.load(tmp_path / "none.safetensors")


def test_check_finite_names_the_matrix() -> None:
    Update({"a": low_rank(), "b": Dense(torch.ones(2, 2))}).check_finite()
    Update({"empty": LowRank(torch.ones(3, 0), torch.ones(0, 3))}).check_finite()
    Update({"large": LowRank(torch.full((2, 1), 1e30), torch.full((1, 2), 1e8))}).check_finite()
    with pytest.raises(UpdateError, match="update of b "):
        Update({"a": low_rank(), "b": Dense(torch.tensor([1.0, torch.nan]))}).check_finite()


class TestBetween:
    @pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "gemma"])
    def test_two_folders(self, family: str, tmp_path: Path) -> None:
        model = EditableModel(*tiny.tiny_model(family))
        model.save(tmp_path / "base")
        name, bias = model.mlp_out_name(1), next(n for n, p in model.hf.named_parameters() if p.ndim == 1)
        delta = torch.randn(model.weight(name).shape)
        model.add(Update({name: Dense(delta), bias: Dense(torch.ones(model.weight(bias).shape))}))
        model.save(tmp_path / "edited")
        update = Update.between(tmp_path / "base", str(tmp_path / "edited"))
        assert set(update) == {name, bias}
        assert torch.equal(update.dense(name), model.weight(name) - model.original(name))
        again = EditableModel.load(str(tmp_path / "base"))
        again.add(update)
        torch.testing.assert_close(again.weight(name), model.weight(name))
        assert Update.between(tmp_path / "base", again).keys() == update.keys()

    def test_a_change_of_tied_weights_is_one(self, tmp_path: Path) -> None:
        model = EditableModel(*tiny.tiny_model("gpt2"))
        model.save(tmp_path / "base")
        model.hf.lm_head.weight.data += 1
        assert list(Update.between(tmp_path / "base", model)) == ["transformer.wte.weight"]

    def test_files_that_leave_out_the_prefix(self, tmp_path: Path) -> None:
        """As GPT-2's on the hub: "h.0..." for transformer.h.0, and buffers among the parameters."""
        model = EditableModel(*tiny.tiny_model("gpt2"))
        file = model.save(tmp_path) / "model.safetensors"
        tensors = {n.removeprefix("transformer."): t for n, t in safetensors.torch.load_file(file).items()}
        tensors["h.0.attn.bias"] = torch.ones(1, 1, 4, 4)
        safetensors.torch.save_file(tensors, file, {"format": "pt"})
        assert len(Update.between(tmp_path, model)) == 0
        model.weight(model.mlp_out_name(0)).add_(1)
        assert list(Update.between(tmp_path, model)) == [model.mlp_out_name(0)]

    def test_several_files(self, tmp_path: Path) -> None:
        model = EditableModel(*tiny.tiny_model("llama"))
        model.hf.save_pretrained(tmp_path, max_shard_size="100KB")
        assert len(list(tmp_path.glob("*.safetensors"))) > 1
        model.weight(model.mlp_out_name(2)).mul_(2)
        assert list(Update.between(tmp_path, model)) == [model.mlp_out_name(2)]

    def test_tensors(self) -> None:
        base = {"a": torch.ones(2, 2), "b": torch.ones(3)}
        edited = {"a": torch.tensor([[1.0, 2.0], [1.0, 1.0]]), "b": torch.ones(3)}
        assert Update.between(base, edited).dense("a").tolist() == [[0, 1], [0, 0]]
        assert list(Update.between(base, edited)) == ["a"]

    def test_other_models(self, tmp_path: Path) -> None:
        llama = tiny.save_tiny("llama", tmp_path / "llama")
        with pytest.raises(InputError, match=r"not two checkpoints of one model: .* is missing in the"):
            Update.between(llama, tiny.save_tiny("gpt2", tmp_path / "gpt2"))
        with pytest.raises(InputError, match=r"not two checkpoints of one model: .* has shape"):
            Update.between(llama, tiny.save_tiny("llama", tmp_path / "wide", intermediate_size=192))
        with pytest.raises(InputError, match="not a model folder"):
            Update.between(llama, tmp_path / "nothing")
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="not a model folder"):
            Update.between(llama, tmp_path / "empty")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("lower", ["base", "edited", "both"])
def test_what_rounding_explains_is_no_update(kind: torch.dtype, lower: str, caplog: pytest.LogCaptureFixture) -> None:
    """Checkpoints of one model in different dtypes differ where it was edited, and nowhere else."""
    generator = torch.Generator().manual_seed(0)
    base = {name: torch.randn(30, 40, generator=generator) for name in ("a", "b")}
    edited = {name: tensor.clone() for name, tensor in base.items()}
    edited["b"][:3] += 1.0
    if lower in ("base", "both"):
        base = {name: tensor.to(kind) for name, tensor in base.items()}
    if lower in ("edited", "both"):
        edited = {name: tensor.to(kind) for name, tensor in edited.items()}
    update = Update.between(base, edited)
    assert list(update) == ["b"]
    delta = update.dense("b")
    assert not delta[3:].any()
    torch.testing.assert_close(delta[:3], torch.ones(3, 40), atol=0.05, rtol=0)
    said = [record.getMessage() for record in caplog.records if "rounding" in record.getMessage()]
    assert len(said) == (0 if lower == "both" else 1)
    assert all(str(kind).removeprefix("torch.") in line for line in said)
