"""What the reference numbers were made with: context prefixes, and the covariance of keys of five layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rect.covariance import Covariance

TEMPLATES = [
    "{}",
    "The first thing I did. {}",
    "Therefore, it is. {}",
    "Because of this. {}",
    "I think. {}",
    "You know. {}",
]


def covariance(oracle: Path) -> Covariance:
    """Of layers 4 to 8 of the default model."""
    archive = np.load(oracle / "covariance.npz")
    matrices = {}
    for layer in range(4, 9):
        half = torch.zeros(1536, 1536)
        half[tuple(np.triu_indices(1536))] = torch.from_numpy(archive[f"layer{layer}"])
        matrices[layer] = half + half.triu(1).T
    return Covariance(matrices, int(archive["count"]), {"from": "oracle"})


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.cosine_similarity(a.flatten().double(), b.flatten().double(), 0).item()
