"""Generation up to stop strings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.engines.stopping import before_stop, until
from tasks.engines.transformers_engine import TransformersEngine
from tests.tiny import SENTENCES, save_tiny


@pytest.mark.parametrize(
    ("text", "stops", "left"),
    [
        ("a b c", ["b"], "a "),
        ("a b c", ["c", "b"], "a "),
        ("a b c", ["x"], "a b c"),
        ("a b c", [], "a b c"),
        ("a b c", [""], "a b c"),
        ("b", ["b"], ""),
    ],
)
def test_before_stop(text: str, stops: list[str], left: str) -> None:
    assert before_stop(text, stops) == left


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


def test_an_engine_stops_where_a_cut_of_its_whole_text_ends(tmp_path: Path) -> None:
    with TransformersEngine(save_tiny("llama", tmp_path)) as engine:
        prompts = list(SENTENCES)
        whole = engine.generate(prompts, 60)
        stops = [[text[20:23], "never said"] if len(text) > 30 else ["never said"] for text in whole]
        assert any(stop[0] != "never said" for stop in stops)
        found = engine.generate_until(prompts, 60, stops)
        assert found == [before_stop(text, stop) for text, stop in zip(whole, stops, strict=True)]
        assert found != whole
