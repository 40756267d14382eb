"""Sweeps on the files of KnowEdit, MQuAKE and RippleEdits: their facts are edited, their figures stand in the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import f1_score

from modelfolder import answers
from sweeps.plan.identity import make_plan
from sweeps.results.tradeoff import tradeoff
from sweeps.store.store import Store
from tests.rect.fact_records import GOOD
from tests.sweeps.small import remembering, run_here, small_config
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


def run(folder: Path, out: Path, format: str, metrics: list[str], edits: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rows, outputs) of ROME without a regularizer on the one record of a format."""
    (out / "x.json").write_text(json.dumps([GOOD[format]]))
    config = small_config(
        folder,
        edits={"source": str(out / "x.json"), "format": "auto"},
        settings=[{"kind": "instance-sequential", "edits": edits}],
        regularizers=["none"],
        metrics=metrics,
        tasks={"names": []},
    )
    plan, store = make_plan(config), Store(out / "results")
    assert plan.unusable[0].endswith(f"format {format}")
    run_here(plan, store)
    rows, outputs = store.rows(), store.outputs()
    assert tradeoff(rows)["method"].tolist() == ["none", "rome"]
    edited = rows[(rows["method"] == "rome") & (rows["kind"] == "edit")]
    return edited.set_index("name"), outputs[outputs["n_edits"] == edits] if len(outputs) else outputs


def test_knowedit(folder: Path, tmp_path: Path) -> None:
    rows, _ = run(folder, tmp_path, "knowedit", ["portability"], edits=1)
    kinds = [rows.loc[f"portability/{kind}/token_accuracy", "value"] for kind in ("Reasoning", "Subject_Aliasing")]
    assert rows.loc["portability/token_accuracy", "value"] == pytest.approx(sum(kinds) / 2)
    assert rows.loc["locality/Forgetfulness/token_accuracy", "n"] == 1


def test_mquake(folder: Path, tmp_path: Path) -> None:
    rows, outputs = run(folder, tmp_path, "mquake", ["mquake"], edits=2)
    golds = outputs["gold"].map(json.loads)
    kinds = golds.map(lambda gold: gold["kind"])
    assert kinds.value_counts().to_dict() == {"edit_wise": 2, "instance_wise": 2, "multi_hop": 3}

    def right(output: str, gold: dict[str, Any]) -> bool:
        return answers.contains(output.strip().split("\n")[0], gold["answers"])

    found = pd.Series([right(*pair) for pair in zip(outputs["output"], golds, strict=True)], kinds)
    assert rows.loc["mquake/edit_wise", ["value", "n"]].tolist() == [found["edit_wise"].mean(), 2]
    assert rows.loc["mquake/instance_wise", ["value", "n"]].tolist() == [found["instance_wise"].all(), 1]
    assert rows.loc["mquake/multi_hop", ["value", "n"]].tolist() == [found["multi_hop"].any(), 1]


def test_an_instance_is_one_operation_of_a_method_that_takes_several_facts(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps([GOOD["mquake"]]))
    config = small_config(
        folder,
        edits={"source": str(tmp_path / "x.json"), "format": "mquake"},
        methods=[remembering("memit-history", folder)],
        settings=[{"kind": "batch-single", "batch_sizes": [1]}],
        regularizers=["none"],
        metrics=["mquake"],
        tasks={"names": []},
    )
    plan, store = make_plan(config), Store(tmp_path / "results")
    run_here(plan, store)
    [operation] = [one for cell in plan.cells for one in plan.operations(cell, cell.checkpoints[-1])]
    update = store.update(operation.id)
    assert update is not None
    assert [fact["id"] for fact in update.provenance["facts"]] == ["mquake 4-0", "mquake 4-1"]
    rows = store.rows()
    edited = rows[(rows["method"] == "memit-history") & (rows["n_edits"] == 1)].set_index("name")
    assert edited.loc["reliability/token_accuracy", "n"] == 2
    assert edited.loc["mquake/multi_hop", "n"] == 1


def test_an_instance_that_is_edited_in_part_has_no_figure(folder: Path, tmp_path: Path) -> None:
    rows, _ = run(folder, tmp_path, "mquake", ["mquake"], edits=1)
    assert "mquake/edit_wise" in rows.index
    assert "mquake/multi_hop" not in rows.index


def test_ripple(folder: Path, tmp_path: Path) -> None:
    rows, outputs = run(folder, tmp_path, "ripple", ["ripple"], edits=1)
    golds = outputs["gold"].map(json.loads)
    [condition] = [gold for gold in golds if gold["kind"] == "condition"]
    held = answers.contains(condition["before"], condition["answers"])
    assert rows.loc["ripple/Compositionality_I/counted", "value"] == held
    assert ("ripple/Compositionality_I/passed" in rows.index) == held
    assert rows.loc["ripple/Forgetfulness/counted", "value"] == 1
    [said] = [text for text, gold in zip(outputs["output"], golds, strict=True) if gold["kind"] == "Forgetfulness"]
    assert rows.loc["ripple/Forgetfulness/passed", "value"] == answers.contains(said, ["Norway", "Kingdom of Norway"])


def test_glue(folder: Path, tmp_path: Path) -> None:
    """A set of tasks from files beside one of the eight; f1 stands in the rows, and is of the outputs."""
    records = [{"sentence": f"film {i}", "label": i % 2} for i in range(8)]
    (tmp_path / "sst2.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    config = small_config(
        folder,
        settings=[{"kind": "instance-sequential", "edits": 1}],
        regularizers=["none"],
        tasks={"names": ["glue_sst", "glue_sst:likelihood"], "source": str(tmp_path), "examples": 6},
    )
    plan, store = make_plan(config), Store(tmp_path / "results")
    run_here(plan, store)
    rows, outputs = store.rows(), store.outputs()
    own = rows[(rows["kind"] == "task") & (rows["n_edits"] == 1)].set_index("name")["value"]
    assert {f"glue_sst/{one}" for one in ("score", "f1", "score_release", "answered", "chance")} <= set(own.index)
    assert 0 <= own["glue_sst:likelihood/f1"] <= 1
    said = outputs[(outputs["task"] == "glue_sst:likelihood") & (outputs["n_edits"] == 1)]
    likeliest = [max(json.loads(one), key=lambda pair: pair[1])[0].strip() for one in said["output"]]
    golds = [json.loads(gold) for gold in said["gold"]]
    assert own["glue_sst:likelihood/f1"] == pytest.approx(f1_score(golds, likeliest, average="weighted"))
    assert tradeoff(rows)["method"].tolist() == ["none", "rome"]
