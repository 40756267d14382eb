"""What KN and MEND change reaches vLLM: handed the changed tensors, it says what transformers says of the edited model.

Token for token in float32, on a tiny Llama (gate and up are one matrix in vLLM, of which MEND changes both parts) and a
tiny GPT-2 (weights stored the other way round). One engine per family; both start at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rect import editors
from rect.editors.mend.settings import MendSettings
from rect.editors.mend.training import Trainer
from rect.model import EditableModel
from rect.update import Update
from tasks.engines.transformers_engine import TransformersEngine
from tasks.engines.vllm_engine import VLLMEngine
from tests.rect.editors.mend_facts import facts
from tests.tiny import save_tiny

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

FAMILIES = ("llama", "gpt2")
PROMPTS = [fact.filled for fact in facts()[:8]] + [fact.rephrasings[0] for fact in facts()[:8]]
BUDGETS = [(1, 5, 12)[i % 3] for i in range(len(PROMPTS))]


@dataclass
class Place:
    """A model, an engine on it, and what the engine said before any edit."""

    model: EditableModel
    engine: VLLMEngine
    before: list[str]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Path, VLLMEngine]]]:
    folders = {family: save_tiny(family, tmp_path_factory.mktemp(family)) for family in FAMILIES}
    started = {
        family: (folder, VLLMEngine(folder, max_model_len=128, kv_cache_gib=0.25, wait=False))
        for family, folder in folders.items()
    }
    yield started
    for _, engine in started.values():
        engine.close()


@pytest.fixture(params=FAMILIES)
def place(request: pytest.FixtureRequest, engines: dict[str, tuple[Path, VLLMEngine]]) -> Place:
    folder, engine = engines[request.param]
    engine.restore()
    return Place(EditableModel.load(str(folder), "cpu"), engine, engine.generate(PROMPTS, BUDGETS))


def check(place: Place, updates: list[Update], folder: Path) -> None:
    """One edit after the other; after each the engine must agree with transformers on the exported model."""
    said = [place.before]
    for number, update in enumerate(updates):
        place.model.add(update)
        place.engine.load(place.model.changed())
        said.append(place.engine.generate(PROMPTS, BUDGETS))
        with TransformersEngine(place.model.save(folder / str(number)), max_model_len=128) as transformers:
            assert said[-1] == transformers.generate(PROMPTS, BUDGETS)
        assert said[-1] != said[-2]
        assert len(set(said[-1])) >= 3
    place.engine.restore()
    assert place.engine.generate(PROMPTS, BUDGETS) == place.before


def test_kn(place: Place, tmp_path: Path) -> None:
    editor = editors.create("kn", place.model, {"steps": 4})
    first = editor.compute(place.model, facts()[:1])
    with place.model.edited(first):
        second = editor.compute(place.model, facts()[1:2])
    assert len(first) > 0
    check(place, [first, second], tmp_path)


def test_mend(place: Place, tmp_path: Path) -> None:
    settings = {"rank": 8, "blocks": 2, "accumulate": 2, "iterations": 4, "validate_every": 2, "save_every": 2}
    sizes = {"validation": 4, "normalize_over": 8, "lr": 1e-3, "edit_lr": 1e-2}
    list(Trainer(place.model, facts(), MendSettings.model_validate(settings | sizes), tmp_path / "mend").train())
    editor = editors.create("mend", place.model, {"checkpoint": str(tmp_path / "mend")})
    updates = [editor.compute(place.model, facts()[:1]), editor.compute(place.model, facts()[1:6])]
    assert len(updates[0]) == 2 * (len(place.model.architecture.mlp_in) + 1)
    check(place, updates, tmp_path)
