"""The two ways in which rows go through the later layers."""

from __future__ import annotations

import pytest

from rect.editors.value_search import packing


@pytest.fixture(params=["packed", "padded"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs with packed rows, where the model allows it, and with padded ones as on a GPU."""
    if request.param == "padded":
        monkeypatch.setattr(packing, "DTYPES", ())
    return str(request.param)
