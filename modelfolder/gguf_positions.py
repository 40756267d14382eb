"""Scaled positions of Llama 3.1 and later in GGUF files: `rope_freqs.weight` holds by how much each inverse frequency
is divided (llama.cpp, convert_hf_to_gguf.py). What a config says of them is found again and held against it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

TENSOR = "rope_freqs.weight"
LOW, HIGH, ORIGINAL = 1.0, 4.0, 8192  # of Llama 3.1, 3.2 and 3.3; only the factor differs (8 or 32)
CLOSE = 1e-3  # relative


def llama3(found: Sequence[float], base: float) -> dict[str, Any] | None:
    """`rope_parameters` of a config; None where the divisors are not Llama 3.1's.

    Args:
        found: the divisors, one for each two dimensions of a head.
        base: of the frequencies.
    """
    if not found:
        return None
    expected = factors(base, 2 * len(found), max(found))
    if any(abs(a - b) > CLOSE * b for a, b in zip(found, expected, strict=True)):
        return None
    scaling = {"low_freq_factor": LOW, "high_freq_factor": HIGH, "original_max_position_embeddings": ORIGINAL}
    return {"rope_type": "llama3", "rope_theta": base, "factor": round(max(found), 3), **scaling}


def factors(base: float, dimension: int, factor: float) -> list[float]:
    """By how much the inverse frequencies base^(-2i/dimension) are divided: 1 for short wavelengths, `factor` for long
    ones, between them 1 / ((1 - s) / factor + s) with s linear in the number of waves in the original context.
    """
    waves = [ORIGINAL / (2 * math.pi * base ** (2 * i / dimension)) for i in range(dimension // 2)]
    smooth = [min(max((n - LOW) / (HIGH - LOW), 0.0), 1.0) for n in waves]
    return [1 / ((1 - s) / factor + s) for s in smooth]
