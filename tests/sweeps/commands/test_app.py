"""The command line itself: it starts fast, its exit codes mean what they say, errors are one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest

from modelfolder.errors import InputError
from sweeps.commands import app, results, shared, tasks
from tasks.errors import Unaskable

REPOSITORY = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "ray", "vllm", "pandas", "transformers", "pyarrow", "plotly", "pydantic", "numpy")


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        app.main(list(arguments))
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def test_help_imports_nothing_heavy() -> None:
    script = f"""
import json, sys
sys.argv = ["sweeps", "--help"]
try:
    from sweeps.commands.app import main
    main()
except SystemExit as leaving:
    assert leaving.code == 0
found = sorted(name for name in {HEAVY!r} if name in sys.modules)
print("\\n" + json.dumps(found))
"""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    seconds = time.monotonic() - began
    assert "regularize" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert seconds < 10, "far more than the 0.5 s it takes on an idle machine"


@pytest.mark.parametrize(
    "command", ["run", "plan", "status", "report", "edit", "apply", "regularize", "evaluate", "tasks", "doctor"]
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, "--help") == 0
    assert "Usage: sweeps " + command in capsys.readouterr().out


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 0
    assert "Usage: sweeps" in capsys.readouterr().out


@pytest.mark.parametrize("group", ["cache", "methods", "tasks"])
def test_a_group_without_a_command_shows_its_help(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(group) == 0
    shown = capsys.readouterr()
    assert f"Usage: sweeps {group}" in shown.out
    assert "list" in shown.out
    assert shown.err == ""


def test_choices_are_those_of_the_registries() -> None:
    from sweeps.config import config
    from sweeps.figures.panels import SCORES
    from sweeps.report.export import ENDINGS, TABLES

    assert get_args(shared.Precision) == get_args(config.Dtype)
    assert get_args(tasks.Engine) == get_args(config.EngineSpec.model_fields["name"].annotation)
    assert get_args(results.Table) == tuple(TABLES)
    assert get_args(results.Format) == tuple(ENDINGS)
    assert get_args(results.Score) == tuple(SCORES)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("sweeps ", ["run", "plan", "evaluate", "tasks"]),
        ("sweeps edit --regularizer ", ["none", "rect", "pca-release", "prune"]),
        ("sweeps edit --dtype ", ["auto", "float32", "bfloat16", "float16"]),
        ("sweeps edit --method m", ["memit", "mend"]),
        ("sweeps covariance --device ", ["auto", "cpu", "cuda"]),
        ("sweeps figure figure-0", ["figure-03", "figure-09"]),
        ("sweeps export x --format ", ["csv", "parquet", "latex", "markdown"]),
    ],
)
def test_completion(line: str, offered: list[str]) -> None:
    words = line.rsplit(" ", 1)
    number = str(len(line.split(" ")) - 1)
    asked = {"_SWEEPS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": number}
    command = [sys.executable, "-m", "sweeps"]
    done = subprocess.run(
        command, env={**os.environ, **asked}, capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert set(offered) <= set(done.stdout.split()), done.stderr
    assert all(one.startswith(words[1]) for one in done.stdout.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import rect

    assert call("--version") == 0
    assert capsys.readouterr().out.strip() == rect.__version__


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("sing",), "No such command 'sing'"),
        (("run",), "config"),
        (("run", "demo.yaml", "--limit-cells", "many"), "'--limit-cells'"),
        (("run", "demo.yaml", "--limit-cells", "0"), "'--limit-cells'"),
        (("edit", "--subject", "France"), "Missing option '--prompt'"),
        (("plan", "demo.yaml", "--lout", "x"), "No such option: --lout"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert told in error


def _raising(error: BaseException) -> object:
    def examine() -> None:
        raise error

    return examine


def test_bad_input_is_one_line_and_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for error in (InputError("file.yaml:3: k:\n is wrong"), Unaskable("file.yaml:3: k: is wrong", {"1": "why"})):
        monkeypatch.setattr("sweeps.commands.doctor.examine", _raising(error))
        assert call("doctor") == 2
        assert capsys.readouterr().err == "error: file.yaml:3: k: is wrong\n"


def test_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.commands.doctor.examine", _raising(ValueError("a defect")))
    with pytest.raises(ValueError, match="a defect"):
        app.main(["doctor"])


def test_interrupt_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sweeps.commands.doctor.examine", _raising(KeyboardInterrupt()))
    assert call("doctor") == 130
    assert capsys.readouterr().err == "error: interrupted; what was finished is kept\n"


def test_ctrl_c_in_a_real_process() -> None:
    script = "import time\nfrom sweeps.commands import doctor\n"
    script += "doctor.examine = lambda: (print('ready', flush=True), time.sleep(60))\n"
    script += "from sweeps.commands.app import main\nmain(['doctor'])"
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "error: interrupted; what was finished is kept\n"
