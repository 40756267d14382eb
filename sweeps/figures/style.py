"""How the figures look: the paper's colours and marks, legends below the axes, readable at column width."""

from __future__ import annotations

from typing import Any

TASKS: dict[str, tuple[str, str]] = {  # colour, mark
    "closed_domain_qa": ("#1f1fe0", "o"),
    "sentiment": ("#0a7d0a", "*"),
    "nli": ("#e69500", "^"),
    "open_domain_qa": ("#d6408f", "X"),
    "summarization": ("#00a7b5", "P"),
    "ner": ("#222222", "v"),
    "dialogue": ("#77771a", "D"),
    "reasoning": ("#b5651d", "s"),
}
REGULARIZERS: dict[str, tuple[str, str]] = {
    "none": ("#4d4d4d", "o"),
    "rect 80": ("#a50f15", "*"),
    "rect 60": ("#ef3b2c", "^"),
    "rect 40": ("#fb6a4a", "X"),
    "rect 20": ("#fcae91", "P"),
    "random 40": ("#e0b400", "d"),
    "pca-release 40": ("#56b4e9", "D"),
    "pca 40": ("#0072b2", "D"),
    "magnitude 40": ("#009e73", "s"),
}
NUMBERED = ("#2b2bd8", "#0a7d0a", "#e69500", "#e0569c", "#00b7c7", "#77771a", "#6a3d9a", "#8c564b")
MARKS = "o^sDvPX*"

SETTINGS: Any = {  # matplotlib's own type lists every key
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "svg.hashsalt": "rect-sweeps",  # the same figure is the same file
    "figure.constrained_layout.use": True,
}


def of(key: str) -> tuple[str, str]:
    """Colour and mark of a series."""
    known = TASKS | REGULARIZERS
    if key in known:
        return known[key]
    number = int(key) if key.isdecimal() else sum(key.encode())
    return NUMBERED[number % len(NUMBERED)], MARKS[number % len(MARKS)]
