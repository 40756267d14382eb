"""TransformersEngine on another device (`tests/pretended.py`) says what it says on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tasks.engines.likelihood import Likelihood
from tasks.engines.transformers_engine import TransformersEngine
from tests.pretended import DEVICE
from tests.tiny import SENTENCES, save_tiny

BUDGETS = [1 + 4 * (i % 3) for i in range(len(SENTENCES))]
CHOICES = [
    ("The answer is", " yes"),
    ("The answer is", " no"),
    ("Water boils at", " 100 degrees"),
    ("A film was", " bad"),
]
MLP = {"gpt2": "transformer.h.1.mlp.c_proj.weight", "mistral": "model.layers.1.mlp.down_proj.weight"}


@pytest.fixture(scope="module", params=MLP)
def engines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, TransformersEngine, TransformersEngine]]:
    """Rows of unlike length, in layers that see all and in such as see a window."""
    window = {"sliding_window": 8} if request.param == "mistral" else {}
    folder: Path = save_tiny(request.param, tmp_path_factory.mktemp(request.param), **window)
    there, here = (TransformersEngine(folder, device=device) for device in (DEVICE, "cpu"))
    yield MLP[request.param], there, here
    there.close()
    here.close()


def near(there: list[Likelihood], here: list[Likelihood]) -> None:
    assert [one.greedy for one in there] == [one.greedy for one in here]
    assert [one.logprob for one in there] == pytest.approx([one.logprob for one in here], rel=1e-4)


def test_it_generates_and_scores_the_same(engines: tuple[str, TransformersEngine, TransformersEngine]) -> None:
    _, there, here = engines
    assert there.generate(SENTENCES, BUDGETS) == here.generate(SENTENCES, BUDGETS)
    near(there.likelihoods(CHOICES), here.likelihoods(CHOICES))


@pytest.mark.parametrize("where", [DEVICE, "cpu"])
def test_weights_come_from_either_device_and_go_again(
    where: str, engines: tuple[str, TransformersEngine, TransformersEngine]
) -> None:
    name, there, here = engines
    before = here.generate(SENTENCES, 6)
    tensor = here.checkpoint.tensor(name).clone()
    tensor += torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)) * tensor.std()
    there.load({name: tensor.to(where)})
    here.load({name: tensor})
    assert there.generate(SENTENCES, 6) == here.generate(SENTENCES, 6) != before
    there.load({})
    here.load({})
    assert there.generate(SENTENCES, 6) == before
