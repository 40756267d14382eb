"""The benchmarks run, on a tiny model; what they print is looked at elsewhere."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from benchmarks import covariance_speed, edit_speed, thousand_edits
from tests.tiny import SENTENCES, save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny("llama", tmp_path_factory.mktemp("tiny") / "model", num_hidden_layers=4))


def test_edit_speed(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    ratios = edit_speed.main(["--model", folder, "--device", "cpu", "--facts", "1", "--batch", "2"])
    assert set(ratios) == {"rome", "memit"}
    assert all(ratio > 0 for ratio in ratios.values())
    printed = capsys.readouterr().out
    assert printed.count("steps equal") == 2
    assert printed.count("GFLOP/s (") == 2
    assert printed.count("cosine at least 0.9999") + printed.count("cosine at least 1.0000") == 2


def test_operations_of_products_are_counted_forward_and_backward() -> None:
    layer = torch.nn.Linear(5, 7)
    with edit_speed.Products() as products:
        layer(torch.randn(3, 5, requires_grad=True)).sum().backward()
    assert products.operations == 3 * 2 * 3 * 5 * 7  # the output, the gradients of input and weight


def test_covariance_speed(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(SENTENCES * 40))
    options = ["--tokens", "1024", "--turns", "1", "--success", "--per-dimension", "0.3", "8", "--batch", "2"]
    assert math.isfinite(covariance_speed.main(["--model", folder, "--device", "cpu", "--corpus", str(text), *options]))
    printed = capsys.readouterr().out
    assert "singular" in printed
    assert "tokens per dimension" in printed


def test_thousand_edits(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Six cells over the same facts, whose vectors are found once; a second run finds none."""
    lines = (
        '{"subject": "France", "src": "What is France?", "pred": "is", "rephrase": "And France?", "alt": "Rome", '
        '"answers": ["is"], "loc": "nq question: what is a film", "loc_ans": "good", "cond": ""}\n'
    )
    (tmp_path / "zsre.jsonl").write_text(lines * 2)  # the same edit twice is one
    (tmp_path / "text.txt").write_text("\n\n".join(SENTENCES * 40))
    options = ["--model", folder, "--device", "cpu", "--corpus", str(tmp_path / "text.txt"), "--compare", "0"]
    options += ["--facts", str(tmp_path / "zsre.jsonl"), "--edits", "3", "--batch", "2", "--checkpoints", "2"]
    options += ["--vectors", str(tmp_path / "vectors")]
    first = thousand_edits.main(options)
    printed = capsys.readouterr().out
    assert [line.split(" | ")[:2] for line in first] == [
        [f"| {method}", level] for method in thousand_edits.METHODS for level in thousand_edits.REGULARIZERS
    ]
    assert printed.count("vectors of 2 facts") == printed.count("vectors of 1 facts") == 1
    assert len(list((tmp_path / "vectors").iterdir())) == 2
    again = thousand_edits.main(options)
    assert "vectors of" not in capsys.readouterr().out.replace("vectors: 0.0 minutes, of", "")
    assert [line.split(" | ")[2:6] for line in again] == [line.split(" | ")[2:6] for line in first]

    assert thousand_edits.main([*options, "--edits", "0", "--compare", "3"]) == []  # three operations of one fact
    apart = re.findall(r"\| ([\w-]+) \| apart ([\d.]+) \| cosine ([\d.]+) \|", capsys.readouterr().out)
    assert [method for method, _, _ in apart] == [*thousand_edits.METHODS]
    assert all(0 < float(distance) < 1 for _, distance, _ in apart)


def test_facts_are_those_given_then_the_bundled_ones_and_never_one_twice(capsys: pytest.CaptureFixture[str]) -> None:
    every = thousand_edits.choose(None, "zsre", 1000)
    assert len({fact.edit for fact in every}) == len(every)
    assert f"1000 facts are asked for, {len(every)} are at hand: {len(every)} are edited" in capsys.readouterr().out
    assert thousand_edits.choose(None, "zsre", 5) == every[:5]
