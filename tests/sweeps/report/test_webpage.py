"""report.html: what it says, that nothing in it can break out, that it stays small."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from sweeps.report import examples as page_examples
from sweeps.report import webpage
from sweeps.report.webpage import Material
from sweeps.results import curves, tradeoff
from tests.sweeps.results import test_ability
from tests.sweeps.synthetic_rows import outputs, row, sweep, unedited

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


def material(rows: pd.DataFrame, generations: pd.DataFrame | None = None, **more: object) -> Material:
    generated = outputs(rows) if generations is None else generations
    return Material(name="demo", rows=rows, outputs=generated, table=tradeoff.tradeoff(rows), **more)  # type: ignore[arg-type]


def embedded(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found.group(1))


def test_page_is_whole_small_and_fetches_nothing() -> None:
    page = webpage.render(material(sweep()))
    assert len(page.encode()) < 6_000_000
    assert page.count("plotly.js v") == 1  # embedded once
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=[\"']?(https?:)?//", page)
    assert "default-src 'none'" in page
    data = embedded(page)
    assert len(data["cells"]) == 6
    assert data["tasks"] == tradeoff.task_names(sweep())
    assert {"reasoning/score", "perplexity", "locality/token_accuracy"} <= set(data["curves"]["names"])


def test_texts_cannot_break_out() -> None:
    rows = sweep(tasks=("sentiment",)).replace({"model": {"smollm2-135m": EVIL}})
    generated = outputs(rows).assign(prompt=EVIL, output=EVIL, gold=json.dumps(EVIL))
    page = webpage.render(
        material(
            rows,
            generated,
            failed=[(EVIL, EVIL)],
            missing=[(EVIL, EVIL)],
            environments=[{"host": EVIL}],
            config=EVIL,
            command=EVIL,
        )
    )
    assert EVIL not in page
    assert "<img src=x" not in page
    data = embedded(page)  # and it is still JSON with the text as it was
    assert data["examples"]["prompts"]["sentiment"]["0"] == [EVIL, EVIL]


def test_data_has_no_nan() -> None:
    rows = sweep()
    rows.loc[rows["name"] == "perplexity", "value"] = float("inf")
    data = embedded(webpage.render(material(rows)))
    json.dumps(data, allow_nan=False)
    index = data["columns"].index("perplexity")
    assert {line[index] for line in data["cells"]} == {None, "Infinity"}


def test_reasons_are_told_once() -> None:
    table = tradeoff.tradeoff(sweep(n=200))
    found = dict(webpage.reasons(table))
    (silent,) = [reason for reason in found if "cannot tell" in reason]  # one line for all tasks
    assert found[silent] == len(table)
    assert silent.startswith("2 of 8 tasks cannot tell what is kept: dialogue (unedited 0.")


def test_the_page_opens_on_what_can_tell() -> None:
    rows = test_ability.rows({"none": test_ability.MORE, "rect-20": test_ability.LESS})
    assert webpage.page_data(material(rows))["ability"] == "drift"
    lost = test_ability.rows({"none": test_ability.MORE, "rect-20": test_ability.LESS}, {"none": 0.5, "rect-20": 0.7})
    assert webpage.page_data(material(lost))["ability"] == "task_retention"
    page = webpage.render(material(rows, remarks=["a remark"]))
    assert page.index('id="headline"') < page.index('id="tradeoff"') < page.index('id="remarks"')


def test_facts_show_when_they_were_lost() -> None:
    name = "reliability/token_accuracy/fact-"
    lines = [
        row("c", 1, "edit", name + "0", 1.0),
        row("c", 2, "edit", name + "0", 0.5),
        row("c", 2, "edit", name + "2", 1.0),
    ]
    rows = pd.DataFrame([row("base", 0, "task", "ner/score", 0.5, **unedited()), *lines])
    assert webpage.page_data(material(rows))["facts"] == {
        "c": {"points": [1, 2], "values": [[1.0, 0.5], [None, None], [None, 1.0]]}
    }


def test_examples_keep_to_their_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sweep(models=("a", "b"), tasks=("nli",), n=10_000)
    whole = webpage.page_data(material(rows))["examples"]
    assert len(whole["outputs"]) == 12
    assert whole["left_out"] == 0
    assert whole["outputs"]["a-unedited"]["nli"]["0"] == [" positive", 1.0]
    assert whole["prompts"]["nli"]["2"][1] == "positive"
    monkeypatch.setattr(page_examples, "CHARACTERS", 1700)
    cut = webpage.page_data(material(rows))["examples"]
    assert 3 < len(cut["outputs"]) < 8
    assert cut["left_out"] == 12 - len(cut["outputs"])
    assert {"a-unedited", "b-unedited", "a-none-nan-0", "b-none-nan-0"} <= set(cut["outputs"])
    assert not {"a-random-40-0", "b-random-40-0"} & set(cut["outputs"])


def test_nothing_at_all_is_a_page_too() -> None:
    rows = sweep().iloc[:0]
    page = webpage.render(material(rows, missing=[("a cell", "no result")], planned=3))
    assert "There are no results yet." in page
    assert "a cell" in page


@pytest.mark.parametrize(
    ("gold", "shown"),
    [
        ('"yes"', "yes"),
        ('["Paris", "the city"]', "Paris, the city"),
        ("3", "3"),
        ('{"a": [1]}', '{"a": [1]}'),
        ("not json", "not json"),
    ],
)
def test_gold_is_readable(gold: str, shown: str) -> None:
    assert page_examples._gold(gold) == shown


def test_flat() -> None:
    nested = {
        "python": "3.11",
        "packages": {"torch": "2"},
        "gpus": [],
        "command": ["a", "b"],
        "hosts": [{"cpus": 2}],
        "x": None,
    }
    assert webpage.flat(nested) == [
        ("python", "3.11"),
        ("packages.torch", "2"),
        ("gpus", ""),
        ("command", "a, b"),
        ("hosts.0.cpus", "2"),
        ("x", ""),
    ]


def test_curves_are_packed_without_loss() -> None:
    rows = sweep(seeds=(0, 1), ks=(20,), tasks=("ner", "nli"))
    packed = webpage.page_data(material(rows))["curves"]
    points = curves.curves(rows)
    groups = points.groupby(["regularizer", "k", "name"], dropna=False)
    assert len(packed["lines"]) == len(groups)
    for group, name, edits, mean, half, seeds in packed["lines"]:
        of = dict(zip(packed["ids"], packed["groups"][group], strict=True))
        same_k = points["k"].isna() if of["k"] is None else points["k"] == of["k"]
        found = points[
            (points["regularizer"] == of["regularizer"]) & same_k & (points["name"] == packed["names"][name])
        ]
        assert packed["edits"][edits] == tuple(found["n_edits"])
        assert mean == pytest.approx(list(found["mean"]), rel=1e-4)
        wanted = found["high"] - found["mean"]
        assert [v for v in half if v is not None] == pytest.approx(list(wanted.dropna()), rel=1e-2, abs=1e-9)
        assert seeds == 2
    alone = webpage.page_data(material(sweep(ks=(20,), tasks=("ner",))))["curves"]
    assert {line[5] for line in alone["lines"]} == {1}
