"""What a trial holds, before a card is paid for: a model of memory from the shapes of the weights.

A trial holds the model that is edited, a copy of the matrices that are edited (to restore them), the engine's copy of
the weights with its key-value cache, and in turn what a search for a value keeps for its gradient and what a
closed-form solve takes. docs/engines.md has measurements beside it.

Per position and later block a search keeps, in the model's dtype, at most about `HIDDEN` times the hidden size and
`INNER` times the MLP's inner size: counted from the tensors that autograd saves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelfolder import config as configs
from modelfolder import tensors
from modelfolder.errors import InputError
from rect import architecture, models
from sweeps.config.config import Config, MethodSpec, ModelSpec
from sweeps.plan.identity import Plan

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
HIDDEN, INNER = 15, 4
POSITIONS = 512  # of one step over several facts, at most; rect.editors.value_search.search.TOKENS
ROW = 12  # positions of a row from the subject's end on: the rest of a prompt, and a target
TRIAL, ENGINE = 0.6 * GIB, 1.0 * GIB  # of either process, whatever the model (measured: 0.5; 0.5 to 1.7)
SOLVES = {"rome": 2, "r-rome": 2}  # matrices of the keys' dimension in float64 that a solve holds; else 3
DIMENSIONS = {
    "hidden": ("hidden_size", "n_embd"),
    "heads": ("num_attention_heads", "n_head"),
    "kv_heads": ("num_key_value_heads",),
    "head": ("head_dim",),
}


@dataclass(frozen=True)
class Shapes:
    """What of a model its memory follows from.

    Attributes:
        parameters: their number, each matrix once.
        layers, hidden, inner: blocks, width of the residual stream, width of the MLP.
        cached: numbers that one position adds to the key-value cache.
    """

    parameters: int
    layers: int
    hidden: int
    inner: int
    cached: int


@dataclass(frozen=True)
class Held:
    """Bytes of one trial.

    Attributes:
        model, engine: the weights, in the dtype of either.
        edited: copies of the matrices that are edited.
        cache: of keys and values.
        editing: the larger of a search's activations and a solve's matrices.
    """

    model: float
    edited: float
    engine: float
    cache: float
    editing: float

    @property
    def total(self) -> float:
        return self.trial + self.engine + self.cache + ENGINE

    @property
    def trial(self) -> float:
        """Of the trial's own process."""
        return self.model + self.edited + self.editing + TRIAL


