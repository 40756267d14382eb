"""report.html in a real browser, opened from disk: no error, no request, every control does what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from sweeps.report import webpage
from sweeps.results import tradeoff
from tests.sweeps.report import browser
from tests.sweeps.synthetic_rows import outputs, row, sweep, unedited

READY = "document.documentElement.dataset.ready === 'yes'"
BROKEN = "gpt2-random-40-0"  # its perplexity
CELLS = 2 * (1 + 5 * 2)  # models x (unedited + regularizers x seeds)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.find() is None, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = sweep(models=("gpt2", "llama"), seeds=(0, 1), ks=(20, 40, 80))
    text = [row(f"{m}-unedited", 0, "ability", "perplexity", 31.8, **unedited(model=m)) for m in ("gpt2", "llama")]
    rows = pd.concat([rows, pd.DataFrame(text)], ignore_index=True)
    rows.loc[(rows["cell"] == BROKEN) & (rows["name"] == "perplexity"), "value"] = 3e32
    made = webpage.Material(
        "demo", rows, outputs(rows, 10), tradeoff.tradeoff(rows), failed=[("a cell", "out of memory")]
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(webpage.render(made), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tab(page: Path) -> Iterator[browser.Browser]:
    with browser.Browser() as opened:
        opened.open(page, READY)
        yield opened
        assert opened.errors() == []
        assert opened.requests() == [page.as_uri()]


def send(tab: browser.Browser, control: str, value: str, event: str) -> None:
    change = f"node.value = {value!r}; node.dispatchEvent(new Event('{event}'))"
    tab.run(f"var node = document.getElementById('{control}'); {change}")


def choose(tab: browser.Browser, control: str, value: str) -> None:
    send(tab, control, value, "change")


def first_column(tab: browser.Browser) -> list[str]:
    return tab.run("[...document.querySelectorAll('#table tbody tr')].map(r => r.cells[0].textContent)")


def column(tab: browser.Browser, title: str) -> list[str]:
    return tab.run(
        f"var i = [...document.querySelectorAll('#table th')].findIndex(h => h.textContent.startsWith({title!r}));"
        "[...document.querySelectorAll('#table tbody tr')].map(r => r.cells[i].textContent)"
    )


def test_texts_of_models_stay_texts(tab: browser.Browser) -> None:
    assert tab.run("document.title") == "demo: editing against general ability"
    assert tab.run("document.querySelectorAll('#example-list img, #example-list script').length") == 0
    assert "<script>document.title='broken'</script>" in tab.run("document.getElementById('example-list').textContent")


def test_one_point_per_cell_and_hover_names_it(tab: browser.Browser) -> None:
    assert len(first_column(tab)) == CELLS
    points = "document.querySelectorAll('#scatter .scatterlayer .point')"
    assert tab.run(f"{points}.length") == CELLS - 2  # the unedited models are lines
    tab.run("document.getElementById('scatter').scrollIntoView()")
    x, y = tab.run(f"var r = {points}[0].getBoundingClientRect(); [r.x + r.width / 2, r.y + r.height / 2]")
    tab.hover(x, y)
    told = tab.run("document.querySelector('#scatter .hoverlayer').textContent")
    assert "reliability" in told
    assert "instance-sequential" in told


def test_filter_changes_points_curves_and_table(tab: browser.Browser) -> None:
    def lines() -> int:
        return tab.run("document.querySelectorAll('[id=\"curve-nli/score\"] .js-line').length")

    before = lines()
    choose(tab, "filter-model", "llama")
    assert len(first_column(tab)) == CELLS // 2
    assert tab.run("document.querySelectorAll('#scatter .scatterlayer .point').length") == CELLS // 2 - 1
    assert lines() == before // 2
    choose(tab, "filter-model", "")


def test_metric_changes_the_curves(tab: browser.Browser) -> None:
    choose(tab, "curve-metric", "answered")
    assert tab.run("document.querySelectorAll('[id=\"curve-nli/answered\"] .js-line').length") > 0
    assert tab.run("document.getElementById('curve-nli/score')") is None
    choose(tab, "curve-metric", "score")


def test_a_broken_model_leaves_the_perplexities_of_others_apart(tab: browser.Browser) -> None:
    """On a linear axis all but the broken one would stand at the same height."""

    def heights(marks: str) -> set[int]:
        centres = "(r => Math.round(r.y + r.height / 2))(m.getBoundingClientRect())"
        return set(tab.run(f"[...document.querySelectorAll('{marks}')].map(m => {centres})"))

    choose(tab, "filter-model", "gpt2")
    assert len(heights("#curve-perplexity .point")) > 3
    kept = tab.run("document.getElementById('scatter-y').value")
    choose(tab, "scatter-y", "perplexity")
    points, (line,) = heights("#scatter .scatterlayer .point"), heights("#scatter .shapelayer path")
    assert len(points) > 3
    assert min(points) - 40 <= line <= min(points)  # up is better: the unedited model is the best, and not far above
    (word,) = heights("#scatter .annotation")
    assert line - 30 < word < line
    assert "3.0e+32" in column(tab, "perplexity")
    choose(tab, "scatter-y", kept)
    (line,) = heights("#scatter .shapelayer path")  # of the tasks more is better
    assert line <= min(heights("#scatter .scatterlayer .point"))
    choose(tab, "filter-model", "")


def test_heat_map_has_a_line_per_regularizer_and_follows_the_filters(tab: browser.Browser) -> None:
    def lines() -> list[str]:
        return tab.run("document.getElementById('heat').data[0].y")

    assert len(lines()) == 2 * (1 + 5)  # seeds are averaged
    assert tab.run("document.querySelectorAll('#heat .heatmaplayer image').length") == 1
    values = tab.run("document.getElementById('heat').data[0].z")
    columns = tab.run("document.getElementById('heat').data[0].x")
    unedited = values[lines().index("gpt2 · unedited")]
    assert unedited[columns.index("summarization")] == pytest.approx(0.125, abs=0.04)
    choose(tab, "heat-metric", "retention")
    kept = tab.run("document.getElementById('heat').data[0].text")[lines().index("gpt2 · unedited")]
    assert kept[columns.index("summarization")] == "100%"
    choose(tab, "filter-model", "llama")
    assert len(lines()) == 1 + 5
    assert lines()[0] == "unedited"  # the model is said where there are several
    choose(tab, "filter-model", "")
    choose(tab, "heat-metric", "score")


def test_comparisons_and_ranking_follow_the_filters(tab: browser.Browser) -> None:
    def titles(section: str) -> list[str]:
        return tab.run(f"[...document.querySelectorAll('#{section}-list h3')].map(h => h.textContent)")

    assert sum(title.endswith("rect 40 against random 40") for title in titles("paired")) == 2
    assert sum(title.endswith("not compared") for title in titles("paired")) == 2  # rect 20 and 80 have no counterpart
    lines = "document.querySelectorAll('#paired-list article:first-child tbody tr').length"
    assert tab.run(lines) == 4 + 8  # editing three times, all tasks, each task
    assert len(titles("ranking")) == 2
    assert tab.run("document.querySelectorAll('#ranking-list article:first-child tbody tr').length") == 5
    choose(tab, "filter-model", "llama")
    assert all(title.startswith("llama") for title in [*titles("paired"), *titles("ranking")])
    assert len(titles("ranking")) == 1
    choose(tab, "filter-model", "")


def test_facts_that_were_lost_are_named(tab: browser.Browser) -> None:
    """The made-up facts are rarely whole: what the sentence says agrees with the map below it."""
    said = tab.run("document.getElementById('fact-note').textContent")
    assert re.match(r"After 6 edits \d of 4 facts hold\. ", said)
    last = tab.run("[...document.querySelectorAll('#fact-map tbody tr')].map(r => r.cells[2].className)")
    assert said.startswith(f"After 6 edits {last.count('held')} of 4")
    assert len(tab.run("[...document.querySelectorAll('#kept tbody tr')].map(r => r.textContent)")) == CELLS - 2


def test_a_large_sweep_is_drawn_piece_by_piece(tmp_path: Path) -> None:
    """Over 300 cells: what is on the screen follows a filter at once, the rest when nothing else waits."""
    rows = sweep(models=("a", "b", "c"), seeds=tuple(range(34)), ks=(40,), tasks=("ner",), facts=1)
    seen = outputs(rows[(rows["model"] == "a") & (rows["seed"] < 2)], 2)
    made = webpage.Material("large", rows, seen, tradeoff.tradeoff(rows))
    path = tmp_path / "report.html"
    path.write_text(webpage.render(made), encoding="utf-8")
    with browser.Browser(height=120) as tab:  # nothing but the title is on the screen: the scatter too is drawn later
        tab.open(path, READY)
        other = tab.run("[...document.getElementById('example-b').options].map(o => o.value)")[-1]
        assert tab.run("document.getElementById('example-b').value") != other
        tab.run(f"document.getElementById('scatter').emit('plotly_click', {{points: [{{customdata: {other!r}}}]}})")
        assert tab.run("document.getElementById('example-b').value") == other
        choose(tab, "filter-model", "b")
        wait = f"new Promise(done => (function look() {{ if ({READY}) done(); else setTimeout(look, 20); }})())"
        tab.run(wait)
        assert tab.run("document.getElementById('table-count').textContent") == f"{1 + 3 * 34} cells"
        assert len(tab.run("document.getElementById('heat').data[0].y")) == 1 + 3
        assert tab.run("document.querySelectorAll('[id=\"curve-ner/score\"] .js-line').length") == 3
        assert tab.errors() == []


def test_legend_hides_a_regularizer(tab: browser.Browser) -> None:
    tab.run("[...document.querySelectorAll('#legend button')].find(b => b.textContent === 'random 40').click()")
    assert "random 40" not in first_column(tab)
    tab.run("[...document.querySelectorAll('#legend button')].find(b => b.textContent === 'random 40').click()")
    assert "random 40" in first_column(tab)


def test_table_sorts_and_finds(tab: browser.Browser) -> None:
    click = (
        "[...document.querySelectorAll('#table th button')].find(b => b.textContent.startsWith('reliability')).click()"
    )
    tab.run(click)
    down = column(tab, "reliability")
    numbers = [float(v) for v in down if v != "–"]
    assert numbers == sorted(numbers, reverse=True)
    assert down[-2:] == ["–", "–"]  # missing values last
    tab.run(click)
    up = column(tab, "reliability")
    assert [float(v) for v in up if v != "–"] == sorted(numbers)
    assert up[-2:] == ["–", "–"]
    send(tab, "find", "llama rect 40", "input")
    assert first_column(tab) == ["rect 40", "rect 40"]
    tab.run(
        "(() => { const f = document.getElementById('find'); f.value = ''; f.dispatchEvent(new Event('input')); })()"
    )


def test_all_columns(tab: browser.Browser) -> None:
    count = "document.querySelectorAll('#table th').length"
    few = tab.run(count)
    tab.run("document.getElementById('wide').click()")
    assert tab.run(count) > few + 20
    assert "ner retention" in tab.run("document.querySelector('#table thead').textContent")
    tab.run("document.getElementById('wide').click()")


def test_examples_follow_the_selectors(tab: browser.Browser) -> None:
    choose(tab, "example-task", "ner")
    text = tab.run("document.getElementById('example-list').textContent")
    assert "A ner prompt" in text
    assert "A nli prompt" not in text
    sides = "[...document.querySelectorAll('#example-list .example:first-child h4')].map(h => h.textContent)"
    assert [side.split(",")[0] for side in tab.run(sides)] == ["unedited ✓", "none", "rect 40"]
    choose(tab, "example-b", "gpt2-random-40-0")
    assert tab.run(sides)[2].startswith("random 40")


def test_print_has_everything(page: Path, tmp_path: Path) -> None:
    with browser.Browser() as fresh:
        fresh.open(page, READY)
        fresh.run("dispatchEvent(new Event('beforeprint'))")
        assert fresh.run("[...document.querySelectorAll('details')].every(d => d.open)")
        fresh.run("dispatchEvent(new Event('afterprint'))")
        fresh.pdf(tmp_path / "page.pdf")
        assert (tmp_path / "page.pdf").stat().st_size > 50_000
        assert fresh.errors() == []


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_a_phone(page: Path, tmp_path: Path, dark: bool) -> None:
    with browser.Browser(390, 844, phone=True, dark=dark) as phone:
        phone.open(page, READY)
        assert phone.run("document.documentElement.scrollWidth") <= 390
        background = phone.run("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") is not dark
        phone.screenshot(tmp_path / "phone.png", whole=False)
        assert phone.errors() == []
