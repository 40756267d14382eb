"""Which figures there are: what each shows, of which methods, settings and models."""

from __future__ import annotations

from dataclasses import dataclass

from modelfolder.errors import InputError, nearest

GPT2, LLAMA1, LLAMA2 = "GPT-2 XL", "LLaMA-1 (7B)", "LLaMA-2 (7B)"
SHOWN_IN_8 = ("summarization", "open_domain_qa", "closed_domain_qa", "sentiment")
TASKS = ("reasoning", "nli", "open_domain_qa", "closed_domain_qa", "dialogue", "summarization", "ner", "sentiment")


@dataclass(frozen=True)
class Figure:
    """One figure or table of the paper.

    Attributes:
        name: as the command and the configuration call it.
        layout: which function draws it, a key of `sweeps.figures.draw.LAYOUTS`.
        setting: whose cells are shown.
        methods, models: by the paper's names, in the paper's order; where a sweep has none of the models, its own are
            shown instead.
        tasks: panels, or lines of a panel; all eight if not given.
        statement: what the paper reads off it.
    """

    name: str
    title: str
    layout: str
    setting: str
    methods: tuple[str, ...]
    models: tuple[str, ...]
    statement: str
    tasks: tuple[str, ...] = TASKS


_SEQUENTIAL = "tasks go down as edits accumulate; KN collapses after one edit"
_BATCH = "tasks go down as the batch grows, in most cases; MEMIT on GPT-2 XL holds to about 100 facts"
_BOTH = "more edits and larger batches both hurt"
_RECT = "the fewer elements are kept, the more of the tasks is preserved"
_KEEPS = "RECT 40 keeps at least 94% of reliability and generalization; Random 40 and PCA 40 lose most of the editing"
_WEIGHTS = "an update is sparse in relative terms, and its traces grow with the number of edits"


def _sequential(name: str, models: tuple[str, ...]) -> Figure:
    title = "Tasks over sequential edits"
    return Figure(name, title, "tasks over edits", "instance-sequential", ("kn", "rome"), models, _SEQUENTIAL)


def _batches(name: str, models: tuple[str, ...]) -> Figure:
    title = "Tasks over the batch size"
    return Figure(name, title, "tasks by batch", "batch-single", ("mend", "memit"), models, _BATCH)


def _batch_sequential(name: str, method: str, model: str) -> Figure:
    title = f"{method.upper()} on {model}, batches one after the other"
    return Figure(name, title, "batches over edits", "batch-sequential", (method,), (model,), _BOTH)


def _regularized(name: str, models: tuple[str, ...], tasks: tuple[str, ...]) -> Figure:
    title, layout = "Tasks under regularizers", "regularizers over edits"
    return Figure(name, title, layout, "instance-sequential", ("rome",), models, _RECT, tasks)


FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        _sequential("figure-03", (GPT2, LLAMA1)),
        _batches("figure-04", (GPT2, LLAMA1)),
        Figure("figure-05", "Relative change of the weights", "weights", "instance-sequential", ("rome",), (GPT2,),
               _WEIGHTS),
        Figure("figure-07", "Editing under regularizers", "editing", "", ("rome", "memit"), (GPT2, LLAMA1), _KEEPS),
        _regularized("figure-08", (GPT2,), SHOWN_IN_8),
        _sequential("figure-09", (LLAMA2,)),
        _batches("figure-10", (LLAMA2,)),
        _batch_sequential("figure-11", "mend", GPT2),
        _batch_sequential("figure-12", "memit", GPT2),
        _batch_sequential("figure-13", "mend", LLAMA1),
        _batch_sequential("figure-14", "memit", LLAMA1),
        _batch_sequential("figure-15", "mend", LLAMA2),
        _batch_sequential("figure-16", "memit", LLAMA2),
        Figure("appendix-rect-editing", "Editing under regularizers", "editing", "", ("rome", "memit"), (LLAMA2,),
               _KEEPS),
        _regularized("appendix-rect-tasks", (GPT2,), tuple(task for task in TASKS if task not in SHOWN_IN_8)),
        _regularized("appendix-rect-llama-2", (LLAMA2,), TASKS),
        Figure("table-1", "How far the weights move", "table", "instance-sequential", ("rome",), (GPT2,), _WEIGHTS),
    )
}  # fmt: skip


def find(name: str) -> Figure:
    """A figure by name: "figure-08", "8", "figure8".

    Raises:
        InputError: there is none.
    """
    digits = name.lower().removeprefix("figure").lstrip("-_ ")
    wanted = f"figure-{int(digits):02d}" if digits.isdecimal() else name.lower()
    if wanted not in FIGURES:
        raise InputError(f"figure {name!r} is not known; {nearest(wanted, FIGURES, 'there are ')}")
    return FIGURES[wanted]
