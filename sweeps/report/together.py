"""Several sweeps in one report: a model is called by its sweep too, so that no mean is over two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain

import pandas as pd

from sweeps.report.webpage import Material
from sweeps.results.tradeoff import one_evaluation

SPAN = 10**9
"""Of indices in the outputs, per sweep: those of an edit set's answers are no other's."""


def together(name: str, sweeps: Mapping[str, Material]) -> Material:
    """What the report of all is made of.

    Of measurements each sweep keeps one evaluation by itself: where edit sets or examples differ, so do the ids of what
    has one name in all of them.

    Args:
        name: of the report.
        sweeps: by what each is called.
    """
    parts = [_called(own, number, one) for number, (own, one) in enumerate(sweeps.items())]
    planned = [one.planned for one in parts if one.planned is not None]
    return Material(
        name=name,
        rows=_stacked(one.rows for one in parts),
        outputs=_stacked(one.outputs for one in parts),
        table=_stacked(one.table for one in parts),
        planned=sum(planned) if len(planned) == len(parts) else None,
        failed=[*chain.from_iterable(one.failed for one in parts)],
        missing=[*chain.from_iterable(one.missing for one in parts)],
        left_out=sum(one.left_out for one in parts),
        facts={key: texts for one in parts for key, texts in one.facts.items()},
        search=[*chain.from_iterable(one.search for one in parts)],
        remarks=[*chain.from_iterable(one.remarks for one in parts)],
        environments=[*chain.from_iterable(one.environments for one in parts)],
        config="\n".join(f"# {own}\n{one.config}" for own, one in zip(sweeps, parts, strict=True) if one.config),
        command="\n".join(one.command for one in parts if one.command),
    )


def _called(name: str, number: int, one: Material) -> Material:
    """A sweep's material, each thing with the sweep's name."""

    def model(shown: str) -> str:
        return f"{shown} on {name}"

    def named(frame: pd.DataFrame) -> pd.DataFrame:
        own = {"cell": [f"{name}/{cell}" for cell in frame["cell"]]}
        own |= {"model": [model(shown) for shown in frame["model"]]} if "model" in frame else {}
        return frame.assign(**own)

    def told(lines: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(f"{name}: {cell}", why) for cell, why in lines]

    rows = one_evaluation(one.rows)
    outputs = one.outputs[one.outputs["evaluation"].isin(set(rows["evaluation"]))]
    models = one.rows["model"].unique()
    return replace(
        one,
        rows=named(rows).assign(evaluation=""),
        outputs=named(outputs).assign(evaluation="", index=outputs["index"] + number * SPAN),
        table=named(one.table),
        failed=told(one.failed),
        missing=told(one.missing),
        facts={f"{seed} {model(shown)}": texts for seed, shown, texts in _facts(one.facts, models)},
        search=[replace(found, title=f"{name}: {found.title}") for found in one.search],
        remarks=[f"{name}: {line}" for line in one.remarks],
    )


def _facts(facts: Mapping[str, Iterable[str]], models: Iterable[str]) -> Iterable[tuple[str, str, list[str]]]:
    """(seed, model, its facts), as `Material.facts` has them for all models, or for one that skips some."""
    models = list(models)
    for seed in (key for key in facts if " " not in key):
        for shown in models:
            yield seed, shown, list(facts.get(f"{seed} {shown}", facts[seed]))


def _stacked(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    frames = list(frames)
    return pd.concat([one for one in frames if len(one)] or frames[:1], ignore_index=True)
