"""Values as JSON has them."""

from __future__ import annotations

import math
from typing import Any


def plain(value: Any, digits: int = 5) -> Any:
    """A JSON-able value: numpy's scalars become Python's, NaN None, infinity a word, floats are rounded to `digits`."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return None if math.isnan(value) else float(f"{value:.{digits}g}")
    return value
