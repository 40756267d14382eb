"""Whether a replayed chain of updates leads to the very weights that it led to before."""

from __future__ import annotations

import hashlib
import logging
import math
import platform
from pathlib import Path
from typing import Any

import torch

from rect.model import EditableModel
from sweeps.store.store import Store, StoreError

log = logging.getLogger(__name__)

TOLERANCE = 5e-3
"""Of a matrix' whole change, in the Frobenius norm. Rounding moves it by 1e-6 of its norm; room is for masks: an
element whose relative change lies at the threshold is kept by one rounding and cut by another, a few in a matrix."""

PROJECTIONS = 32
"""Numbers u^T dW v that are kept of a matrix' change, for fixed random signs u and v. The mean square of the
differences of two such sketches is, in expectation, the squared Frobenius norm of the difference of the two changes."""


def check_state(store: Store, state: str, model: EditableModel) -> None:
    """Keep what the model's changed weights are under a state's id, or compare with what is kept.

    Bits repeat on one machine with one number of threads. Where they do not, each matrix' whole change must agree
    within `TOLERANCE` of its norm; how far it is off goes into the log.

    Raises:
        StoreError: the weights are not those that the state had, so what was computed from it does not belong to them.
    """
    found: dict[str, Any] = {"digest": model.digest(), "machine": machine(model)}
    kept = store.state(state)
    if kept is None:
        store.put_state(state, {**found, "changes": _sketches(model)})
        return
    if kept["digest"] == found["digest"]:
        return
    where = "on this machine" if kept["machine"] == found["machine"] else f"on {kept['machine']}"
    off = _difference(kept.get("changes", {}), _sketches(model))
    if not off <= TOLERANCE:
        raise StoreError(
            f"replaying the stored updates gave other weights than before ({where}, state {state}): the model's files "
            f"or the store were changed since; use another --out, or remove {store.folder.path('states')} to start over"
        )
    log.warning(
        "state %s, first computed %s, was replayed with other rounding: its change is off by %.1e of its norm (up to "
        "%g is let through)", state, where, off, TOLERANCE,
    )  # fmt: skip


def machine(model: EditableModel) -> str:
    """What the bits of a result may depend on."""
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else _processor()
    return f"{device}, torch {torch.__version__}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _sketches(model: EditableModel) -> dict[str, dict[str, Any]]:
    """Per changed matrix the Frobenius norm of the whole change, and its projections."""
    found = {}
    for name, tensor in model.changed().items():
        change = (tensor.double() - model.original(name).double()).cpu().reshape(len(tensor), -1)  # (rows, cols)
        generator = torch.Generator().manual_seed(int(hashlib.sha256(name.encode()).hexdigest()[:15], 16))
        left, right = (_signs(length, generator) for length in change.shape)
        projected = ((left @ change) * right).sum(1)  # (PROJECTIONS,)
        found[name] = {"norm": float(torch.linalg.vector_norm(change)), "projected": projected.tolist()}
    return found


def _signs(length: int, generator: torch.Generator) -> torch.Tensor:
    """(PROJECTIONS, length), each 1 or -1."""
    return torch.randint(0, 2, (PROJECTIONS, length), generator=generator).double() * 2 - 1


def _difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest estimated difference of a matrix' change, of its norm; infinite where other matrices changed."""
    if one.keys() != other.keys() or not one:
        return math.inf
    return max(_apart(one[name], other[name]) for name in one)


def _apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    squares = [(a - b) ** 2 for a, b in zip(one["projected"], other["projected"], strict=True)]
    off = max(math.sqrt(sum(squares) / len(squares)), abs(one["norm"] - other["norm"]))
    return off / one["norm"] if one["norm"] else math.inf
