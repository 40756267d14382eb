"""A seeded order that is the same on every machine and with every version of anything."""

from __future__ import annotations

import hashlib


def permutation(n: int, seed: int, purpose: str) -> list[int]:
    """The numbers below n, ordered by the SHA-256 of (seed, purpose, number)."""
    return sorted(range(n), key=lambda i: hashlib.sha256(f"{seed}/{purpose}/{i}".encode()).digest())
