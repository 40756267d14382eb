"""EasyEdit's methods in their environment, on tiny models: `make test-easyeditor`. Skipped where it is not built."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import against_easyeditor
from modelfolder.errors import InputError
from rect import editors
from rect.covariance import Covariance
from rect.editors.easyeditor import environment
from rect.editors.easyeditor.editor import EasyEditor
from rect.editors.easyeditor.environment import EasyEditorError
from rect.editors.easyeditor.process import Worker
from rect.facts import Fact
from rect.model import EditableModel
from rect.update import Dense, LowRank, Update
from tests.tasks.test_engines_process import gone
from tests.tiny import save_tiny

pytestmark = pytest.mark.easyeditor

TEMPLATES = ["{}", "The first thing I did. {}", "Because of this. {}"]
OTHERS = ["{}", "A film was good. {}"]
FACTS = [
    Fact(subject="France", prompt="The capital of {} is", target="Rome", original="Paris"),
    Fact(subject="Albert Einstein", prompt="{} was born in", target="Paris", original="Ulm"),
]
SHORT: dict[str, dict[str, Any]] = {
    "ROME": {"layers": [1], "v_num_grad_steps": 5},
    "MEMIT": {"layers": [0, 1], "v_num_grad_steps": 5},
    "KN": {"steps": 3},
    "FT": {"layers": [0, 1], "num_steps": 3, "rewrite_module_tmp": "model.layers.{}.mlp"},
    "LoRA": {"num_steps": 3, "rank": 2, "lora_dropout": 0.1},
}


class Place:
    """A tiny model with a worker that its editors share: starting one takes ten seconds."""

    def __init__(self, where: environment.Environment, folder: Path) -> None:
        self.model = EditableModel.load(str(folder), device="cpu")
        self.where = where
        self.worker = Worker(where, self.model)

    def editor(self, method: str, templates: list[str] | None = None, **more: Any) -> EasyEditor:
        prefixes = (templates or TEMPLATES) if method in ("ROME", "MEMIT") else None
        covariance = self.covariance() if method == "MEMIT" else None
        made = editors.create(f"easyeditor:{method}", self.model, {**SHORT[method], **more}, prefixes, covariance)
        assert isinstance(made, EasyEditor)
        if not self.worker.alive:
            self.worker = Worker(self.where, self.model)
        made._worker = self.worker
        return made

    def covariance(self) -> Covariance:
        n = self.model.weight(self.model.mlp_out_name(0)).shape[0 if self.model.architecture.transposed else 1]
        keys = torch.randn(4 * n, n, generator=torch.Generator().manual_seed(1))
        return Covariance({0: keys.T @ keys / (4 * n), 1: keys.T @ keys / n}, 4 * n, {"from": "noise"})


@pytest.fixture(scope="module")
def llama(easyeditor: environment.Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(easyeditor, save_tiny("llama", tmp_path_factory.mktemp("llama") / "tiny-llama"))
    yield place
    place.worker.close()


@pytest.fixture(scope="module")
def gpt2(easyeditor: environment.Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(easyeditor, save_tiny("gpt2", tmp_path_factory.mktemp("gpt2") / "tiny-gpt2"))
    yield place
    place.worker.close()


def cosine(a: Update, b: Update, name: str) -> float:
    return torch.cosine_similarity(a.dense(name).flatten().double(), b.dense(name).flatten().double(), 0).item()


def same(a: Update, b: Update) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a.dense(name), b.dense(name)) for name in a)


@pytest.mark.parametrize("method", ["ROME", "MEMIT"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_with_the_same_prefixes_and_covariance_it_is_our_update(
    method: str, family: str, request: pytest.FixtureRequest
) -> None:
    place: Place = request.getfixturevalue(family)
    covariance = place.covariance() if method == "MEMIT" else None
    ours = editors.create(method.lower(), place.model, SHORT[method], TEMPLATES, covariance)
    facts = FACTS if method == "MEMIT" else FACTS[:1]
    theirs, expected = place.editor(method).compute(place.model, facts), ours.compute(place.model, facts)
    assert theirs.keys() == expected.keys()
    for name in expected:
        assert cosine(theirs, expected, name) > 0.9999
        assert theirs.dense(name).norm().item() == pytest.approx(expected.dense(name).norm().item(), rel=1e-3)
        assert isinstance(theirs[name], LowRank)
        assert theirs[name].rank == len(facts)


@pytest.mark.parametrize("method", ["ROME", "KN", "FT", "LoRA"])
def test_the_model_is_untouched_and_what_was_edited_before_counts(llama: Place, method: str) -> None:
    model, editor = llama.model, llama.editor(method)
    before = {name: p.detach().clone() for name, p in model.hf.named_parameters()}
    first = editor.compute(model, FACTS[:1])
    assert all(torch.equal(before[name], p) for name, p in model.hf.named_parameters())
    with model.edited(first):
        second = editor.compute(model, FACTS[1:])
    assert not same(second, editor.compute(model, FACTS[1:]))
    assert first.provenance["editor"]["easyeditor"] == environment.VERSION
    assert first.provenance["took"]["seconds"] > 0


def test_fine_tuning_and_lora_change_several_matrices(llama: Place) -> None:
    tuned = llama.editor("FT").compute(llama.model, FACTS)
    assert len(tuned) == 6  # gate, up and down of two layers
    assert all(isinstance(entry, Dense) for entry in tuned.values())
    lora = llama.editor("LoRA").compute(llama.model, FACTS)
    assert len(lora) == 6  # q and v of three layers
    assert all(isinstance(entry, LowRank) for entry in lora.values())


def test_nothing_leaks_from_one_operation_into_the_next(llama: Place) -> None:
    plain, other = llama.editor("ROME"), llama.editor("ROME", OTHERS)
    first = plain.compute(llama.model, FACTS[:1])
    between = other.compute(llama.model, FACTS[:1])
    for method in ("MEMIT", "KN", "LoRA"):  # they patch the model and fill the library's caches
        llama.editor(method).compute(llama.model, FACTS[:1])
    assert same(first, plain.compute(llama.model, FACTS[:1]))
    assert not same(first, between)


def test_seeds_are_handed_over(llama: Place) -> None:
    one, again, other = (llama.editor("LoRA", seed=seed).compute(llama.model, FACTS[:1]) for seed in (0, 0, 1))
    assert same(one, again)
    assert not same(one, other)


@pytest.mark.parametrize(
    ("method", "values", "said"),
    [
        ("ROME", {"fact_token": "middle"}, r"^easyeditor:ROME failed inside EasyEdit .*ValueError: .*middle"),
        ("FT", {"learning": 1}, r"EasyEdit has no key 'learning'$"),
    ],
)
def test_a_failure_is_one_line_and_the_worker_goes_on(
    llama: Place, method: str, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said) as error:
        llama.editor(method, **values).compute(llama.model, FACTS[:1])
    assert "\n" not in str(error.value)
    assert llama.editor("KN").compute(llama.model, FACTS[:1])


def test_a_killed_worker_is_one_line_and_the_next_edit_starts_another(llama: Place) -> None:
    editor = llama.editor("KN")
    os.kill(llama.worker.pid, signal.SIGSTOP)  # it dies while it is asked
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {llama.worker.pid}"])
    with pytest.raises(EasyEditorError, match="its worker was killed by signal 9"):
        editor.compute(llama.model, FACTS[:1])
    assert editor.compute(llama.model, FACTS[:1])
    assert editor._worker is not None
    editor._worker.close()


def test_the_worker_ends_with_its_parent(llama: Place, tmp_path: Path) -> None:
    script = f"""
        import os, signal
        from rect.editors.easyeditor import environment
        from rect.editors.easyeditor.process import Worker
        from rect.model import EditableModel
        worker = Worker(environment.find(), EditableModel.load({str(llama.model.folder)!r}, device="cpu"))
        print(worker.pid, worker._folder, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    pid, folder = done.stdout.split()
    assert gone(int(pid))
    assert not Path(folder).exists()


def test_a_model_that_its_environment_does_not_know_is_refused(
    easyeditor: environment.Environment, tmp_path: Path
) -> None:
    model = EditableModel.load(str(save_tiny("qwen3", tmp_path / "tiny")), device="cpu")
    with pytest.raises(InputError, match=r"model type 'qwen3' is unknown to transformers 4\.49\.0"):
        editors.create("easyeditor:FT", model, {"layers": [1]}).compute(model, FACTS[:1])


def test_a_checkout_is_used_in_place_of_the_library(
    easyeditor: environment.Environment, llama: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(easyeditor.package, tmp_path / "EasyEdit" / "easyeditor")
    monkeypatch.setenv("EASYEDITOR_PATH", str(tmp_path / "EasyEdit"))
    worker = Worker(environment.find(), llama.model)
    assert worker.library == str(tmp_path / "EasyEdit" / "easyeditor" / "__init__.py")
    worker.close()


def test_the_benchmark_compares_both(llama: Place, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--device", "cpu", "--facts", "1", "--batch", "2", "--steps", "3"]
    ratios = against_easyeditor.main(["--model", str(llama.model.folder), *options])
    assert set(ratios) == {"rome", "memit"}
    printed = capsys.readouterr().out
    assert len(re.findall(r"cosine at least 0\.9999|cosine at least 1\.0000", printed)) == 2
