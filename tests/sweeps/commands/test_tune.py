"""`sweeps tune`: from a model to a file with values that it is edited with from then on, also after a kill."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from scipy import stats

from rect import editors, models
from rect.editors import hyperparameters
from rect.editors.rome import RomeHparams
from rect.facts import Fact
from rect.model import EditableModel
from sweeps.commands import app
from sweeps.commands.tune import compared
from sweeps.plan.tuning import Operation, Setting
from tests import tiny

ROOT = Path(__file__).resolve().parents[3]
TARGETS = ("a", "e", "r", "t")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, and beside it facts; where it can be written down, their answer is what the model says."""
    place = tiny.save_tiny("llama", tmp_path_factory.mktemp("tune") / "tiny", num_hidden_layers=4)
    model, known, others = EditableModel.load(place, device="cpu"), [], []
    for number in range(400):
        subject, target = f"Town {number}", TARGETS[number % len(TARGETS)]
        fact = Fact(
            subject=subject, prompt="We go to {}", target=target, original="x", rephrasings=(f"They went to {subject}",)
        )
        ids = torch.tensor([model.tokenizer(fact.filled)["input_ids"]])
        says = model.tokenizer.decode(model.hf(ids).logits[0, -1].argmax())
        if says.startswith(" ") and says.strip():
            known.append(fact.model_copy(update={"original": says.strip()}))
        else:
            others.append(fact)
    lines = [fact.model_dump_json() + "\n" for fact in [*known, *others][:30]]
    (place.parent / "facts.jsonl").write_text("".join(lines))
    assert len(known) >= 10
    return place


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECT_SWEEPS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def command(folder: Path, out: Path, *more: str) -> list[str]:
    return [
        *("tune", str(folder), "--facts", str(folder.parent / "facts.jsonl"), "--out", str(out), "--device", "cpu"),
        *("--vary", "layers", "--vary", "v_lr", "--set", "mom2_adjustment=false", "--set", "clamp_norm_factor=20"),
        *("--set", "context_template_length_params=[[2, 1]]", "--measured", "4", "--confirmed", "3"),
        *(more or ("--trials", "5")),
    ]


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        app.main(list(arguments))
    return int(end.value.code or 0)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "edits.jsonl").read_text().splitlines() if line.startswith("{")]


