"""configs/judged.yaml: four benchmarks' files, a sweep each; one report of teacher forcing beside free generation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from sweeps.config import config
from sweeps.config.config import Config
from sweeps.plan.identity import make_plan
from sweeps.report import answers, gather
from sweeps.results import answered
from sweeps.store.store import Store
from tests.rect.fact_records import GOOD
from tests.sweeps.small import STEPS, quiet, remembering
from tests.tiny import save_tiny

FILE = Path(__file__).resolve().parents[3] / "configs" / "judged.yaml"
FILES = {
    "counterfact": "counterfact.jsonl",
    "qaedit": "qaedit.json",
    "knowedit": "knowedit.json",
    "mquake": "mquake_cf.json",
}
EDITS = {"counterfact": 4, "qaedit": 4, "knowedit": 3, "mquake": 6}


def loaded(scale: str, source: object, *changes: str) -> Config:
    return config.load(FILE, [f"edits.source={source}", *changes], scale)


def test_its_head_says_how_to_run_every_scale() -> None:
    lines = FILE.read_text().splitlines()
    for line, scale in zip(lines, FILES, strict=False):
        assert line.startswith(f"# sweeps run configs/judged.yaml --scale {scale} --set edits.source=")
    assert lines[len(FILES)] == f"# sweeps report results/judged-{{{','.join(FILES)}}} --out results/judged"
    assert [config.load(FILE, scale=scale).name for scale in FILES] == [f"judged-{scale}" for scale in FILES]


def test_bundled_facts_without_a_scale() -> None:
    plan = make_plan(config.load(FILE))
    assert [(cell.method.name if cell.method else "", cell.regularizer, cell.k) for cell in plan.cells] == [
        ("", "none", None),
        ("rome", "none", None),
        ("memit", "none", None),
        ("rome", "rect", 40),
        ("memit", "rect", 40),
    ]


@pytest.mark.parametrize("scale", FILES)
def test_the_samples(scale: str, shared_data: Path) -> None:
    """Both methods edit the same facts, each once, instances whole; the model answers in every one."""
    plan = make_plan(loaded(scale, shared_data / FILES[scale]))
    edited = [plan.edited(cell, cell.checkpoints[-1]) for cell in plan.cells if cell.method]
    assert all(facts == edited[0] for facts in edited)
    assert len({fact.edit for fact in edited[0]}) == len(edited[0]) == EDITS[scale]
    for instance in {one for fact in edited[0] for one in fact.instances}:
        assert sum(instance in fact.instances for fact in edited[0]) == instance.edits
    assert "generation" in plan.spoken


@pytest.mark.slow
def test_one_report_of_all_on_a_tiny_model(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "model")
    memit = remembering("memit-history", folder) | {"name": "memit"}
    methods = [{"name": "rome", "hparams": STEPS}, memit]
    for scale in FILES:
        (tmp_path / f"{scale}.json").write_text(json.dumps([GOOD[scale]]))
        n = 2 if scale == "mquake" else 1
        changes = [f"models=[{folder}]", f"methods={json.dumps(methods)}", "engine.name=transformers"]
        changes += ["engine.max_model_len=256", f"settings.0.edits={n}", f"settings.0.checkpoints=[{n}]"]
        quiet(loaded(scale, tmp_path / f"{scale}.json", *changes), tmp_path / f"judged-{scale}")
        assert Store(tmp_path / f"judged-{scale}").failures() == {}
    folders = [str(tmp_path / f"judged-{scale}") for scale in FILES]
    made = gather.report_together(folders, tmp_path / "judged", Console(quiet=True))
    assert not made.missing
    sections = answers.beside(made.rows, made.table)
    for scale in FILES:
        mine = [one for one in sections if f" on judged-{scale}," in one["title"]]
        assert any(one["title"].endswith(": reliability by generation") for one in mine)
        for one in mine:
            assert [line[0] for line in one["lines"]] == ["memit none", "memit rect 40", "rome none", "rome rect 40"]
            assert "forced alone (95%)" in one["head"]
    alone = [gather.gather(folder) for folder in folders]
    wanted = [answered.beside(one.rows, one.table) for one in alone]
    found = answered.beside(made.rows, made.table)
    columns = ["forced", "contains", "exact_match", "lost"]
    lines = sorted(tuple(line) for part in wanted for line in part[columns].to_numpy().tolist())
    assert sorted(tuple(line) for line in found[columns].to_numpy().tolist()) == lines
    page = (tmp_path / "judged" / "report.html").read_text()
    assert "judged-mquake" in page
    assert "multi_hop" in page