def shapes(folder: Path) -> Shapes:
    """Of a model folder, from its config and the headers of its files.

    Raises:
        InputError: it cannot be read, or is of a family that is not known.
    """
    config = configs.read(folder)
    config = config.get("text_config", config)
    known = architecture.ARCHITECTURES.get(str(config.get("model_type")))
    if known is None:
        raise InputError(f"{folder / 'config.json'}: model_type {config.get('model_type')!r} is not known")
    there = tensors.shapes(folder)
    head = f"{known.head}.weight"
    if config.get("tie_word_embeddings", True) and len(there) > 1:
        there.pop(head, None)
    place = re.escape(_inside(known.mlp_out)).replace(r"\{\}", r"\d+")
    out = [shape for name, shape in there.items() if re.fullmatch(rf"(.*\.)?{place}\.weight", name)]
    found = {what: next((config[key] for key in keys if config.get(key)), None) for what, keys in DIMENSIONS.items()}
    if not out or not found["hidden"] or not found["heads"]:
        raise InputError(f"{folder}: its config and weights do not say how large a block is")
    hidden, heads = int(found["hidden"]), int(found["heads"])
    head_size = int(found["head"] or hidden // heads)
    return Shapes(
        parameters=sum(map(math.prod, there.values())),
        layers=len(out),
        hidden=hidden,
        inner=math.prod(out[0]) // hidden,
        cached=2 * len(out) * int(found["kv_heads"] or heads) * head_size,
    )


def _inside(path: str) -> str:
    """A path within the body of a model, which may be saved under another prefix or none."""
    prefix = next((one for one in tensors.PREFIXES if path.startswith(one)), "")
    return path.removeprefix(prefix)


def held(shape: Shapes, config: Config, spec: ModelSpec, method: MethodSpec | None, about: Mapping[str, Any]) -> Held:
    """Bytes that a trial of a model and a method holds at most; `about` is what the plan says of the method there.

    An engine's cache is `kv_cache_gib`, as on a CPU.
    """
    size, engine = BYTES[spec.dtype], BYTES[config.engine.dtype]
    edited, search, solve = 0, 0, 0
    if method is not None:
        layers = about.get("hparams", {}).get("layers")
        later = shape.layers - 1 - max(layers) if layers else shape.layers
        edited = len(layers) if layers else shape.layers
        search = _positions(config, about) * later * (HIDDEN * shape.hidden + INNER * shape.inner) * size
        solve = 8 * SOLVES.get(method.name, 3) * shape.inner**2 if about.get("covariance") is not None else 0
    return Held(
        model=shape.parameters * size,
        edited=edited * shape.hidden * shape.inner * size,
        engine=shape.parameters * engine,
        cache=config.engine.kv_cache_gib * GIB,
        editing=max(search, solve),
    )


def _positions(config: Config, about: Mapping[str, Any]) -> int:
    """That one step of a search holds: the rows of a fact, or those of as many facts as are optimized together."""
    if about.get("prefixes") is None:
        return POSITIONS
    fact = ROW * (
        2 + sum(count for _, count in about["prefixes"]["lengths"])
    )  # the bare prompt and the row for KL besides
    together = max((size for setting in config.settings for size in setting.batch_sizes), default=1)
    return max(fact, min(POSITIONS, together * fact))


def told(plan: Plan, card: float | None = None) -> list[str]:
    """A line for each model at hand: what a trial holds at most, and whether that fits on a card.

    Args:
        plan: the sweep.
        card: GiB of a GPU's memory; None tells what is held, and judges nothing.

    Raises:
        InputError: a trial does not fit on such a card.
    """
    lines = []
    for spec in plan.config.models:
        folder = models.here(spec.name, spec.revision)
        if folder is None:
            continue
        shape = shapes(folder)
        asked = {method.name: (method, about) for (model, method), about in plan.editors.items() if model == spec}
        each = {name: held(shape, plan.config, spec, method, about) for name, (method, about) in asked.items()}
        most = max(each, key=lambda name: each[name].total, default=None)
        one = held(shape, plan.config, spec, None, {}) if most is None else each[most]
        lines.append(_line(spec.key, one, most, shape, plan.config, card))
    return lines


def _line(name: str, one: Held, method: str | None, shape: Shapes, config: Config, card: float | None) -> str:
    parts = f"model {_gib(one.model)}" + f", editing {_gib(one.edited + one.editing)} ({method})" * bool(method)
    where = f"memory of a trial with {name}"
    if card is None:
        engine = f"engine {_gib(one.engine)}, cache {_gib(one.cache)}"
        return f"{where}: {parts}, {engine}; together {_gib(one.total)} GiB (computed, not measured)"
    limits, split = config.engine, config.engine.tensor_parallel_size
    share = limits.gpu_memory_utilization * card * GIB
    left = card * GIB - (share if split == 1 else 0.0) - TRIAL  # a split engine has devices of its own
    weights = one.engine / split
    text = shape.cached * BYTES[limits.dtype] * limits.max_model_len / split
    taken = f"{_gib(share)} of {card:g} GiB (engine.gpu_memory_utilization {limits.gpu_memory_utilization:g})"
    if one.model + one.edited + one.editing > left:
        raise InputError(
            f"{name} does not fit on a GPU of {card:g} GiB: {parts}, and {_gib(left)} are left by an engine that takes "
            f"{taken}; right would be a smaller share, dtype: bfloat16, or engine.tensor_parallel_size: 2, which gives "
            f"the model a device of its own"
        )
    if share - weights < text:
        raise InputError(
            f"{name}: an engine that takes {taken} has no room for weights of {_gib(weights)} and the cache of one "
            f"text of {limits.max_model_len} tokens ({_gib(text)})"
        )
    return (
        f"{where} on {card:g} GiB: {parts} of {_gib(left)}; engine {_gib(share)}, of which weights {_gib(weights)} and "
        f"a cache for {int((share - weights) // text)} texts of {limits.max_model_len} tokens (computed, not measured)"
    )


def _gib(size: float) -> str:
    return f"{size / GIB:.1f}"
