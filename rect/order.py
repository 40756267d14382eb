"""A seeded order that is the same on every machine and with every version of anything."""

from __future__ import annotations

import hashlib


def permutation(n: int, seed: int, purpose: str = "") -> list[int]:
    """The numbers below n, ordered by the SHA-256 of (seed, purpose, number); facts are drawn without a purpose."""
    begin = f"{seed}/{purpose}/" if purpose else f"{seed}/"
    return sorted(range(n), key=lambda i: hashlib.sha256(f"{begin}{i}".encode()).digest())
