"""`sweeps covariance`: what it leaves is what a sweep looks for, however many workers computed it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch
from rich.console import Console
from typer.testing import CliRunner

from modelfolder.errors import InputError
from rect import covariance, models
from rect.corpus import Corpus
from rect.covariance import Covariance, Recipe
from rect.editors import hyperparameters
from rect.editors.memit import MemitHparams
from rect.model import EditableModel
from sweeps.commands import app
from sweeps.commands import covariance as work
from sweeps.config.config import validate
from sweeps.plan.identity import covariance_recipe
from sweeps.run import covariance_shares
from tests.tiny import SENTENCES, save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECT_SWEEPS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(SENTENCES * 40))
    return path


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def compute(recipe: Recipe, layers: tuple[int, ...] | None = None) -> tuple[Path, str]:
    shown = io.StringIO()
    return work.compute(recipe, Console(file=shown, width=200), layers), shown.getvalue()


def test_workers_give_the_bits_of_one_process(folder: Path, text: Path, local_ray: None) -> None:
    recipe = Recipe(str(folder), Corpus(str(text)), 3000, window=64, cap=256)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each of Ray's tasks has
    try:
        alone = covariance.collect(EditableModel.load(str(folder), "cpu"), recipe, [0, 1])
    finally:
        torch.set_num_threads(threads)
    together = covariance_shares.sharded(recipe, [0, 1], workers=2, device="cpu")
    assert together.tokens == alone.tokens >= 3000
    assert all(torch.equal(together.matrix(layer), alone.matrix(layer)) for layer in (0, 1))
    with pytest.raises(InputError, match=r"^--layers: .* has layers 0 to 2, not 7$"):
        covariance_shares.sharded(recipe, [7], workers=2, device="cpu")


def test_a_sweep_finds_what_the_command_left(folder: Path, text: Path) -> None:
    arguments = ["covariance", "--model", str(folder), "--corpus", str(text), "--layers", "0-1", "--tokens", "2000"]
    result = CliRunner().invoke(app.app, arguments)
    assert result.exit_code == 0, result.output
    config = validate(
        {
            "name": "small",
            "models": [str(folder)],
            "methods": [{"name": "memit", "covariance": {"corpus": str(text), "tokens": 2000}}],
            "settings": [{"kind": "batch-single", "batch_sizes": [2]}],
        },
        "small.yaml",
    )
    recipe = covariance_recipe(config.models[0], config.methods[0], models.content(str(folder)))
    assert recipe.missing([0, 1]) == []
    assert Covariance.load(recipe.folder()).tokens >= 2000


def test_what_is_there_is_not_computed_again(folder: Path, text: Path) -> None:
    recipe = Recipe(str(folder), Corpus(str(text)), 1000).on(EditableModel.load(str(folder), "cpu"))
    compute(recipe, (1,))
    kept = (recipe.folder() / "layer-1.safetensors").stat()
    _, shown = compute(recipe, (0, 1))
    assert "layers [1]: were there already" in shown
    assert (recipe.folder() / "layer-1.safetensors").stat() == kept
    assert recipe.missing([0, 1]) == []


def test_default_layers_are_memits(folder: Path, text: Path) -> None:
    recipe = Recipe(str(folder), Corpus(str(text)), 1000)
    compute(recipe)
    model = EditableModel.load(str(folder), "cpu")
    layers = hyperparameters.resolve(MemitHparams, None, model).layers
    assert layers
    assert recipe.on(model).missing(layers) == []


@pytest.mark.parametrize(("text", "layers"), [("5", (5,)), ("13-17", (13, 14, 15, 16, 17)), ("2, 0-1,2", (2, 0, 1))])
def test_layers(text: str, layers: tuple[int, ...]) -> None:
    assert work.parse_layers(text) == layers


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-1"])
def test_layers_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="is not a layer or a range"):
        work.parse_layers(text)


def test_bad_input_is_named(folder: Path, text: Path) -> None:
    recipe = Recipe(str(folder), Corpus(str(text)), 1000)
    with pytest.raises(InputError, match="has layers 0 to 2, not 9"):
        compute(recipe, (9,))
    with pytest.raises(InputError, match="no-such-model"):
        compute(Recipe("no-such-model", Corpus(str(text))), (0,))
    with pytest.raises(InputError, match="cannot read the text"):
        compute(Recipe(str(folder), Corpus("absent.txt")), (0,))
