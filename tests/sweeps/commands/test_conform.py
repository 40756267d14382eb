"""`sweeps methods conform`: every closed form beside its formula in numpy, over all its layers and two operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from modelfolder.errors import InputError
from rect import closed_form, editors
from rect.editors import formulas
from rect.editors.easyeditor import environment
from rect.model import EditableModel
from sweeps.commands import conform, methods
from tests.rect.editors.field import FACTS, FAMILIES, LAYERS, SETTINGS, TEMPLATES
from tests.tiny import save_tiny, tiny_model

ONE: dict[str, dict[str, Any]] = {
    "rome": {"layers": [1]},
    "r-rome": {"layers": [1]},
    "rome as released": {"layers": [1], "r_rome": "released"},
}
SPREAD = {"memit spread": {**SETTINGS["memit"], "spread": "sqrt", "values": "unedited"}}
BARE = {"memit bare": {**SETTINGS["memit"], "mom2_adjustment": False}}
CASES = {**{name: {"layers": LAYERS, **values} for name, values in {**SETTINGS, **SPREAD, **BARE}.items()}, **ONE}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EASYEDITOR_VENV", str(tmp_path / "none"))


def compared(case: str, family: str) -> list[conform.Beside]:
    model = EditableModel(*tiny_model(family), name=f"tiny-{family}")
    if case == "ultraedit":
        editor = editors.create(case, model, {"up_layers": [1], "down_layers": [2], "lr": 1e-3})
    else:
        given = {"v_num_grad_steps": 4, **CASES[case]}
        editor = editors.create(case.split()[0], model, given, TEMPLATES, formulas.made_up(model, given["layers"]))
    before = {name: model.weight(name).clone() for name in model.names()}
    found = list(conform.compare(editor, model, conform.operations(editor, FACTS[:2]), None))
    assert all(bool((model.weight(name) == tensor).all()) for name, tensor in before.items())
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", [*CASES, "ultraedit"])
def test_each_method_is_its_formula(case: str, family: str) -> None:
    found = compared(case, family)
    assert [(one.what, one.operation) for one in found] == [("formula", 1), ("formula", 2)]
    for one in found:
        assert one.cosine > 0.999999
        assert one.apart < 2e-3  # keys and values of float32 passes, in another order


def test_what_is_left_out_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history that the solve forgets: the first operation is the formula's, the second is not."""
    solve = closed_form.adjusted
    monkeypatch.setattr(closed_form, "adjusted", lambda keys, prior, past=None: solve(keys, prior))
    first, second = compared("memit-history", "llama")
    assert first.cosine > conform.WITHIN > second.cosine


@pytest.mark.parametrize("forgets", [False, True])
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgets: bool) -> None:
    folder = save_tiny("llama", tmp_path / "model")
    own = {"layers": LAYERS, "v_num_grad_steps": 2, "context_template_length_params": [[3, 2]], **SETTINGS["alphaedit"]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    if forgets:
        solve = closed_form.adjusted
        monkeypatch.setattr(closed_form, "adjusted", lambda keys, prior, past=None: solve(keys, prior))
    asked = ["conform", "alphaedit", "--model", str(folder), "--hparams", str(tmp_path / "own.yaml"), "--device", "cpu"]
    result = CliRunner().invoke(methods.app, asked, env={"COLUMNS": "200"})
    assert result.exit_code == (1 if forgets else 0)
    assert len([line for line in result.output.splitlines() if line.startswith("formula")]) == 2
    assert "not beside EasyEdit's: easyeditor has an environment of its own, which is not there" in result.output


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mend", "mend: what it computes is in a trained hypernetwork"),
        ("easyeditor:ROME", "easyeditor:ROME is EasyEdit's own: name the method of ours, one of alphaedit"),
        ("alphaedti", "did you mean 'alphaedit'"),
    ],
)
def test_what_cannot_be_compared_is_one_line(name: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        conform.check(name)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_kn_has_no_formula_and_blue_none_that_is_written_out() -> None:
    model = EditableModel(*tiny_model("llama"))
    kn = editors.create("kn", model, {"steps": 2})
    with pytest.raises(InputError, match="kn: its formula is not written out"):
        formulas.update(kn, model, FACTS[:1], None)  # type: ignore[arg-type]
    assert not {conform.EASYEDITOR[name] for name in conform.EASYEDITOR} - set(environment.METHODS)
