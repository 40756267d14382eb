"""Generation up to stop strings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.engines.base import until
from tasks.engines.transformers_engine import TransformersEngine
from tests.tiny import SENTENCES, save_tiny


def test_rounds_go_on_for_those_that_have_not_ended() -> None:
    """A text is its prompt counted on; it is over at a multiple of 30."""
    asked: list[list[tuple[int, int]]] = []

    def generate(prompts: list[list[int]], budgets: list[int]) -> list[list[int]]:
        asked.append([(prompt[-1], budget) for prompt, budget in zip(prompts, budgets, strict=True)])
        return [list(range(one[-1] + 1, one[-1] + 1 + budget)) for one, budget in zip(prompts, budgets, strict=True)]

    said = until(generate, [[0], [29], [1]], [100, 100, 20], lambda _, ids: any(i % 30 == 0 for i in ids))
    assert [ids[0] for ids in said] == [1, 30, 2]
    assert [len(ids) for ids in said] == [48, 16, 20]
    assert asked == [[(0, 16), (29, 16), (1, 16)], [(16, 32), (17, 4)]]
    assert until(generate, [], [], lambda *_: True) == []


def test_an_engine_says_in_rounds_what_it_says_at_once(tmp_path: Path) -> None:
    with TransformersEngine(save_tiny("llama", tmp_path)) as engine:
        prompts = engine.texts.encode(list(SENTENCES))
        whole = engine._generate(prompts, [60] * len(prompts))
        assert engine.generate_ids(prompts, [60] * len(prompts)) == whole
        ends = [ids[min(20, len(ids) - 1)] for ids in whole]
        found = engine.generate_ids(prompts, [60] * len(prompts), lambda i, ids: ends[i] in ids)
        for some, ids, end in zip(found, whole, ends, strict=True):
            assert end in some
            assert some == ids[: len(some)]
        assert found != whole


def test_a_text_that_is_over_is_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is looked for in what is said, not in the prompt."""
    asked: list[int] = []
    generate = TransformersEngine._generate

    def counted(self: TransformersEngine, prompts: list[list[int]], budgets: list[int]) -> list[list[int]]:
        asked.append(len(prompts))
        return generate(self, prompts, budgets)

    with TransformersEngine(save_tiny("llama", tmp_path)) as engine:
        prompts = list(SENTENCES)
        whole = engine.generate(prompts, 60)
        letter = max(set("".join(whole)), key=lambda one: sum(one in text[:20] for text in whole))
        monkeypatch.setattr(TransformersEngine, "_generate", counted)
        found = engine.generate(prompts, 60, lambda text: letter in text)
        early = [letter in text for text in engine.generate(prompts, 16)]
    assert any(early)
    assert asked[:2] == [len(prompts), early.count(False)]
    assert [letter in text for text in found] == [letter in text for text in whole]
    assert any(len(some) < len(text) for some, text in zip(found, whole, strict=True))
    for some, text in zip(found, whole, strict=True):
        assert text.startswith(some.rstrip("\N{REPLACEMENT CHARACTER}"))
