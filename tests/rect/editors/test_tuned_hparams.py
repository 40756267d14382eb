"""Values that `sweeps tune` left for a model are found by what the model is made of, under whatever name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rect import editors, models
from rect.editors import hyperparameters
from rect.editors.rome import RomeHparams
from rect.model import EditableModel
from tests.tiny import save_tiny

TUNED = "models: [x]\ncontent: y\nsource: z\nfacts: f\ndate: '2026-11-29'\ntested: true\nlayers: [2]\nv_lr: 0.125\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECT_SWEEPS_CACHE", str(tmp_path / "cache"))
    return save_tiny("llama", tmp_path / "tiny")


def leave(folder: Path, text: str = TUNED) -> Path:
    content = models.content(str(folder))
    assert content is not None
    file = hyperparameters.tuned_file("rome", content)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_they_are_found_by_content(folder: Path, tmp_path: Path) -> None:
    before = editors.declared("rome", str(folder))
    assert before["hparams"]["default"] == "by depth"
    file = leave(folder)
    for name in (str(folder), str(shutil.copytree(folder, tmp_path / "moved"))):
        assert hyperparameters.known("rome", name) == file
        assert editors.declared("rome", name)["hparams"]["layers"] == [2]
        assert f"those of {file}" in editors.remark("rome", name)
        found = hyperparameters.resolve(RomeHparams, {"v_num_grad_steps": 3}, EditableModel.load(name))
        assert (found.layers, found.v_lr, found.v_num_grad_steps) == ((2,), 0.125, 3)
    assert editors.declared("rome", str(folder)) != before, "other values are another identity"
    assert editors.declared("memit", str(folder))["hparams"]["default"] == "by depth"


def test_another_model_has_none_of_them(folder: Path, tmp_path: Path) -> None:
    leave(folder)
    other = save_tiny("llama", tmp_path / "other", seed=1)
    assert hyperparameters.known("rome", str(other)) is None
    assert hyperparameters.known("rome", "gpt2-xl") == hyperparameters.shipped("rome", "gpt2-xl")
    assert hyperparameters.resolve(RomeHparams, None, EditableModel.load(folder), tuned=False).layers == (0,)


def test_they_go_before_ours(folder: Path) -> None:
    shipped = hyperparameters.known("rome", models.DEFAULT)
    assert shipped is not None
    assert shipped.parent == hyperparameters.FOLDER / "rome"
    content = models.content(models.DEFAULT)
    assert content is not None
    file = hyperparameters.tuned_file("rome", content)
    file.parent.mkdir(parents=True)
    file.write_text(TUNED)
    assert hyperparameters.known("rome", models.DEFAULT) == file


def test_a_broken_file_is_told(folder: Path) -> None:
    leave(folder, TUNED + "nonsense: 1\n")
    with pytest.raises(ValueError, match="unknown key 'nonsense'"):
        editors.declared("rome", str(folder))
