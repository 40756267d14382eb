"""Edits that destroy the model: said of the unregularized edits, at their first checkpoint, from the rows alone."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from sweeps.report import webpage
from sweeps.results import collateral, tradeoff
from tests.sweeps.synthetic_rows import row, unedited

PUBLISHED = [  # Gemma 3 270M, one ROME edit: unedited, after, whether the edit destroyed it
    (33.0, 33.2, False),
    (33.0, 35.2, False),
    (33.0, 54.0, True),
    (33.0, 67.0, True),
    (33.0, 188.0, True),
]


def rows(after: float, drift: float = 0.01, n_edits: int = 1, **more: Any) -> list[dict[str, Any]]:
    """An unedited cell, and one of edits with a first and a last checkpoint; the last is always bad."""
    base = [row("u", 0, "ability", "perplexity", 33.0, **unedited())]
    base += [row("u", 0, "ability", "drift", 0.0, **unedited())]
    for n, value, moved in ((n_edits, after, drift), (n_edits + 50, 1e9, 20.0)):
        base += [
            row("c", n, "ability", "perplexity", value, **more),
            row("c", n, "ability", "drift", moved, **more),
            row("c", n, "weights", "model.layers.3.mlp.down_proj.weight/manhattan", 1.0, **more),
            row("c", n, "weights", "model.layers.17.mlp.down_proj.weight/manhattan", 1.0, **more),
        ]
    return base


@pytest.mark.parametrize(("before", "after", "destroyed"), PUBLISHED)
def test_the_bound_divides_what_was_measured(before: float, after: float, destroyed: bool) -> None:
    assert collateral.too_far(before, after, 0.0) == destroyed
    assert bool(collateral.found(pd.DataFrame(rows(after)))) == destroyed


def test_the_line_names_what_is_at_fault() -> None:
    [line] = collateral.found(pd.DataFrame(rows(188.0, 1.9)))
    assert line.startswith(
        "m, rome, instance-sequential, layers 3, 17: perplexity 33 to 188 (5.7 times), drift 1.9 nats, after 1 edit. "
    )
    assert "not the regularizer" in line
    assert "`sweeps covariance`" in line
    [line] = collateral.found(pd.DataFrame(rows(188.0, method="mend")))
    assert "covariance" not in line


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"after": 33.2, "drift": 0.5}, True),  # the likeliest tokens of neutral text are not all
        ({"after": math.inf}, True),
        ({"after": 60.0, "n_edits": 10}, False),  # ten edits may move it more
        ({"after": 60.0, "batch_size": 10}, False),
        ({"after": 90.0, "n_edits": 10}, True),
        ({"after": 188.0, "regularizer": "rect", "k": 40.0}, False),  # that is the regularizer's affair
        ({"after": 188.0, "model": "another"}, False),  # its unedited model is not there to compare with
        ({"after": 20.0}, False),
    ],
)
def test_only_edits_alone_are_judged_by_their_number(given: dict[str, Any], said: bool) -> None:
    assert bool(collateral.found(pd.DataFrame(rows(**given)))) == said


def test_nothing_is_said_of_rows_without_perplexity() -> None:
    lines = [line for line in rows(188.0) if line["kind"] == "weights"]
    assert collateral.found(pd.DataFrame(lines)) == []
    assert collateral.found(pd.DataFrame(rows(188.0)).iloc[:0]) == []


def test_the_page_says_it_where_it_is_so_and_is_silent_elsewhere() -> None:
    for after, there in ((188.0, True), (33.2, False)):
        frame = pd.DataFrame(rows(after))
        page = webpage.render(
            webpage.Material("x", frame, pd.DataFrame(columns=["cell", "output", "n_edits"]), tradeoff.tradeoff(frame))
        )
        assert ("not the regularizer" in page) == there
        assert ('id="collateral"' in page) == there
