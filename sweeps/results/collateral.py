"""Edits that destroy the model they are made in: said where it happens, of the edits alone, before any regularizer.

One healthy edit costs next to nothing. On Gemma 3 270M one ROME edit with the covariance of keys took perplexity from
33.0 to 33.2, 0.006 nats a token, and the same edit without it to 54, 67 or 188, 0.5 to 1.7 nats, by the layer. The
bound lies between these, an order of magnitude above the one and a factor of five below the other. It holds per edited
fact: fifty edits in a row may move a model more than one, and a sweep exists to see that.
"""

from __future__ import annotations

import math

import pandas as pd

from sweeps.results import tradeoff

BOUND = 0.1
"""Nats per edited fact: of the mean log-likelihood of a token (the log of perplexity), and of drift."""

WEIGHED = ("rome", "memit")
"""Methods that take a covariance of keys."""


def too_far(before: float, after: float, drift: float, facts: int = 1) -> bool:
    """Whether edits have moved a model beyond the bound: log(after / before) or drift above `BOUND` x facts.

    Args:
        before, after: perplexity of neutral text; an `after` that is not finite is beyond any bound.
        drift: nats, `rect.perplexity.drift`; NaN where it was not taken.
        facts: that were edited in.
    """
    allowed = BOUND * facts
    return not (math.isfinite(after) and math.log(after / before) <= allowed) or drift > allowed


def moved(before: float, after: float, drift: float, facts: int = 1) -> str:
    """How far, in words: "perplexity 33.0 to 188 (5.7 times), drift 1.9 nats, after 1 edit"."""
    times = f" ({after / before:.3g} times)" if math.isfinite(after) else ""
    told = "" if math.isnan(drift) else f", drift {drift:.2g} nats"
    return f"perplexity {before:.3g} to {after:.3g}{times}{told}, after {facts} edit{'' if facts == 1 else 's'}"


def advice(method: str) -> str:
    """What is at fault, and what to try instead."""
    covariance = "a covariance of keys (mom2_adjustment: true, `sweeps covariance`), " * method.startswith(WEIGHED)
    return f"The setting is at fault, not the regularizer: try {covariance}other layers, or a smaller step."


def found(rows: pd.DataFrame) -> list[str]:
    """One line per model, method, setting and batch size whose unregularized edits went beyond the bound at once.

    "At once" is the first checkpoint of a cell; of several seeds the worst is told. Cells without perplexity, or
    without that of their unedited model, are not judged.

    Args:
        rows: of a sweep, see `sweeps.store.store`.
    """
    rows = tradeoff.one_evaluation(rows)
    taken = rows[(rows["kind"] == "ability") & rows["name"].isin(tradeoff.ABILITIES)]
    if taken.empty:
        return []
    wide = taken.pivot_table(index=["cell", "n_edits"], columns="name", values="value", dropna=False).dropna(how="all")
    wide = wide.reindex(columns=list(tradeoff.ABILITIES)).reset_index()
    wide = wide.merge(taken.drop_duplicates("cell")[["cell", *tradeoff.IDS]], on="cell")
    is_unedited = wide["setting"] == tradeoff.UNEDITED
    before = wide[is_unedited].drop_duplicates("model").set_index("model")["perplexity"]
    first = wide[~is_unedited & (wide["regularizer"] == "none")].sort_values("n_edits").drop_duplicates("cell")
    first = first[first["model"].isin(before.index) & first["perplexity"].notna()]
    lines = []
    for _, group in first.groupby(list(tradeoff.GROUP), sort=False):
        worst = group.sort_values(["perplexity", "cell"], ascending=[False, True]).iloc[0]
        model, method, setting = (str(worst[axis]) for axis in ("model", "method", "setting"))
        batch_size = int(worst["batch_size"])
        edits = int(worst["n_edits"]) * batch_size
        figures = float(before[model]), float(worst["perplexity"]), float(worst["drift"]), edits
        if too_far(*figures):
            layers = _layers(rows[rows["cell"] == worst["cell"]])
            batch = f" in batches of {batch_size}" if batch_size > 1 else ""
            lines.append(f"{model}, {method}, {setting}{batch}{layers}: {moved(*figures)}. {advice(method)}")
    return lines


def _layers(rows: pd.DataFrame) -> str:
    """ ", layers 4, 5": those of the matrices that rows of kind `weights` tell about."""
    numbers = rows.loc[rows["kind"] == "weights", "name"].str.extract(r"\.(\d+)\.", expand=False).dropna()
    layers = sorted({int(number) for number in numbers})
    return f", layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}" if layers else ""
