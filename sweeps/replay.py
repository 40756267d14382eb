"""Whether a replayed chain of updates leads to the very weights that it led to before."""

from __future__ import annotations

import logging
import math
import platform
from pathlib import Path
from typing import Any

import torch

from rect.model import EditableModel
from sweeps.store import Store, StoreError

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # of a matrix' norm, where the machine or its number of threads is another


def check_state(store: Store, state: str, model: EditableModel) -> None:
    """Keep the digest of the model's changed weights under a state's id, or compare with the one that is kept.

    Bits repeat on one machine with one number of threads. Elsewhere the norms must agree within `TOLERANCE`.

    Raises:
        StoreError: the weights are not those that the state had, so what was computed from it does not belong to them.
    """
    found: dict[str, Any] = {"digest": model.digest(), "norms": _norms(model), "machine": machine(model)}
    kept = store.state(state)
    if kept is None:
        store.put_state(state, found)
        return
    if kept["digest"] == found["digest"]:
        return
    same_machine = kept["machine"] == found["machine"]
    if same_machine or not _close(kept["norms"], found["norms"]):
        where = "on this machine" if same_machine else f"on {kept['machine']}"
        raise StoreError(
            f"replaying the stored updates gave other weights than before ({where}, state {state}): the model's files "
            f"or the store were changed since; use another --out, or remove {store.folder.path('states')} to start over"
        )
    log.info("state %s agrees within rounding with the one computed on %s", state, kept["machine"])


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


def _norms(model: EditableModel) -> dict[str, float]:
    """Per changed matrix the Frobenius norm of the whole change."""
    return {
        name: float(torch.linalg.vector_norm(tensor.double() - model.original(name).double()))
        for name, tensor in model.changed().items()
    }


def _close(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(math.isclose(one[k], other[k], rel_tol=TOLERANCE) for k in one)
