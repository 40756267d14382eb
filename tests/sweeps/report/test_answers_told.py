"""The report on free generation: the shares beside each other, tau, and answers beside those of the unedited model."""

from __future__ import annotations

import io
import json

import pandas as pd
from rich.console import Console

from sweeps.report import answers, gather, webpage
from sweeps.report.webpage import Material
from sweeps.results import tradeoff
from tests.sweeps.results import test_answered
from tests.sweeps.synthetic_rows import row, unedited

EVIL = "<img src=x onerror=alert(1)>"


def rows() -> pd.DataFrame:
    lines = [row("base", 0, "ability", "perplexity", 30.0, **unedited())]
    lines += test_answered.rows()
    lines += [line | {"method": "memit"} for line in test_answered.rows("d", contains=(0.0, 1.0, 1.0, 1.0, 1.0))]
    return pd.DataFrame(lines)


def said(cell: str, index: int, prompt: str, output: str, before: str, **gold: object) -> dict[str, object]:
    told = {"kind": "reliability", "answers": ["Rome", "Roma"], "before": before} | gold
    return {
        "cell": cell,
        "n_edits": 5,
        "task": "metric generation",
        "index": index,
        "prompt": prompt,
        "output": output,
        "gold": json.dumps(told),
        "score": 1.0,
        "evaluation": "generation",
        "unit": "fact-0",
        "numerator": float("nan"),
        "denominator": float("nan"),
    }


OUTPUTS = pd.DataFrame([
    said("c", 0, "Anna lives in", "Rome", "Paris"),
    said("c", 1, "The sun is", EVIL, "a star", kind="locality", answers=[]),
    said("d", 0, "Anna lives in", "Roma", "Paris"),
    said("d", 1, "another edit set's", "Bern", "Basel"),
])  # fmt: skip


def material() -> Material:
    return Material(name="demo", rows=rows(), outputs=OUTPUTS, table=tradeoff.tradeoff(rows()))


def test_shares_stand_beside_each_other() -> None:
    table = tradeoff.tradeoff(rows())
    (section,) = answers.beside(rows(), table)
    assert section["title"] == "m, instance-sequential, after 5 edits: reliability by generation"
    assert section["sentence"] == (
        "Most is lost of rome none: 80% of its edits count under teacher forcing, 60% when the model answers, and 40% "
        "by the first alone."
    )
    lines = {line[0]: line[1:] for line in section["lines"]}
    assert lines["rome none"] == ["80%", "60%", "20%", "20%", "20%", "40% (0% to 100%)", "60%", "5"]
    assert lines["memit none"][:2] == ["80%", "80%"]
    nothing = rows()
    nothing.loc[nothing["name"].str.startswith("generation/reliability/contains/"), "value"] = 1.0
    (section,) = answers.beside(nothing, tradeoff.tradeoff(nothing))
    assert section["sentence"] == "No edit counts under teacher forcing alone."


def test_tau_is_told_with_how_sure_it_is() -> None:
    (section,) = answers.alike(tradeoff.tradeoff(rows()))
    assert section["title"] == "m, instance-sequential, after 5 edits"
    assert section["sentence"] == "3 of 3 pairs of metrics cannot be compared: all are level in one of them."
    assert section["lines"] == []
    (section,) = answers.alike(tradeoff.tradeoff(pd.concat([rows(), _again(1)])))
    assert "Of one edited model each" in section["sentence"]
    assert section["lines"] == [["reliability token accuracy", "generation reliability contains", "-1.00", "1", "2"]]
    (section,) = answers.alike(tradeoff.tradeoff(pd.concat([rows(), *(_again(seed) for seed in (1, 2, 3))])))
    assert "Brackets: 95% interval over 3 edited models each." in section["sentence"]
    assert section["lines"][0][2:] == ["-0.33 (-1.00 to +1.00)", "3", "2"]


def _again(seed: int) -> pd.DataFrame:
    """The same with another seed, rome ahead of memit under teacher forcing in every second."""
    found = rows().query("setting != 'unedited'").assign(seed=seed)
    found["cell"] += str(seed)
    forced = found["name"].eq("reliability/token_accuracy") & found["method"].eq("rome" if seed % 2 else "memit")
    found.loc[forced, "value"] = 0.95
    return found


def test_answers_are_shown_beside_the_unedited_ones() -> None:
    data = webpage.page_data(material())["examples"]
    assert data["prompts"]["metric generation"]["0"] == ["Anna lives in", "Rome or Roma (reliability)"]
    assert data["prompts"]["metric generation"]["1"][1] == "as before the edit (locality)"
    assert data["outputs"]["base"]["metric generation"] == {"0": ["Paris", None], "1": ["a star", None]}
    assert data["outputs"]["c"]["metric generation"] == {"0": ["Rome", 1.0], "1": [EVIL, 1.0]}
    assert data["outputs"]["d"]["metric generation"] == {"0": ["Roma", 1.0]}  # the other stands under another prompt


def test_the_page_has_both_sections_or_neither() -> None:
    page = webpage.render(material())
    assert 'id="answers"' in page
    assert 'id="agreement"' in page
    assert EVIL not in page
    plain = rows().query("not name.str.startswith('generation/')")
    page = webpage.render(Material(name="demo", rows=plain, outputs=OUTPUTS[:0], table=tradeoff.tradeoff(plain)))
    assert 'id="answers"' not in page


def test_the_terminal_says_what_is_lost() -> None:
    console = Console(file=io.StringIO(), width=300)
    gather.show(material(), console)
    assert "reliability by generation: Most is lost of rome none: 80% of its edits" in console.file.getvalue()  # type: ignore[attr-defined]
