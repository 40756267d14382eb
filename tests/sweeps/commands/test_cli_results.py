"""The commands figure, compare, export, and --scale: what they print, and one line where the input is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.commands.app import main
from sweeps.figures.specs import FIGURES
from sweeps.store.schema import ROWS
from sweeps.store.store import Store
from tests.sweeps.synthetic_rows import sweep

SMOKE = Path(__file__).resolve().parents[3] / "configs" / "smoke.yaml"
PAPER = Path(__file__).resolve().parents[3] / "configs" / "paper"


def called(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = sweep(ks=(20,), tasks=("ner",))
    rows["n"] = rows["n"].astype(int)
    Store(tmp_path / "sweep").write("all", 1, rows[ROWS.names].to_dict("records"), [])
    return tmp_path / "sweep"


def test_figures_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("figure", "list") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in FIGURES)


def test_figure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("figure", "table-1", folder) == 0
    assert "table-1: figures/table-1.png" in capsys.readouterr().out
    assert (folder / "figures" / "table-1.png").stat().st_size > 5000


def test_export_and_compare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("export", folder, "--format", "markdown", "--what", "ranking") == 0
    assert (folder / "ranking.md").read_text().startswith("| model |")
    assert called("compare", folder, folder, "--out", folder / "differences.csv") == 0
    assert "0 of them differ" in capsys.readouterr().out
    assert (folder / "differences.csv").exists()


def test_plan_at_a_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("plan", PAPER / "figure-08.yaml", "--scale", "demo", "--out", tmp_path) == 0
    out = capsys.readouterr().out
    assert "8 cells, 0 done" in out
    assert "smollm2-135m" in out


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("./no/such/model", "needed model ./no/such/model: not to be found: there is no such folder"),
        ("no-such.gguf", "needed model no-such.gguf: not to be found: there is no such file"),
        ("nobody/nothing", "note model nobody/nothing: not found here, neither as a folder nor in the hub's cache"),
        ("smollm2-135", "did you mean 'smollm2-135m'?"),
    ],
)
def test_plan_says_which_model_is_not_to_be_found(
    model: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("plan", SMOKE, "--out", tmp_path, "--set", f"models=['{model}']") == 0
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["figure", "figure-99", "x"], "figure 'figure-99' is not known"),
        (["figure", "figure-08"], "the folder of a sweep is missing"),
        (["figure", "figure-08", "/nowhere"], "there are no rows in this folder"),
        (["compare", "/nowhere", "/nowhere"], "there are no rows in this folder"),
        (["export", "/nowhere"], "there is no sweep in this folder"),
        (["export", "/nowhere", "--format", "doc"], "'--format': 'doc' is not one of 'csv'"),
        (["plan", str(PAPER / "figure-08.yaml"), "--scale", "huge"], "no such scale; there are published, demo"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(*arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
    assert not Path("/nowhere").exists()
