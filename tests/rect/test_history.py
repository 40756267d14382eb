"""What an operation leaves for the next one: kept in the update's file, passed on by regularizers, put together."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors
import torch

from modelfolder.errors import InputError
from rect import regularizers
from rect.history import History
from rect.update import Dense, LowRank, Update


class Ones:
    """A model whose weights are ones."""

    def weight(self, name: str) -> torch.Tensor:
        return torch.ones(4, 6)

    original = weight


def operation(seed: int, facts: int = 2) -> Update:
    draw = torch.Generator().manual_seed(seed)
    entry = LowRank(torch.randn(4, facts, generator=draw), torch.randn(facts, 6, generator=draw))
    return Update({"a.weight": entry}, {"n": seed}, {"a.weight": {"keys": torch.randn(facts, 6, generator=draw)}})


def test_memory_lies_in_the_update_s_file(tmp_path: Path) -> None:
    update = operation(1)
    update.save(tmp_path / "u.safetensors")
    again = Update.load(tmp_path / "u.safetensors")
    assert list(again) == ["a.weight"]
    assert torch.equal(again.dense("a.weight"), update.dense("a.weight"))
    assert torch.equal(again.memory["a.weight"]["keys"], update.memory["a.weight"]["keys"])
    assert again.to_bytes() == update.to_bytes()


def test_an_update_without_memory_is_written_as_ever() -> None:
    """To the byte: an earlier version reads it, and says of the other kind that it cannot."""
    plain, full = Update(dict(operation(1)), {"n": 1}), operation(1)
    for update, version in ((plain, "rect-update/1"), (full, "rect-update/2")):
        data = update.to_bytes()
        header = data[8 : 8 + int.from_bytes(data[:8], "little")].decode()
        assert version in header
    assert "memory" not in plain.to_bytes().decode("latin-1")


def test_a_tensor_that_is_matrix_and_memory_is_written_twice(tmp_path: Path) -> None:
    shared = torch.ones(2, 6)
    Update({"a": LowRank(torch.ones(4, 2), shared)}, memory={"a": {"keys": shared}}).save(tmp_path / "u")
    with safetensors.safe_open(tmp_path / "u", "pt") as file:
        assert sorted(file.keys()) == ["a/left", "a/right", "memory/a/keys"]


@pytest.mark.parametrize("name", [name for name in regularizers.REGULARIZERS if name != "null-space"])
def test_every_regularizer_passes_it_on(name: str) -> None:
    kept = regularizers.get(name)(operation(1), Ones(), k=50)
    assert torch.equal(kept.memory["a.weight"]["keys"], operation(1).memory["a.weight"]["keys"])
    assert set(operation(1).memory["a.weight"]) == {"keys"}


def test_keys_are_put_together_in_the_order_of_operations() -> None:
    history = History()
    assert history.past("a.weight", 6) is None
    longer = history.after(operation(1)).after(operation(2, facts=3))
    assert (len(history), len(longer)) == (0, 2)
    keys = [operation(1).memory["a.weight"]["keys"], operation(2, facts=3).memory["a.weight"]["keys"]]
    past = longer.past("a.weight", 6)
    assert past is not None
    assert past.dtype == torch.float64
    assert torch.equal(past, torch.cat(keys).T.double())
    assert longer.last("a.weight", "keys") is longer.keys("a.weight")[1]
    assert longer.last("b.weight", "keys") is None


def test_what_is_missing_or_of_another_model_is_said() -> None:
    history = History().after(operation(1)).after(Update({"a.weight": Dense(torch.ones(4, 6))}))
    with pytest.raises(InputError, match=r"a.weight: of 2 earlier operations 1 left no keys"):
        history.keys("a.weight")
    with pytest.raises(InputError, match="the history's keys have 6 dimensions, those of the model 7"):
        History().after(operation(1)).past("a.weight", 7)
