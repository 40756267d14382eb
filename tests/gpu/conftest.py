"""The device of a check."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """A CUDA device; and the CPU, on which a check is itself checked."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return str(request.param)


@pytest.fixture
def cuda() -> str:
    """A CUDA device alone, where the CPU has a test of its own."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return "cuda"
