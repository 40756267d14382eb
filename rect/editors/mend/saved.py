"""Trained hypernetworks as safetensors files, whose header says for which model they are.

Tensors: `network/...`; `model/...` a sample of the model's own matrices, by which another model is recognized;
`facts` what it was trained on, as hashes; `optimizer/...` in the files that training resumes from.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from modelfolder import whole_files
from modelfolder.errors import InputError
from rect.editors.mend.files import FORMAT, read_header
from rect.editors.mend.hypernetwork import Hypernetwork
from rect.facts import Fact
from rect.model import EditableModel, add_tensor

SAMPLE = 256
TOLERANCE = 2**-8  # of a weight: more than rounding to bfloat16 changes, less than training does


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A hypernetwork with what is known of it.

    Attributes:
        header: "model" (name, type, matrices with their (in, out)), "rank", "hidden_layers", "digest" of the network,
            and what training adds: "settings", "edits" so far, "metrics".
        tensors: all tensors of the file.
        source: where it was read from.
    """

    header: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    source: str = "checkpoint"

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors under a name: "network", "optimizer"."""
        return {key.removeprefix(f"{name}/"): t for key, t in self.tensors.items() if key.startswith(f"{name}/")}

    def network(self) -> Hypernetwork:
        """The hypernetwork."""
        matrices = {name: (inner, outer) for name, (inner, outer) in self.header["model"]["matrices"].items()}
        network = Hypernetwork(matrices, self.header["rank"], self.header["hidden_layers"], edit_lr=0.0)
        network.load_state_dict(self.part("network"))
        return network

    def check_model(self, model: EditableModel) -> None:
        """Raises InputError when the checkpoint was trained for another model."""
        trained = self.header["model"]
        start = f"{self.source}: this MEND checkpoint was trained for {trained['name']}, not for {model.name}"
        for name, shape in trained["matrices"].items():
            if name not in set(model.names()):
                raise InputError(f"{start}, which has no {name}")
            if list(matrix_shape(model, name)) != list(shape):
                raise InputError(f"{start}, whose {name} has another shape ({matrix_shape(model, name)}, not {shape})")
        for name, sample in self.part("model").items():
            here = sample_of(model.original(name))
            if bool(((here - sample).abs() > TOLERANCE * sample.abs() + 1e-8).any()):
                raise InputError(f"{start}, whose {name} has other values")

    def seen(self, facts: Sequence[Fact]) -> list[Fact]:
        """Those of the facts that it was trained on."""
        known = set(self.tensors["facts"].tolist())
        return [fact for fact in facts if fact_hash(fact) in known]


def save(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a file, whole or not at all."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": FORMAT, "header": json.dumps(header, sort_keys=True)}
    whole_files.write(path, safetensors.torch.save(content, metadata=metadata))


def load(path: Path) -> Checkpoint:
    """Read a file.

    Raises:
        InputError: it is no MEND checkpoint.
    """
    return Checkpoint(read_header(path), safetensors.torch.load_file(path), str(path))


def describe_model(model: EditableModel, names: Sequence[str]) -> dict[str, Any]:
    """What the header says of the model."""
    matrices = {name: list(matrix_shape(model, name)) for name in names}
    return {"name": model.name, "type": model.hf.config.model_type, "matrices": matrices}


def matrix_shape(model: EditableModel, name: str) -> tuple[int, int]:
    """(in, out) of a matrix, whichever way it is stored."""
    rows, columns = model.weight(name).shape
    return (rows, columns) if model.architecture.transposed else (columns, rows)


def sample_of(weight: Tensor) -> Tensor:
    """Some elements of a matrix, evenly spread, (SAMPLE,) or fewer, float32."""
    flat = weight.reshape(-1)
    return flat[:: max(1, len(flat) // SAMPLE)][:SAMPLE].float().cpu()


def fact_hash(fact: Fact) -> int:
    """63 bits of the SHA-256 of what is edited."""
    text = "\0".join((fact.prompt, fact.subject, fact.target))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def facts_tensor(facts: Sequence[Fact]) -> Tensor:
    """Their hashes, (facts,), int64."""
    return torch.tensor(sorted(fact_hash(fact) for fact in facts), dtype=torch.int64)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        add_tensor(total, name, tensor)
    return total.hexdigest()
