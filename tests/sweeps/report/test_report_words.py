"""Of one edited model neither terminal nor page says what holds for others; of three they do, and rightly."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from sweeps.report import gather, webpage
from sweeps.results import tradeoff
from tests.sweeps.synthetic_rows import outputs, sweep

ACROSS = re.compile(
    r"signific|is shown|not shown|\bp [=<]|non-inferiority|\bahead\b|\bbehind\b|\d edited models|\d seeds"
)


def said(seeds: tuple[int, ...]) -> tuple[str, str]:
    """What the terminal and the page say."""
    rows = sweep(seeds=seeds, n=2000)
    made = webpage.Material("x", rows, outputs(rows), tradeoff.tradeoff(rows))
    console = Console(file=io.StringIO(), record=True, width=400)
    gather.show(made, console)
    page = webpage.page_data(made)
    told = [block["sentence"] for part in ("paired", "ranking") for block in page[part]["blocks"]]
    told += [page[part]["note"] for part in ("paired", "ranking")]
    told += re.findall(r'class="finding">(.*?)</p>', webpage.render(made))
    assert told[-1].startswith("rect")
    return console.export_text(), json.dumps(told)


def test_of_one_seed_nothing_is_said_across_models() -> None:
    for text in said((0,)):
        assert not ACROSS.search(text), ACROSS.search(text)
        assert "one edited model" in text.lower()


def test_of_three_seeds_it_is() -> None:
    terminal, page = said((0, 1, 2))
    for text in (terminal, page):
        assert "over 3 edited models" in text
        assert "That it keeps at least 95% is shown (test of non-inferiority, p " in text
        assert "one edited model" not in text.lower()
    assert "RECT is ahead in reliability" in page
    assert "No difference is shown in locality" in page
    assert "It is shown to be ahead of" in page
    found = re.search(r"These rows can tell differences of ([\d.]+) points or more in reliability", page)
    assert found
    assert 0 < float(found[1]) < 20


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_numbers_of_the_page_follow(seeds: tuple[int, ...]) -> None:
    rows = sweep(seeds=seeds)
    page = webpage.page_data(webpage.Material("x", rows, outputs(rows), tradeoff.tradeoff(rows)))
    lines = [line for block in page["paired"]["blocks"] for line in block["lines"]]
    assert {line[7] for line in lines} == {len(seeds)}
    assert all((line[6] is None) == (len(seeds) == 1) for line in lines)
    assert all(line[4] <= line[3] <= line[5] for line in lines)
