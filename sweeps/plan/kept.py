"""The plan that a folder was last written for: what readers go by, with neither facts nor task data nor models at hand.

A run writes it (`plan.json`) beside its configuration. Of a folder without, as earlier versions left it, or with the
plan of another configuration, it is made anew, for which facts and examples are needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from modelfolder.errors import InputError
from rect import facts, models
from sweeps.config.config import Config, validate
from sweeps.plan import remarks, search, skipped
from sweeps.plan.chain import Chain, Link
from sweeps.plan.grid import Cell
from sweeps.plan.identity import Plan, make_plan
from sweeps.plan.outline import Outline
from sweeps.store.store import Store

FILE, CONFIG = "plan.json", "config.yaml"
FORMAT = 1
PLACES = ("layer", "loss_layer")  # of a search, which the model's own layers decide
NAMED_FACTS = 500  # facts whose texts the report can name


@dataclass(frozen=True, kw_only=True)
class KeptPlan(Outline):
    """An outline with what else readers tell.

    Attributes:
        remarks: what `sweeps.plan.remarks` says of the plan.
        named: texts of the facts that are edited, in order, by seed: {"0": ...}; for a model that skips some also
            {"0 MODEL": ...}.
        chains: by cell what the ids of its operations are made of, and the digests of its batches of facts.
    """

    remarks: tuple[str, ...]
    named: Mapping[str, Sequence[str]]
    chains: Mapping[str, tuple[Chain, Sequence[str]]]

    def operations(self, cell: Cell, n_edits: int) -> Iterator[Link]:
        """The ids of the first operations of a cell."""
        if cell.method is not None:
            chain, batches = self.chains[cell.id]
            yield from chain.links(batches[:n_edits])

    def seeks(self, sought: Mapping[str, Any]) -> bool:
        """Whether a cell uses vectors of the unedited model that were found so, as far as the plan alone can tell.

        Args:
            sought: as `sweeps.run.vectors` notes it.
        """
        edited = [cell for cell in self.cells if cell.method is not None]
        return any(_seeks(*self.chains[cell.id], cell.checkpoints[-1], sought) for cell in edited)


def kept_plan(store: Store) -> KeptPlan:
    """The plan, with what its search has picked. Looks at a model only where no run has said what it is made of.

    Raises:
        InputError: there is no sweep, or its facts or examples are not to be had here.
    """
    data = store.folder.read_or_none(CONFIG)
    if data is None:
        raise InputError(f"{store.url}: there is no sweep here (no {CONFIG})")
    config = validate(yaml.safe_load(data), store.folder.path(CONFIG))
    record = _written(store)
    if record.get("format") != FORMAT or record["config"] != _digest(data):
        known = store.contents()
        unknown = [spec for spec in config.models if spec.key not in known]
        contents = {spec.key: models.content(spec.name, spec.revision) for spec in unknown}
        record = json.loads(_as_json(skipped.known(make_plan(config, {**contents, **known}), store), data))
    return search.picked(_from(record, config), store)


def _seeks(chain: Chain, batches: Sequence[str], n_edits: int, sought: Mapping[str, Any]) -> bool:
    if chain.base != sought["base"] or sought["facts"] not in batches[:n_edits]:
        return False
    search, hparams = sought["search"], chain.editor["hparams"]
    declared = {key: hparams.get(key, value) for key, value in search.items() if key not in PLACES}
    alike = {**declared, "prefixes": chain.editor.get("prefixes"), "version": search["version"]}
    return hparams.get("values") == "unedited" and all(alike[key] == search[key] for key in alike)


def _written(store: Store) -> dict[str, Any]:
    try:
        return json.loads(store.folder.read_or_none(FILE) or b"{}")
    except ValueError:  # not what `write` left
        return {}


def write(plan: Plan, store: Store) -> None:
    """Leave configuration and plan in the folder."""
    data = plan.config.as_yaml().encode()
    store.folder.write(CONFIG, data)
    store.folder.write(FILE, _as_json(plan, data).encode())


def _as_json(plan: Plan, config: bytes) -> str:
    cells = (*plan.cells, *plan.candidates)
    edited = [cell for cell in cells if cell.method is not None]
    most: dict[tuple[int, int, int], Cell] = {}  # the longest of those that edit the same batches
    for cell in sorted(edited, key=lambda cell: cell.checkpoints[-1]):
        most[_place(plan.config, cell), cell.seed, cell.batch_size] = cell
    record = {
        "format": FORMAT,
        "config": _digest(config),
        "cells": [_cell_record(plan.config, cell) for cell in plan.cells],
        "candidates": [_cell_record(plan.config, cell) for cell in plan.candidates],
        "scanned": sorted(plan.scanned),
        "kinds": plan.kinds,
        "asked": plan.asked,
        "stopped": plan.stopped,
        "remarks": remarks.of(plan),
        "named": _named(plan),
        "batches": [[*key, _batches(plan, cell)] for key, cell in most.items()],
        "chains": {cell.id: vars(plan.chain(cell)) for cell in edited},
    }
    return json.dumps(record, ensure_ascii=False)


def _from(record: Mapping[str, Any], config: Config) -> KeptPlan:
    cells, candidates = (tuple(_cell(config, one) for one in record[part]) for part in ("cells", "candidates"))
    batches = {(model, seed, size): digests for model, seed, size, digests in record["batches"]}
    return KeptPlan(
        config=config,
        cells=cells,
        candidates=candidates,
        scanned=frozenset(record["scanned"]),
        kinds=record["kinds"],
        asked=record["asked"],
        stopped=record["stopped"],
        remarks=tuple(record["remarks"]),
        named=record["named"],
        chains={
            cell.id: (Chain(**record["chains"][cell.id]), batches[_place(config, cell), cell.seed, cell.batch_size])
            for cell in (*cells, *candidates)
            if cell.method is not None
        },
    )


def _cell_record(config: Config, cell: Cell) -> dict[str, Any]:
    method = None if cell.method is None else config.methods.index(cell.method)
    return {**vars(cell), "model": config.models.index(cell.model), "method": method}


def _cell(config: Config, record: Mapping[str, Any]) -> Cell:
    method = None if record["method"] is None else config.methods[record["method"]]
    whole = {**record, "model": config.models[record["model"]], "method": method}
    return Cell(**{**whole, "checkpoints": tuple(record["checkpoints"])})


def _place(config: Config, cell: Cell) -> int:
    return config.models.index(cell.model)


def _batches(plan: Plan, cell: Cell) -> list[str]:
    return [facts.digest(operation.facts) for operation in plan.operations(cell, cell.checkpoints[-1])]


def _named(plan: Plan) -> dict[str, list[str]]:
    """The facts in the order of editing, as `measure.editing` counts them."""
    seeds = sorted({cell.seed for cell in plan.cells if cell.method})
    found = {}
    for model, out in [("", {}), *((f" {model.shown}", out) for model, out in plan.skipped.items() if out)]:
        for seed in seeds:
            drawn = facts.distinct(facts.draw(plan.facts, seed, len(plan.facts), out))[:NAMED_FACTS]
            found[f"{seed}{model}"] = [f"{fact.filled}: {fact.target}" for fact in drawn]
    return found


def _digest(config: bytes) -> str:
    return hashlib.sha256(config).hexdigest()
