"""`sweeps evaluate` and `sweeps tasks`, as a user types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sweeps.commands import app
from sweeps.run import scoring
from sweeps.store.store import Store
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as leaving:
        app.main([str(argument) for argument in arguments])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


SMALL = ("--engine", "transformers", "--max-model-len", 256, "--limit", 3)


def test_any_model_is_scored_without_a_sweep(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    names = ("--tasks", "nli,nli:likelihood", "--tasks", "ner")
    assert call("evaluate", folder, *SMALL, *names, "--out", out) == 0
    shown = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in shown.splitlines() if " +- " in line and line.split()}
    rows = Store(out).rows().set_index("name")
    assert lines["nli"][1:4] == ["3", f"{rows['value']['nli/score']:.3f}", "+-"]
    assert lines["nli"][4] == f"{rows['stderr']['nli/score']:.3f}"
    assert rows["n"]["ner/score"] == 12
    assert rows["value"]["nli:likelihood/answered"] == 1
    outputs = Store(out).outputs()
    assert outputs["task"].value_counts().to_dict() == {"ner": 12, "nli": 3, "nli:likelihood": 3}
    assert outputs["prompt"].notna().all()
    [environment] = Store(out).environments().values()
    assert environment["tasks"]["nli"]["source"] == "bundled"
    kept = {path.stem: json.loads(path.read_text()) for path in (out / "evaluations").iterdir()}
    assert sorted(record["task"] for record in kept.values()) == ["ner", "nli", "nli:likelihood"]
    assert set(outputs["evaluation"]) == set(kept)
    assert all(len(record["sha256"]) == 64 for record in kept.values())
    assert environment["evaluated"]["model"]["name"] == str(folder)

    assert call("evaluate", folder, *SMALL, "--tasks", "ner,dialogue", "--out", out) == 2  # would not be seen
    assert "holds ner of" in capsys.readouterr().err
    assert call("evaluate", folder, *SMALL, "--tasks", "dialogue", "--no-text", "--out", out) == 0
    outputs = Store(out).outputs()
    bare = outputs[outputs["task"] == "dialogue"]
    assert len(bare) == 3
    assert bare[["prompt", "output", "gold"]].isna().all(axis=None)
    assert bare["score"].notna().all()
    assert call("report", out) == 0  # the folder is laid out as a sweep's


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--tasks", "nlii"), "did you mean 'nli'"),
        (("--tasks", "reasoning:likelihood"), "no likelihood mode"),
        (("--tasks", "nli", "--source", "/nowhere"), "no such directory"),
        (("--tasks", "nli", "--dtype", "int8"), "'--dtype': 'int8' is not one of"),
        (("--tasks", "nli", "--engine", "tgi"), "'--engine': 'tgi' is not one of"),
        (("--tasks", "nli", "--chat-template"), "no chat template"),
        (("--tasks", ","), "name at least one task"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = () if "--engine" in arguments else ("--engine", "transformers")
    assert call("evaluate", folder, *arguments, *engine) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert told in errors[0]


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("rte.jsonl", b'{"sentence1": "a", "sentence2": "b", "lab', "rte.jsonl, line 1: not valid JSON"),
        ("rte.jsonl", b'{"sentence1": "a", "text": "b", "label": 1}', "line 1: field 'sentence2' is missing"),
        (
            "rte.jsonl",
            b'{"sentence1": "a", "sentence2": "b", "label": "so"}',
            "line 1: field 'label' must be one of",
        ),
        ("rte.jsonl", bytes(range(128, 256)), "line 1: not UTF-8 text"),
        ("rte.jsonl", b"", "rte.jsonl: no records in it"),
        ("sst2.jsonl", b"{}", "no data for task 'nli'; looked for"),
    ],
)
def test_bad_data_is_one_line(
    file: str, content: bytes, told: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / file).write_bytes(content)
    assert call("evaluate", folder, *SMALL, "--tasks", "nli", "--source", tmp_path) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}")
    assert error.count("\n") == 1
    assert told in error


def test_the_folder_of_a_sweep_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("name: x\n")
    assert call("evaluate", folder, *SMALL, "--tasks", "nli", "--out", tmp_path) == 2
    assert "folder of a sweep" in capsys.readouterr().err


def test_tasks_list(capsys: pytest.CaptureFixture[str]) -> None:
    import tasks

    assert call("tasks", "list") == 0
    shown = capsys.readouterr().out
    for name in tasks.NAMES:
        assert name in shown
        assert str(tasks.get(name).data.size) in shown


def test_tasks_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("tasks", "show", "dialogue") == 0
    shown = capsys.readouterr().out
    for part in (
        "dialogue, version 1",
        "the first standalone letter",
        "886",
        "MuTual",
        "Among A through D",
        "Cui et al.",
    ):
        assert part in shown
    assert call("tasks", "show", "dialouge") == 2
    assert "did you mean 'dialogue'" in capsys.readouterr().err


def test_tasks_preview(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import tasks

    assert call("tasks", "preview", "sentiment:likelihood", "--n", 2) == 0
    shown = capsys.readouterr().out
    for example in tasks.get("sentiment").examples("bundled", limit=2):
        assert tasks.get("sentiment").prompt(example) in shown
        assert f'gold "{example.gold}"' in shown
    assert "[' positive', ' negative']" in shown
    assert "written for this project" in shown
    records = '{"prompt": "[red] or {blue}?", "answer": "[red]"}\n'
    (tmp_path / "riddle.jsonl").write_text(records)
    assert call("tasks", "preview", tmp_path / "riddle.jsonl") == 0
    shown = capsys.readouterr().out
    assert "[red] or {blue}?" in shown
    assert '"[red]"' in shown


def test_scores_of_a_folder_that_changes_meanwhile_are_not_kept(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, out, answers = Path(shutil.copytree(folder, tmp_path / "model")), tmp_path / "out", scoring.answers

    def slowly(*arguments: object) -> object:
        (here / "config.json").write_text((here / "config.json").read_text() + " ")
        return answers(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "answers", slowly)
    assert call("evaluate", here, *SMALL, "--tasks", "nli", "--out", out) == 2
    assert "has changed while it was scored" in capsys.readouterr().err
    assert Store(out).rows().empty
