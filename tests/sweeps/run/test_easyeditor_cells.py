"""Methods of EasyEdit in a sweep where its environment is missing: their cells fail, the others go on."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from modelfolder.errors import InputError
from sweeps.commands import app, doctor
from sweeps.plan import needs
from sweeps.plan.identity import make_plan
from sweeps.run.trial import EditingTrial
from sweeps.store.store import Store
from tests.sweeps.run.test_trial import run_trials
from tests.sweeps.small import STEPS, small_config
from tests.tiny import save_tiny


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EASYEDITOR_VENV", str(tmp_path / "nowhere"))
    return tmp_path


def test_a_missing_environment_fails_its_cells_and_the_others_go_on(
    nowhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(
        save_tiny("llama", nowhere / "model"),
        methods=[{"name": "rome", "hparams": STEPS}, {"name": "easyeditor:FT", "hparams": {"layers": [1]}}],
        settings=[{"kind": "instance-sequential", "edits": 1}],
        regularizers=["none"],
        tasks={"names": ["nli"], "examples": 1},
    )
    plan = make_plan(config)
    with caplog.at_level(logging.WARNING):
        needs.check(plan.cells)
    assert "run `make easyeditor`; its cells will fail" in caplog.text
    store = Store(nowhere / "out")
    run_trials(EditingTrial, config, store)
    failed = {str(plan.cell(cell).method.shown): reason for cell, reason in store.failures().items()}  # type: ignore[union-attr]
    assert list(failed) == ["easyeditor:FT"]
    assert failed["easyeditor:FT"].endswith("run `make easyeditor`")
    assert sorted(store.rows()["method"].unique()) == ["none", "rome"]


def test_where_nothing_else_could_run_it_is_told_at_once(nowhere: Path) -> None:
    config = small_config(save_tiny("llama", nowhere / "model"), methods=["easyeditor:FT"])
    with pytest.raises(InputError, match="run `make easyeditor`"):
        needs.check(make_plan(config).cells)


def test_a_method_that_changes_no_weights_is_refused_in_the_configuration(nowhere: Path) -> None:
    with pytest.raises(InputError, match=r"small\.yaml: methods\.0\.name: easyeditor:IKE does not change weights"):
        small_config(nowhere, methods=["easyeditor:IKE"])


def test_the_command_line_names_methods_and_what_is_missing(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        app.main(["methods", "list"])
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert "easyeditor:LoRA" in shown
    assert "run `make easyeditor`" in shown
    found = next(finding for finding in doctor.examine() if finding.what == "EasyEdit")
    assert found.state == "note"
    with pytest.raises(SystemExit) as leaving:
        app.main(["edit", "--subject", "a", "--prompt", "{} is", "--target", "b", "--method", "easyeditor:IKE"])
    assert leaving.value.code == 2
    assert "does not change weights" in capsys.readouterr().err
