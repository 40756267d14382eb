"""Several sweeps in one report: a model is called by its sweep too, so that no mean is over two of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import union_categoricals

from sweeps.report.webpage import Material
from sweeps.results.tradeoff import one_evaluation
from sweeps.store.outputs import Outputs

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
        texts=_texts(sweeps),
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
    codes, cells = pd.factorize(outputs["cell"])
    calls = pd.Categorical.from_codes(codes, pd.Index([f"{name}/{cell}" for cell in cells], dtype=object))
    models = one.rows["model"].unique()
    return replace(
        one,
        rows=named(rows).assign(evaluation=""),
        outputs=outputs.assign(cell=calls, evaluation="", index=outputs["index"] + number * SPAN),
        table=named(one.table),
        failed=told(one.failed),
        missing=told(one.missing),
        facts={f"{seed} {model(shown)}": texts for seed, shown, texts in _facts(one.facts, models)},
        search=[replace(found, title=f"{name}: {found.title}") for found in one.search],
        remarks=[f"{name}: {line}" for line in one.remarks],
    )


def _texts(sweeps: Mapping[str, Material]) -> Outputs:
    """The outputs of all with their texts, called as `_called` does."""
    said = {own: Outputs(one.said.tables, None, _evaluations(one)) for own, one in sweeps.items()}

    def read(columns: Sequence[str], cells: Collection[str] | None) -> Iterator[pa.Table]:
        for number, (own, outputs) in enumerate(said.items()):
            mine = None if cells is None else {c.removeprefix(f"{own}/") for c in cells if c.startswith(f"{own}/")}
            for table in outputs.tables(columns, mine):
                found = {str(name): table[name] for name in columns} | {"evaluation": pa.array([""] * len(table))}
                if "cell" in columns:
                    found["cell"] = pc.binary_join_element_wise(f"{own}/", table["cell"], "")
                if "index" in columns:
                    found["index"] = pc.add(table["index"], number * SPAN)
                yield pa.table([found[name] for name in columns], names=list(columns))

    return Outputs(read)


def _evaluations(one: Material) -> set[str]:
    return set(one_evaluation(one.rows)["evaluation"])


def _facts(facts: Mapping[str, Iterable[str]], models: Iterable[str]) -> Iterable[tuple[str, str, list[str]]]:
    """(seed, model, its facts), as `Material.facts` has them for all models, or for one that skips some."""
    models = list(models)
    for seed in (key for key in facts if " " not in key):
        for shown in models:
            yield seed, shown, list(facts.get(f"{seed} {shown}", facts[seed]))


def _stacked(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    every = list(frames)
    some = [one for one in every if len(one)] or every[:1]
    for name in [name for name, kind in some[0].dtypes.items() if isinstance(kind, pd.CategoricalDtype)]:
        known = union_categoricals([pd.Categorical(one[name]) for one in some]).categories
        some = [one.assign(**{str(name): pd.Categorical(one[name], categories=known)}) for one in some]
    return pd.concat(some, ignore_index=True)
