"""A model saved where another was: whatever files that had, one model is read back."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from modelfolder import tensors
from modelfolder.errors import InputError
from modelfolder.saving import draft
from rect import EditableModel


@pytest.mark.parametrize("size", ["10GB", "40KB"])
def test_what_was_saved_last_is_read(size: str, tmp_path: Path) -> None:
    """Over one file, and over shards with their index, which transformers leaves where it writes one file."""
    model = EditableModel(*tiny.tiny_model("llama"))
    model.hf.save_pretrained(tmp_path, max_shard_size=size)
    before = {path.name for path in tmp_path.glob("*.safetensors")}
    assert (len(before) > 1) == (size == "40KB")
    (tmp_path / "notes.txt").write_text("kept")
    weight = model.mlp_out_name(0)
    with torch.no_grad():
        model.weight(weight).add_(1)
    model.save(tmp_path)
    assert {path.name for path in tmp_path.glob("*.safetensors*")} == {"model.safetensors"}
    assert not list(tmp_path.glob(".draft-*"))
    assert (tmp_path / "notes.txt").read_text() == "kept"
    again = EditableModel.load(str(tmp_path), device="cpu")
    assert torch.equal(again.weight(weight), model.weight(weight))


def test_shards_take_the_place_of_a_single_file(tmp_path: Path) -> None:
    model = EditableModel(*tiny.tiny_model("llama"))
    model.save(tmp_path)
    with draft(tmp_path) as place:
        model.hf.save_pretrained(place, max_shard_size="40KB")
    assert not (tmp_path / "model.safetensors").exists()
    assert len(tensors.files(tmp_path)) > 1


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"kept")
    with pytest.raises(TypeError), draft(tmp_path) as place:
        (place / "model.safetensors").write_bytes("half")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert (tmp_path / "model.safetensors").read_bytes() == b"kept"


def test_a_file_that_is_somebodys_is_not_taken_away(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"kept")
    with pytest.raises(InputError, match=r"adapter_model\.safetensors, which would be taken"):
        EditableModel(*tiny.tiny_model("llama")).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter_model.safetensors"]
