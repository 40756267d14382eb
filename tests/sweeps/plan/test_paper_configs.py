"""configs/paper: one configuration per published figure, each a plan of the paper's points, loading nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from benchmarks import paper_hours
from sweeps.config import config
from sweeps.figures.specs import FIGURES
from sweeps.plan.identity import make_plan

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "paper"
GPT2, LLAMA1, LLAMA2 = "openai-community/gpt2-xl", "huggyllama/llama-7b", "meta-llama/Llama-2-7b-hf"
EVERY = (0, 10, 20, 30, 40, 50)

# PROTOCOL of the published figures: (method, model) -> edits, or batch sizes for batch-single.
POINTS = {
    "figure-03": {
        ("kn", GPT2): (1, 2, 3, 4),
        ("kn", LLAMA1): (1, 2, 3, 4),
        ("rome", GPT2): (5, 10, 15, 20),
        ("rome", LLAMA1): (2, 4, 6, 8, 10),
    },
    "figure-04": {
        ("mend", GPT2): (1, 5, 10),
        ("mend", LLAMA1): (5, 10, 15, 20),
        ("memit", GPT2): (1, 10, 100, 1000, 2000, 3000),
        ("memit", LLAMA1): (1, 5, 10),
    },
    "figure-05": {("rome", GPT2): (1, 5, 10, 15)},
    "figure-08": {("rome", GPT2): (5, 10, 15, 20)},
    "figure-09": {("kn", LLAMA2): (1, 2, 3, 4), ("rome", LLAMA2): (2, 4, 6, 8, 10)},
    "figure-10": {("mend", LLAMA2): (5, 10, 15, 20), ("memit", LLAMA2): (1, 5, 10)},
    "figure-11": {("mend", GPT2): EVERY[1:]},
    "figure-12": {("memit", GPT2): EVERY[1:]},
    "figure-13": {("mend", LLAMA1): (2, 4)},
    "figure-14": {("memit", LLAMA1): (2, 4)},
    "figure-15": {("mend", LLAMA2): (2, 4)},
    "figure-16": {("memit", LLAMA2): (2, 4)},
    "table-1": {("rome", GPT2): (1, 5, 10, 15)},
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_plan(name: str) -> None:
    plan = make_plan(config.load(FOLDER / f"{name}.yaml"))
    assert plan.config.name == name
    edited = [cell for cell in plan.cells if cell.method]
    assert {cell.method.name for cell in edited if cell.method} == set(FIGURES[name].methods)
    assert {cell.seed for cell in plan.cells} == {0}
    found: dict[tuple[str, str], set[int]] = {}
    for cell in edited:
        assert cell.method
        points = (cell.batch_size,) if cell.setting == "batch-single" else cell.checkpoints
        found.setdefault((cell.method.name, cell.model.name), set()).update(points)
    if name in POINTS:
        assert {key: tuple(sorted(values)) for key, values in found.items()} == POINTS[name]
    if name in ("figure-07", "figure-08") or name.startswith("appendix"):
        levels = {(cell.regularizer, cell.k) for cell in edited}
        rect = {("rect", float(k)) for k in (20, 40, 60, 80)}
        assert levels == {("none", None), *rect, ("random", 40.0), ("pca-release", 40.0)}
    assert "vllm" not in sys.modules


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_small_form(name: str) -> None:
    plan = make_plan(config.load(FOLDER / f"{name}.yaml", scale="demo"))
    assert {cell.model.name for cell in plan.cells} == {"smollm2-135m"}
    edits = sum(max(cell.checkpoints) * cell.batch_size for cell in plan.cells if cell.method)
    assert edits <= 60
    assert all(len(one.examples) <= 4 * 4 for one in plan.questions)  # ner asks for four types
    published = config.load(FOLDER / f"{name}.yaml", scale="published")
    assert published.edits.format == "zsre"
    assert published.tasks.source == "hub"


def test_batches_of_the_batch_sequential_figures() -> None:
    for name, sizes in (("figure-12", {10, 30, 50}), ("figure-14", {2, 3, 4})):
        plan = make_plan(config.load(FOLDER / f"{name}.yaml"))
        assert {cell.batch_size for cell in plan.cells if cell.method} == sizes


def test_readme_lists_every_configuration_with_its_cost() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name, figure in FIGURES.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| [{name}]")]
        assert figure.statement in line
        hours = paper_hours.gpu_hours(make_plan(config.load(FOLDER / f"{name}.yaml")))
        said = re.findall(r"\| ([\d.]+) \|", line)
        assert said == [f"{hours:.2g}" if hours < 10 else f"{hours:.0f}"], name
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(FIGURES)
