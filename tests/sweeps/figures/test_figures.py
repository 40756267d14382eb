"""What stands in the paper's figures, by hand; that they are drawn; what is missing is named."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from modelfolder.errors import InputError
from rect import EditableModel
from sweeps.figures import draw, panels, paper, render, specs, weights
from sweeps.plan.identity import make_plan
from sweeps.store.schema import ROWS
from sweeps.store.store import Store
from tests import tiny
from tests.sweeps.small import small_config
from tests.sweeps.small import sweep as run
from tests.sweeps.synthetic_rows import NONE, TASKS, row, sweep, unedited

XL, LLAMA = "openai-community/gpt2-xl", "huggyllama/llama-7b"


def tasks(cell: str, n_edits: int, value: float, **more: object) -> list[dict]:
    return [row(cell, n_edits, "task", f"{task}/score_release", value, **more) for task in TASKS]


@pytest.fixture
def rows() -> pd.DataFrame:
    lines = tasks("base", 0, 0.5, **unedited(model=XL))
    for n, value in ((5, 0.4), (10, 0.2)):
        lines += tasks("rome", n, value, model=XL)
        lines += tasks("rect", n, value + 0.1, model=XL, regularizer="rect", k=40.0)
    for size, value in ((1, 0.45), (10, 0.3)):
        lines += tasks(f"b{size}", 1, value, model=XL, method="memit", setting="batch-single", batch_size=size)
        ids = {"model": XL, "method": "memit", "setting": "batch-sequential", "batch_size": size}
        lines += [line for n in (2, 4) for line in tasks(f"s{size}", n, value / n, **ids)]
    for level, reliability in ((("none", NONE), 1.0), (("rect", 40.0), 0.9), (("random", 40.0), 0.4)):
        ids = {"model": XL, "regularizer": level[0], "k": level[1]}
        for what, value in (("reliability", reliability), ("generalization", 0.8), ("locality", 0.95)):
            cell = {"none": "rome", "rect": "rect"}.get(level[0], "random")
            lines.append(row(cell, 10, "edit", f"{what}/token_accuracy", value, **ids))
    for n in (5, 10):
        matrix = "transformer.h.17.mlp.c_proj.weight"
        lines.append(row("rome", n, "weights", f"{matrix}/manhattan", 1000.0 * n, model=XL))
        lines.append(row("rome", n, "weights", f"{matrix}/share_over_0.077", n / 100, model=XL))
    return pd.DataFrame(lines)


def made(rows: pd.DataFrame, name: str) -> list[panels.Panel]:
    figure = specs.find(name)
    return list(draw.LAYOUTS[figure.layout](rows, figure, "score_release"))


def series(panel: panels.Panel, key: str, published: bool = False) -> panels.Series:
    (found,) = [one for one in panel.series if one.key == key and one.published is published]
    return found


def test_tasks_over_edits(rows: pd.DataFrame) -> None:
    found = made(rows, "figure-03")
    assert [panel.title for panel in found] == [
        "KN on GPT-2 XL",
        "KN on LLaMA-1 (7B)",
        "ROME on GPT-2 XL",
        "ROME on LLaMA-1 (7B)",
    ]
    rome = found[2]
    ner = series(rome, "ner")
    assert ner.x == (0, 5, 10)
    assert ner.y == pytest.approx((0.5, 0.4, 0.2))
    half = 0.01 * stats.t.ppf(0.975, 99)  # one seed: over its hundred examples
    assert ner.low == pytest.approx((0.5 - half, 0.4 - half, 0.2 - half))
    assert series(rome, "ner", published=True).y == (0.435,)
    # What the sweep does not have is a panel all the same, and says so.
    assert [panel.note for panel in found] == ["not in this sweep"] * 2 + ["", "not in this sweep"]
    assert found[0].series == ()


def test_tasks_by_batch(rows: pd.DataFrame) -> None:
    memit = made(rows, "figure-04")[2]
    assert memit.title == "MEMIT on GPT-2 XL"
    assert [one.label for one in memit.series if not one.published] == ["not edited", "batch 1", "batch 10"]
    assert [one.y[0] for one in memit.series if not one.published] == pytest.approx([0.5, 0.45, 0.3])
    assert memit.categories[0] == "Reasoning"
    assert series(memit, "0", published=True).y[:2] == (0.33, 0.52)


def test_a_task_that_was_not_run_is_not_taken_for_zero(rows: pd.DataFrame) -> None:
    memit = made(rows[~rows["name"].str.startswith("ner/")], "figure-04")[2]
    assert [name for name in memit.categories if "not run" in name] == ["NER (not run)"]


def test_title_names_the_model_that_is_shown(rows: pd.DataFrame) -> None:
    figure = specs.find("figure-12")
    assert draw._title(rows, figure) == "MEMIT on GPT-2 XL, batches one after the other"
    assert draw._title(rows.assign(model="tiny"), figure) == "MEMIT on tiny, batches one after the other"


def test_batches_over_edits(rows: pd.DataFrame) -> None:
    found = made(rows, "figure-12")
    assert len(found) == 8
    first = found[0]
    assert first.categories == ("1", "10")
    assert [one.label for one in first.series if not one.published] == ["0 edits", "2 edits", "4 edits"]
    assert series(first, "1").y == pytest.approx((0.225, 0.15))
    assert made(rows, "figure-11")[0].note == "not in this sweep"  # MEND


def test_regularizers_over_edits_stand_above_the_papers(rows: pd.DataFrame) -> None:
    found = made(rows, "figure-08")
    assert len(found) == 8
    ours, theirs = found[3], found[7]
    assert (ours.title, theirs.title) == ("Sentiment analysis", "Sentiment analysis\npaper, GPT-2 XL")
    assert [one.key for one in ours.series] == ["none", "rect 40"]
    assert series(ours, "rect 40").y == pytest.approx((0.5, 0.5, 0.3))
    assert series(theirs, "rect 20", published=True).y == (0.557, 0.47)
    assert series(theirs, "rect 20", published=True).x == (0, 20)


def test_editing(rows: pd.DataFrame) -> None:
    found = made(rows, "figure-07")
    rome = found[0]
    assert rome.title == "ROME on GPT-2 XL\n10 edits"
    assert [one.key for one in rome.series] == ["none", "rect 40", "random 40"]
    assert series(rome, "rect 40").y == pytest.approx((0.9, 0.8, 0.95))
    published = found[-1]
    assert all(one.published for one in published.series)
    assert "paper" in published.title
    assert [panel.note for panel in found[1:4]] == ["not in this sweep"] * 3


def test_table(rows: pd.DataFrame) -> None:
    distance, shares = made(rows, "table-1")
    assert series(distance, "0").y == (5000.0, 10000.0)
    assert distance.series[-1].label == "paper, GPT-2 XL"
    assert distance.series[-1].y == (9079.2, 27072.2, 52245.3, 63247.5)
    assert series(shares, "0").y == pytest.approx((0.05, 0.1))


def test_a_model_that_the_paper_has_not_takes_the_place_of_its_models(rows: pd.DataFrame) -> None:
    other = rows.replace({"model": {XL: "smollm2-135m"}})
    assert [panel.title for panel in made(other, "figure-03")] == ["KN on smollm2-135m", "ROME on smollm2-135m"]
    assert not any(one.published for one in made(other, "figure-03")[1].series)
    assert made(other, "figure-12")[0].title == "Reasoning\nMEMIT on smollm2-135m"


def test_labels_of_one_method_are_one_method(rows: pd.DataFrame) -> None:
    labelled = rows.replace({"method": {"memit": "memit (GPT-2 XL)"}})
    assert made(labelled, "figure-04")[2].note == ""


def test_several_seeds_give_an_interval(rows: pd.DataFrame) -> None:
    again = rows[rows["cell"] == "rome"].assign(seed=1, cell="rome-1", value=lambda frame: frame["value"] + 0.04)
    ner = series(made(pd.concat([rows, again]), "figure-03")[2], "ner")
    assert ner.y[1] == pytest.approx(0.42)
    assert ner.high[1] - ner.y[1] == pytest.approx(stats.t.ppf(0.975, 1) * 0.02)


def test_table_of_a_figure_holds_every_number(rows: pd.DataFrame) -> None:
    table = panels.as_table(made(rows, "figure-04"))
    assert set(table["panel"]) == {"MEMIT on GPT-2 XL"}
    line = table[(table["series"] == "batch 10") & (table["x"] == "NER")].iloc[0]
    assert line["y"] == pytest.approx(0.3)
    assert table["published"].sum() == 8


def test_published_values_are_whole() -> None:
    data = paper.published()
    assert "EMNLP 2024" in data["source"]
    for scores in data["unedited"].values():
        assert set(scores) == set(TASKS)
    for method in ("rome", "memit"):
        for model in ("GPT-2 XL", "LLaMA-1 (7B)"):
            levels = paper.editing(method, model)
            assert list(levels) == list(panels.ORDER[:7])
            assert all(len(values) == 3 and all(0 < v <= 1 for v in values) for values in levels.values())
    assert paper.shown(XL) == "GPT-2 XL"
    assert paper.shown("./models/my-llama") == "my-llama"


@pytest.mark.parametrize("name", ["figure-03", "figure-07"])
def test_it_is_a_picture(rows: pd.DataFrame, name: str) -> None:
    from matplotlib.image import imread

    files = render.render(made(rows, name), "title")
    picture = imread(io.BytesIO(files["png"]))
    assert picture.shape[1] >= 900
    assert np.std(picture) > 0.05  # not blank
    assert files["svg"].startswith(b"<?xml")
    assert b"<dc:date>" not in files["svg"]


def test_draw_writes_into_the_folder(rows: pd.DataFrame) -> None:
    store = Store("memory://figures-test")
    store.write("cell", 1, rows.assign(n=rows["n"].astype(int))[ROWS.names].to_dict("records"), [])
    (drawn,) = draw.draw("8", store.url)
    assert drawn.files == ("figures/figure-08.png", "figures/figure-08.svg", "figures/figure-08.csv")
    assert store.folder.read("figures/figure-08.png").startswith(b"\x89PNG")
    assert draw.listed([drawn])[0].startswith("figure-08: figures/figure-08.png")
    with pytest.raises(InputError, match="nothing of figure-11 is in this sweep"):
        draw.draw("figure-11", store.url)


def test_all_leaves_out_what_is_not_there(rows: pd.DataFrame) -> None:
    store = Store("memory://figures-all-test")
    store.write("cell", 1, rows[rows["kind"] == "weights"][ROWS.names].to_dict("records"), [])
    done = {one.figure.name: one for one in draw.draw("all", store.url)}
    assert set(done) == set(specs.FIGURES)
    assert [name for name, one in done.items() if one.files] == ["table-1"]
    assert "no config.yaml" in done["figure-05"].missing[0]


def test_bad_input() -> None:
    assert specs.find("figure8").name == specs.find("8").name == specs.find("Figure-08").name == "figure-08"
    with pytest.raises(InputError, match="figure 'tabel-1' is not known; did you mean 'table-1'"):
        specs.find("tabel-1")
    with pytest.raises(InputError, match="--score F1: it must be score_release or score"):
        draw.draw("8", "memory://nowhere", "F1")
    with pytest.raises(InputError, match="there are no rows"):
        draw.draw("8", "memory://nowhere")


def test_figure_5_replays_the_updates_of_a_sweep(tmp_path: Path) -> None:
    folder = tiny.save_tiny("llama", tmp_path / "model")
    config = small_config(folder, regularizers=["none"], tasks={"names": []})
    store = run(config, tmp_path / "out")
    store.folder.write("config.yaml", config.as_yaml().encode())
    (drawn,) = draw.draw("figure-05", tmp_path / "out")
    assert drawn.files == ("figures/figure-05.png", "figures/figure-05.svg")

    plan = make_plan(config)
    found = weights.changes(store, plan, specs.find("figure-05"))
    assert [one.n_edits for one in found] == [1, 3]
    rows = store.rows()
    recorded = rows[(rows["n_edits"] == 3) & rows["name"].str.endswith("share_over_0.077")]["value"].iloc[0]
    edited = EditableModel.load(str(folder), "cpu")
    cell = next(cell for cell in plan.cells if cell.method)
    for operation in plan.operations(cell, 3):
        update = store.update(operation.id)
        assert update is not None
        edited.add(update)
    change = (edited.weight(found[1].matrix) - edited.original(found[1].matrix)).abs()
    assert float((change / edited.original(found[1].matrix).abs() > 0.077).float().mean()) == pytest.approx(recorded)
    assert found[1].histogram.total == change.numel()
    assert torch.all(found[1].picture <= 1)
    assert not math.isnan(float(found[1].picture.mean()))


def test_a_whole_sweep_of_several_models_is_drawn() -> None:
    rows = sweep(models=(XL, LLAMA), ks=(20, 40, 60, 80))
    titles = [panel.title for panel in made(rows, "figure-03")]
    assert titles[2:] == ["ROME on GPT-2 XL", "ROME on LLaMA-1 (7B)"]
    assert len(made(rows, "figure-08")) == 8  # LLaMA-1 is not in it