def test_from_a_model_to_its_values(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert called(*command(folder, out)) == 0
    text = capsys.readouterr().out
    assert "regained by layer" in text
    assert "on 3 other facts" in text
    found = json.loads((out / "tuning.json").read_text())
    assert sum(one["picked"] for one in found["settings"]) == 1
    picked = next(one for one in found["settings"] if one["picked"])
    assert picked["front"]
    best = max(one["success"] for one in found["settings"] if one["operations"] == 4)
    assert picked["success"] >= best - 0.5 / 4 - 1e-9
    assert [one["figure"] for one in found["confirmed"]] == ["reliability", "generalization", "drift"]

    about = yaml.safe_load((out / "rome.yaml").read_text())
    assert about["content"] == models.content(str(folder))
    assert (about["tested"], about["layers"]) == (True, picked["values"]["layers"])
    kept = hyperparameters.known("rome", str(folder))
    assert kept is not None
    assert kept.read_bytes() == (out / "rome.yaml").read_bytes()
    model = EditableModel.load(folder, device="cpu")
    editor = editors.create("rome", model)
    assert editor.hparams == RomeHparams.read(out / "rome.yaml", model)
    assert list(editor.hparams.model_dump()["layers"]) == picked["values"]["layers"]
    assert (out / "tuning.png").read_bytes().startswith(b"\x89PNG")

    before = len(lines(out))
    assert called(*command(folder, out)) == 0
    assert len(lines(out)) == before, "all of it was there"


def test_facts_of_the_search_and_of_the_confirmation_are_others(folder: Path, tmp_path: Path) -> None:
    assert called(*command(folder, tmp_path / "out", "--trials", "2")) == 0
    seen = json.loads((tmp_path / "out" / "tuning.json").read_text())
    facts = [one["facts"][0] for one in lines(tmp_path / "out")]
    tuned, confirmed = facts[: sum(one["operations"] for one in seen["settings"])], facts[-3:]
    assert not set(tuned) & set(confirmed)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--method", "mend"), "--method mend: cannot be tuned"),
        (("--vary", "layer"), "--vary layer: "),
        (("--set", "v_lr=1"), "--set v_lr=1: v_lr is looked for"),
        (("--set", "v_steps=1"), "unknown key 'v_steps'"),
        (("--set", "kl_factor"), "--set kl_factor: KEY=VALUE is wanted"),
        (("--facts", "/no/such/file"), "/no/such/file"),
    ],
)
def test_what_is_refused(
    more: tuple[str, ...], told: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(*command(folder, tmp_path / "out", *more)) == 2
    said = capsys.readouterr().err
    assert [line for line in said.splitlines() if line.startswith("error: ") and told in line]
    assert "Traceback" not in said


def test_a_method_that_edits_nothing_leaves_no_file(
    folder: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    small = ("--set", "v_num_grad_steps=1", "--trials", "1")  # the last step, here the only one, moves nothing
    assert called(*command(folder, out, *small)) == 2
    assert "rome does not edit" in capsys.readouterr().err
    assert not (out / "rome.yaml").exists()
    assert not (cache / "hparams").exists()


def test_memit_on_a_family_that_it_cannot_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gemma = tiny.save_tiny("gemma3_text", tmp_path / "gemma")
    assert called("tune", str(gemma), "--method", "memit", "--out", str(tmp_path / "out"), "--device", "cpu") == 2
    assert "has a norm behind each MLP" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_over_and_over_with_workers_of_ray(folder: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle, twice; the third is let go on: nothing is measured twice, and the pick is the same."""
    more = ("--trials", "6", "--workers", "2", "--set", "v_num_grad_steps=60")
    start = [sys.executable, "-m", "sweeps", *command(folder, tmp_path / "killed", *more)]
    environment = {**os.environ, "RAY_worker_niceness": "0", "PYTHONPATH": str(ROOT)}
    for wanted in (3, 8):
        process = subprocess.Popen(start, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL)
        for _ in _patiently(process):
            if (tmp_path / "killed" / "edits.jsonl").exists() and len(lines(tmp_path / "killed")) >= wanted:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(start, env=environment, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    names = [one["id"] for one in lines(tmp_path / "killed")]
    assert len(names) == len(set(names)) > 8
    assert (tmp_path / "killed" / "rome.yaml").exists()


def _patiently(process: subprocess.Popen[bytes], seconds: float = 600) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "it ended by itself"
        yield
        time.sleep(0.05)
    raise AssertionError("it measured too little")


def confirmed(values: dict[str, Any], *facts: tuple[float, float, float]) -> Setting:
    """A setting measured fact by fact: reliability, generalization, drift."""
    return Setting(values, tuple(Operation((a,), (b,), d, 1.0) for a, b, d in facts), (1,) * len(facts))


def test_facts_that_all_agree_are_no_certainty() -> None:
    before = confirmed({"layers": [1]}, (1.0, 0.5, 0.01), (1.0, 0.7, 0.02), (1.0, 0.9, 0.06))
    after = confirmed({"layers": [2]}, (1.0, 0.7, 0.02), (1.0, 0.7, 0.02), (1.0, 0.7, 0.05))
    reliability, generalization, drift = compared(before, after)
    assert reliability["before"].value == 1.0
    assert reliability["before"].low == pytest.approx(1.0 - stats.t.ppf(0.975, 2) * math.sqrt(2) / 5)
    theirs = stats.ttest_rel([0.02, 0.02, 0.05], [0.01, 0.02, 0.06]).confidence_interval(0.95)
    assert (drift["difference"].low, drift["difference"].high) == pytest.approx(tuple(theirs))
    assert generalization["difference"].value == pytest.approx(0.0)


def test_the_same_values_have_no_difference() -> None:
    one = confirmed({"layers": [1]}, (1.0, 0.5, 0.01), (1.0, 0.7, 0.02))
    assert [set(line) for line in compared(one, one)] == [{"figure", "before", "after"}] * 3
