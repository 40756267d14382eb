"""A tokenizer that puts an end behind every text changes no number: whoever reads a folder reads texts that go on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
import transformers
from tokenizers import processors

from rect import EditableModel
from rect.corpus import Corpus
from rect.covariance import Recipe, collect
from rect.editors.mend.data import Examples
from sweeps.store.store import Store
from tests.rect.editors.mend_facts import facts
from tests.sweeps.small import STEPS, quiet, small_config
from tests.tiny import SENTENCES, metaspace_tokenizer, save_tiny

KEYS = ["model", "method", "regularizer", "n_edits", "kind", "name"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One model twice: as it is, and with a tokenizer that ends every text."""
    plain, ended = (save_tiny("llama", tmp_path_factory.mktemp("model"), tokenizer="metaspace") for _ in range(2))
    tokenizer = metaspace_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer.save_pretrained(ended)
    assert transformers.AutoTokenizer.from_pretrained(ended)("Rome")["input_ids"][-1] == 2
    return plain, ended


def measured(store: Store) -> pd.Series:
    rows = store.rows()
    rows = rows[rows["kind"] != "time"].assign(model="")
    return rows.set_index(KEYS)["value"].sort_index()


def test_a_sweep_measures_the_same(folders: tuple[Path, Path], tmp_path: Path) -> None:
    changes = {
        "methods": [{"name": "rome", "hparams": STEPS}],
        "settings": [{"kind": "instance-sequential", "edits": 1}],
        "regularizers": ["none"],
        "tasks": {"names": ["nli", "nli:likelihood", "ner"], "examples": 3},
    }
    stores = [quiet(small_config(folder, **changes), tmp_path / str(i)) for i, folder in enumerate(folders)]
    first, second = map(measured, stores)
    assert {"task", "edit", "ability", "weights"} <= set(first.index.get_level_values("kind"))
    pd.testing.assert_series_equal(first, second, check_exact=True)
    said = [
        store.outputs().sort_values(["task", "n_edits", "index"])[["prompt", "output"]].to_numpy().tolist()
        for store in stores
    ]
    assert said[0] == said[1]
    assert any(output for _, output in said[0])


@pytest.mark.parametrize("source", ["file", "self"])
def test_covariances_are_of_the_same_tokens(folders: tuple[Path, Path], source: str, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("\n".join(SENTENCES))
    corpus = Corpus(str(tmp_path / "corpus.txt") if source == "file" else "self")
    found = []
    for folder in folders:
        model = EditableModel.load(str(folder))
        found.append(collect(model, Recipe(str(folder), corpus, tokens=200, window=40), [1]))
    assert found[0].tokens == found[1].tokens
    assert torch.equal(found[0].matrix(1), found[1].matrix(1))


def test_mend_is_trained_on_the_same_tokens(folders: tuple[Path, Path]) -> None:
    first, second = (
        [Examples(EditableModel.load(str(folder)).tokenizer, facts(), 1, 0, torch.device("cpu"))[i] for i in range(5)]
        for folder in folders
    )
    for one, other in zip(first, second, strict=True):
        for part in ("edit", "locality"):
            assert torch.equal(getattr(one, part).ids, getattr(other, part).ids)
