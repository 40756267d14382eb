"""The benchmarks run, on a tiny model; what they print is looked at elsewhere."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from benchmarks import covariance_speed, edit_speed
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
