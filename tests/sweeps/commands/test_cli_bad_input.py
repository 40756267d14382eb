"""Bad input through the command line: exit code 2, one line that says where, what is wrong, what would be right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sweeps.commands import app

REPOSITORY = Path(__file__).resolve().parents[3]

BASE = {
    "name": "small",
    "models": ["smollm2-135m"],
    "methods": ["rome"],
    "settings": [{"kind": "instance-sequential", "edits": 2, "checkpoints": [2]}],
    "regularizers": ["none", {"name": "rect", "k": [40]}],
    "tasks": {"names": ["nli"], "examples": 2},
    "engine": {"name": "transformers"},
}
FACT = {"subject": "France", "prompt": "The capital of {} is", "target": "Rome"}
EDIT = {"--subject": "France", "--prompt": "The capital of {} is", "--target": "Rome"}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command refuses its input with."""
    with pytest.raises(SystemExit) as leaving:
        app.main(list(arguments))
    error = capsys.readouterr().err
    assert leaving.value.code == 2, error
    assert "Loading" not in error, "a model was loaded before the input was checked"
    lines = [line for line in error.splitlines() if line.strip()]
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    assert "Traceback" not in error
    return lines[0]


def written(folder: Path, changes: dict, name: str = "sweep.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(BASE | changes, sort_keys=False))
    return path


def edit_with(**options: str | None) -> list[str]:
    """Arguments of `sweeps edit` with some options replaced, or left out where None."""
    given = EDIT | {f"--{name.replace('_', '-')}": value for name, value in options.items()}
    return ["edit", *(word for option, value in given.items() if value is not None for word in (option, value))]


def test_the_base_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the refusals below could have another cause."""
    with pytest.raises(SystemExit) as leaving:
        app.main(["plan", str(written(tmp_path, {})), "--out", str(tmp_path / "out")])
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert "3 cells, 0 done" in shown
    assert "regularizer: none (2), rect (1)" in shown
    assert not (tmp_path / "out").exists()


WRONG_CONFIGS = {
    "unknown key": ({"method": ["rome"]}, ["sweep.yaml:", "'method'", "did you mean 'methods'"]),
    "unknown key inside": ({"tasks": {"name": ["nli"]}}, ["sweep.yaml:", "tasks.name", "names"]),
    "wrong type": (
        {"tasks": {"names": ["nli"], "examples": "many"}},
        ["sweep.yaml:", "tasks.examples", "'many'", "integer"],
    ),
    "list wanted": ({"models": 3}, ["sweep.yaml:", "models", "3"]),
    "missing key": ({"models": None}, ["sweep.yaml:", "models"]),
    "unknown method": ({"methods": ["roma"]}, ["sweep.yaml:", "methods.0", "'roma'", "did you mean 'rome'", "mend"]),
    "unknown task": ({"tasks": {"names": ["nil"]}}, ["sweep.yaml:", "tasks.names", "'nil'", "did you mean 'nli'"]),
    "unknown regularizer": ({"regularizers": ["recd"]}, ["sweep.yaml:", "'recd'", "did you mean 'rect'", "magnitude"]),
    "unknown setting": (
        {"settings": [{"kind": "sequential", "edits": 1}]},
        ["sweep.yaml:", "settings.0", "instance-sequential"],
    ),
    "k is 0": (
        {"regularizers": [{"name": "rect", "k": [0]}]},
        ["sweep.yaml:", "regularizers.0.k.0", "greater than 0", "0"],
    ),
    "k above 100": ({"regularizers": [{"name": "rect", "k": 101}]}, ["sweep.yaml:", "regularizers.0.k", "100", "101"]),
    "no k": ({"regularizers": ["rect"]}, ["sweep.yaml:", "regularizers.0", "needs k"]),
    "no legal cell": (
        {"settings": [{"kind": "batch-single", "batch_sizes": [10]}]},
        ["methods", "'rome'", "no legal cell", "one fact per operation"],
    ),
    "checkpoint outside": (
        {"settings": [{"kind": "instance-sequential", "edits": 2, "checkpoints": [3]}]},
        ["sweep.yaml:", "settings.0", "3", "0 to 2"],
    ),
    "missing edit file": ({"edits": {"source": "no-such.jsonl"}}, ["no-such.jsonl"]),
}


@pytest.mark.parametrize(("changes", "told"), WRONG_CONFIGS.values(), ids=WRONG_CONFIGS.keys())
@pytest.mark.parametrize("command", ["plan", "run"])
def test_wrong_configuration(
    command: str, changes: dict, told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, command, str(written(tmp_path, changes)), "--out", str(tmp_path / "out"))
    for part in told:
        assert part in line
    assert not (tmp_path / "out").exists()


def test_missing_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{tmp_path}/none.yaml: there is no such file" in refused(capsys, "run", f"{tmp_path}/none.yaml")


def test_configuration_that_is_no_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("name: a\nmodels: [x\nmethods: ]\n")
    assert f"{path}:3" in refused(capsys, "plan", str(path))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("tasks.examples", "key=value"),
        ("tasks.exmples=4", "tasks.exmples"),
        ("tasks.examples=few", "'few'"),
        ("models.7=x", "'7'"),
    ],
)
def test_wrong_override(override: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "plan", str(written(tmp_path, {})), "--set", override)
    assert "--set" in line
    assert told in line


WRONG_FACTS = {
    "malformed": ('{"subject": "France"', []),
    "empty target": (json.dumps(FACT | {"target": " "}), ["target"]),
    "empty subject": (json.dumps(FACT | {"subject": ""}), ["subject"]),
    "subject not in prompt": (json.dumps(FACT | {"prompt": "The capital of Spain is"}), ["'France'", "prompt", "{}"]),
    "key missing": (json.dumps({"subject": "France", "prompt": "The capital of {} is"}), ["target"]),
    "unknown key": (json.dumps(FACT | {"traget": "Rome"}), ["traget"]),
    "not an object": ("[1]", []),
}


@pytest.mark.parametrize(("bad", "told"), WRONG_FACTS.values(), ids=WRONG_FACTS.keys())
def test_wrong_line_in_a_file_of_facts(
    bad: str, told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = tmp_path / "facts.jsonl"
    facts.write_text("\n".join([json.dumps(FACT), json.dumps(FACT), bad]) + "\n")
    line = refused(capsys, "plan", str(written(tmp_path, {"edits": {"source": str(facts)}})))
    for part in ("facts.jsonl, line 3: ", *told):
        assert part in line


def test_wrong_line_in_a_task_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    good = {"sentence1": "a", "sentence2": "b", "label": "entailment"}
    (tmp_path / "data" / "nli.jsonl").write_text(
        json.dumps(good) + "\n" + json.dumps(good | {"label": "perhaps"}) + "\n"
    )
    tasks = {"names": ["nli"], "examples": None, "source": str(tmp_path / "data")}
    line = refused(capsys, "plan", str(written(tmp_path, {"tasks": tasks})))
    assert "nli.jsonl" in line
    assert "2" in line
    assert "perhaps" in line


def test_task_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = {"names": ["nli"], "source": str(tmp_path / "nowhere")}
    assert "nowhere" in refused(capsys, "plan", str(written(tmp_path, {"tasks": tasks})))


def test_model_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, {"models": ["./no/such/model"]})
    line = refused(capsys, "run", str(path), "--out", str(tmp_path / "out"))
    assert "./no/such/model" in line
    assert "no such folder" in line
    assert not (tmp_path / "out").exists()


def test_model_of_an_unknown_family(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "t5"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "t5"}))
    (model / "model.safetensors").write_bytes(b"")
    line = refused(capsys, *edit_with(model=str(model)))
    for part in ("t5", "gpt2", "llama"):
        assert part in line


def test_no_sweep_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("report", "status"):
        line = refused(capsys, command, str(tmp_path))
        assert str(tmp_path) in line
        assert "no sweep" in line


WRONG_EDITS = {
    "subject not in prompt": ({"prompt": "The capital of Spain is"}, ["--prompt", "'France'", "{}"]),
    "empty target": ({"target": " "}, ["--target", "empty"]),
    "empty subject": ({"subject": ""}, ["--subject", "empty"]),
    "unknown method": ({"method": "roma"}, ["--method", "roma", "did you mean 'rome'"]),
    "unknown regularizer": ({"regularizer": "recd", "k": "40"}, ["--regularizer", "recd", "did you mean 'rect'"]),
    "k is 0": ({"regularizer": "rect", "k": "0"}, ["--k 0", "above 0 and at most 100"]),
    "k above 100": ({"regularizer": "rect", "k": "100.5"}, ["--k 100.5", "above 0 and at most 100"]),
    "k without a regularizer": ({"k": "40"}, ["--k 40", "--regularizer"]),
    "regularizer without k": ({"regularizer": "rect"}, ["--regularizer rect", "needs --k"]),
    "no such prompts": ({"prompts": "/no/such/prompts.txt"}, ["--prompts /no/such/prompts.txt", "no such file"]),
    "unknown dtype": ({"dtype": "float8"}, ["--dtype", "float8", "bfloat16"]),
    "model not there": ({"model": "./no/such/model"}, ["./no/such/model", "no such folder"]),
    "no such hparams": ({"hparams": "/no/such.yaml"}, ["/no/such.yaml"]),
    "no hypernetwork": ({"method": "mend", "model": "no/such"}, ["sweeps train-mend", "--set model=no/such"]),
}


@pytest.mark.parametrize(("options", "told"), WRONG_EDITS.values(), ids=WRONG_EDITS.keys())
def test_wrong_edit(options: dict, told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, *edit_with(**({"save": str(tmp_path / "saved")} | options)))
    for part in told:
        assert part in line
    assert not (tmp_path / "saved").exists()


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    saved = str(tmp_path)
    update = tmp_path / "update.safetensors"
    update.write_bytes(b"mine too")
    assert "not empty" in refused(capsys, *edit_with(save=saved))
    assert "there already" in refused(capsys, *edit_with(save_update=str(update)))
    assert "not empty" in refused(capsys, "apply", "smollm2-135m", str(update), "--save", saved)
    assert "not empty" in refused(capsys, "regularize", "a", "b", "--k", "40", "--save", saved)
    assert update.read_bytes() == b"mine too"


def test_update_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = str(tmp_path / "saved")
    missing = tmp_path / "missing.safetensors"
    assert str(missing) in refused(capsys, "apply", "smollm2-135m", str(missing), "--save", saved)
    text = tmp_path / "text.safetensors"
    text.write_text("no tensors")
    assert "not a safetensors file" in refused(capsys, "apply", "smollm2-135m", str(text), "--save", saved)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("plan", "{folder}/none.yaml"), "none.yaml: there is no such file"),
        (("run", "{folder}/sweep.yaml", "--set", "regularizers.1.k=[200]"), "200"),
        (("edit", "--subject", "France", "--prompt", "The capital is", "--target", "Rome"), "--prompt"),
    ],
)
def test_in_a_process_of_its_own(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    written(tmp_path, {})
    words = [word.replace("{folder}", str(tmp_path)) for word in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "sweeps", *words], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
