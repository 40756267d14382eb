"""The content of a folder: any byte of what makes up a model changes it, its name and its place do not."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from modelfolder import digest
from modelfolder.errors import InputError
from rect import known_models, models
from rect.model import EditableModel
from tests.tiny import save_tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    save_tiny("llama", path)
    return path


def grow_old(folder: Path, seconds: float = 100) -> None:
    """Let the files be written long ago, as far as times of modification tell."""
    for file in folder.iterdir():
        os.utime(file, (time.time() - seconds,) * 2)


def test_is_of_bytes_and_names_not_of_places(folder: Path, tmp_path: Path) -> None:
    first = digest.content(folder)
    assert first.startswith("sha256:")
    shutil.copytree(folder, tmp_path / "other")
    assert digest.content(tmp_path / "other") == first
    (folder / "README.md").write_text("of no consequence")
    assert digest.content(folder) == first


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "generation_config.json"]
)
def test_any_byte_counts(folder: Path, name: str) -> None:
    first = digest.content(folder)
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)
    assert digest.content(folder) != first


def test_a_file_that_is_added_counts(folder: Path) -> None:
    first = digest.content(folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert digest.content(folder) != first


def test_a_commit_of_the_hub_is_its_name(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--owner--name" / "snapshots" / ("0123456789" * 4)
    shutil.copytree(folder, snapshot)
    assert digest.content(snapshot) == f"hub:{snapshot.name}"
    assert digest.commit(digest.content(snapshot)) == snapshot.name
    assert digest.commit(digest.content(folder)) is None
    shutil.copytree(folder, tmp_path / "snapshots" / snapshot.name)  # somebody's own folder of that name
    assert digest.content(tmp_path / "snapshots" / snapshot.name) == digest.content(folder)


def test_files_are_read_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    grow_old(folder)
    monkeypatch.setattr(digest, "SETTLED", 0.0)
    first = digest.content(folder, kept)
    notes = [json.loads(note.read_text()) for note in kept.iterdir()]
    assert {Path(note["file"]).name for note in notes} >= {"config.json", "tokenizer.json", "model.safetensors"}
    for note in kept.iterdir():  # what the notes say is believed, so nothing else is read
        note.write_text(json.dumps(json.loads(note.read_text()) | {"sha256": "noted"}))
    believed = digest.content(folder, kept)
    assert believed != first
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-2] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    grow_old(folder)  # the size and the time of modification are those that are kept: the time of change is not
    assert digest.content(folder, kept) != believed


def test_what_was_written_just_now_is_not_kept(folder: Path, tmp_path: Path) -> None:
    digest.content(folder, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_notes_that_are_damaged_or_cannot_be_written(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(digest, "SETTLED", -1.0)
    first = digest.content(folder, tmp_path / "kept")
    for note in (tmp_path / "kept").iterdir():
        note.write_text("[")
    assert digest.content(folder, tmp_path / "kept") == first
    (tmp_path / "file").write_text("")
    assert digest.content(folder, tmp_path / "file" / "below") == first


def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \*\.safetensors"):
        digest.content(tmp_path)


def test_of_a_model_that_is_loaded(folder: Path) -> None:
    model = EditableModel.load(str(folder))
    assert model.content == models.content(str(folder)) == digest.content(folder)
    assert EditableModel.load(str(folder), dtype="bfloat16").content == model.content
    late = EditableModel.load(str(folder))
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    with pytest.raises(InputError, match=r"has changed since .* was loaded"):
        _ = late.content
    assert model.content != models.content(str(folder))  # it is what was loaded


def test_of_a_model_without_a_folder(folder: Path) -> None:
    def fresh() -> EditableModel:
        loaded = EditableModel.load(str(folder))
        return EditableModel(loaded.hf, loaded.tokenizer)

    first, second = fresh(), fresh()
    assert first.content == second.content
    name = first.mlp_out_name(0)
    second = fresh()
    second.weight(name)[0, 0] += 1
    assert second.content != first.content


def test_what_is_not_at_hand() -> None:
    assert models.content("somebody/something-absent") is None
    assert models.content("./absent") is None
    assert models.content(models.DEFAULT) == known_models.named(models.DEFAULT).content


def test_of_a_commit_in_the_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789" * 4
    refs, snapshot = (tmp_path / "models--owner--name" / part for part in ("refs", f"snapshots/{commit}"))
    refs.mkdir(parents=True)
    (refs / "main").write_text(commit)
    shutil.copytree(folder, snapshot)
    assert models.content("owner/name") == f"hub:{commit}"
    assert models.content("owner/name", "v1") is None
    assert models.content("owner/name", commit[::-1]) == f"hub:{commit[::-1]}"
