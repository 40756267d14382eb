"""What makes two computations the same: ids of operations, sequences and evaluations, and the plan that they make up.

Each id is the SHA-256 of canonical JSON over declared things only: names, revisions, versions, the content of facts and
examples. So a plan needs no weights, and asking for one more task, checkpoint, k or seed asks for nothing else anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from modelfolder import digest
from modelfolder.errors import InputError
from rect import fact_files, facts, metrics, models
from sweeps.config.config import Config, EditsSpec, EngineSpec, MethodSpec, ModelSpec, RegularizerSpec, TasksSpec
from sweeps.plan import edit_set as edit_sets
from sweeps.plan import grid, metric_ids
from sweeps.plan.chain import Chain, Link, identify
from sweeps.plan.grid import Cell
from sweeps.plan.outline import ABILITY, EDIT, WEIGHTS, Outline, metric_kind

if TYPE_CHECKING:
    from rect.covariance import Recipe
    from rect.facts import Fact
    from tasks.base import Task
    from tasks.records import Example

VERSIONS = {EDIT: "3", ABILITY: "2", WEIGHTS: "1"}
"""Go up whenever what the rows of that kind mean changes."""

THRESHOLDS = (0.077, 0.171)
"""Relative changes whose exceedance is reported: percentiles 80 and 90 over single ROME edits of GPT-2 XL (Table 1)."""


@dataclass(frozen=True)
class Operation(Link):
    """One edit operation of a cell, with its facts."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Exam:
    """A task with the examples it is asked on, and the id of that evaluation.

    Attributes:
        provenance: where the examples come from: file and SHA-256, or data set and the revision that was found.
    """

    task: Task
    examples: tuple[Example, ...]
    evaluation: str
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.task.name

    @cached_property
    def chance(self) -> float:
        """What knowing nothing scores on these examples; NaN where that is not known."""
        return self.task.chance(self.examples)

    @property
    def described(self) -> dict[str, Any]:
        """What is asked, and where its examples come from."""
        return {"version": self.task.version, "examples": len(self.examples), **self.provenance}


@dataclass(frozen=True, kw_only=True)
class Plan(Outline):
    """Everything that a trial needs to know and that ids are made of. Small: texts, no weights.

    Attributes:
        dropped: (what, why).
        facts: the edit set.
        questions: per task.
        engine: "vllm" or "transformers".
        editors: declared things of each method on each model.
        skipped: per model the facts that it cannot be edited with, by index, each with the reason: the next ones of the
            permutation take their place (`sweeps.plan.skipped`).
        contents: what each model is made of (`rect.models.content`); None where that is not known here.
        unusable: which records of the facts' source are no facts, if any are not.
    """

    dropped: tuple[tuple[str, str], ...]
    facts: tuple[Fact, ...]
    questions: tuple[Exam, ...]
    engine: str
    editors: Mapping[tuple[ModelSpec, MethodSpec], Mapping[str, Any]]
    skipped: Mapping[ModelSpec, Mapping[int, str]] = field(default_factory=dict)
    contents: Mapping[ModelSpec, str | None] = field(default_factory=dict)
    unusable: tuple[str, ...] = ()

    def revision(self, model: ModelSpec) -> str | None:
        """The commit that the sweep was planned with, whatever a branch is by now."""
        return digest.commit(self.contents.get(model)) or model.revision

    @property
    def spoken(self) -> list[str]:
        """Metrics that an engine is asked for."""
        return [name for name in self.config.metrics if isinstance(metrics.get(name), metrics.Spoken)]

    def of_engine(self) -> set[str]:
        """Ids of the evaluations that need an engine."""
        return {one.evaluation for one in self.questions} | {self.kinds[metric_kind(name)] for name in self.spoken}

    def edited(self, cell: Cell, n_edits: int) -> list[Fact]:
        """The facts of the first operations, in order."""
        return [fact for batch in self._batches(cell, n_edits) for fact in batch]

    def _batches(self, cell: Cell, n_edits: int) -> list[tuple[Fact, ...]]:
        """The facts of each of the first operations: so many instances, where facts belong to some, else facts."""
        if not n_edits or cell.method is None:
            return []
        drawn = self.facts, cell.seed, n_edits
        out = self.skipped.get(cell.model, {})
        if cell.edits_one:
            return [(fact,) for fact in facts.draw(*drawn, out)]
        return facts.draw_batches(*drawn, cell.batch_size, out)

    def operations(self, cell: Cell, n_edits: int) -> Iterator[Operation]:
        """The first operations of a cell, each with its id."""
        if cell.method is None:
            return
        batches = self._batches(cell, n_edits)
        links = self.chain(cell).links(facts.digest(batch) for batch in batches)
        for link, batch in zip(links, batches, strict=True):
            yield Operation(link.id, link.before, link.state, link.seed, batch)

    def chain(self, cell: Cell) -> Chain:
        """What the ids of an edited cell's operations are made of, the facts aside."""
        assert cell.method is not None
        base = base_state(cell.model, self.contents.get(cell.model))
        return Chain(base, self.editors[cell.model, cell.method], _applied(cell), cell.seed)


def contents_here(config: Config, otherwise: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the models of a configuration are made of, by `ModelSpec.key`, as far as they are at hand.

    Args:
        config: the sweep.
        otherwise: what is known of those that are not, as `Store.contents` has it.

    Raises:
        InputError: a local model that cannot be used.
    """
    found = dict(otherwise or {})
    for spec in config.models:
        models.check(spec.name)
        content = models.content(spec.name, spec.revision)
        if content is not None:
            found[spec.key] = content
    return found


def make_plan(config: Config, contents: Mapping[str, str | None] | None = None) -> Plan:
    """The cells that a configuration asks for, with ids. Reads facts and examples, loads no model.

    Args:
        config: the sweep.
        contents: what its models are made of, by `ModelSpec.key`; None looks at the models at hand. The ids of one
            that is neither here nor there are made of its name, and hold until it is.

    Raises:
        InputError: a local model that cannot be used, two that are the same, a method without a legal cell, or an edit
            set or a task's data that cannot be read.
    """
    from tasks import engines

    known = contents_here(config) if contents is None else contents
    made_of = {spec: known.get(spec.key) for spec in config.models}
    _check_distinct(made_of)
    cells, looked, dropped = _cells(config)
    unusable: list[str] = []
    edits, edit_set = _edit_set(config.edits, unusable.append)
    config = config.model_copy(update={"edits": edits})
    engine = engines.which(config.engine.name)
    declared = {
        (model, method): _editor(model, method, made_of[model]) for model in config.models for method in config.methods
    }
    content = facts_of(config.edits, edit_set, declared.values())
    named, others = (
        tuple(replace(cell, id=_sequence(cell, declared, content, made_of[cell.model])) for cell in part)
        for part in (cells, looked)
    )
    questions = tuple(exam_of(config.tasks, name, engine, config.engine) for name in config.tasks.names)
    plan = Plan(
        config=config,
        cells=named,
        kinds={kind: evaluation_of(kind, config.engine.dtype) for kind in VERSIONS}
        | metric_ids.of(config, engine, edit_set),
        asked={one.name: one.evaluation for one in questions},
        stopped=identify("evaluation", "stop", [rule.model_dump(mode="json") for rule in config.stop]),
        dropped=tuple(dropped),
        facts=edit_set,
        unusable=tuple(unusable),
        questions=questions,
        engine=engine,
        editors=declared,
        contents=made_of,
    )
    if config.search is None or config.search.optuna is not None:
        return replace(plan, candidates=others)
    by_model = sorted((*named, *others), key=lambda cell: config.models.index(cell.model))
    return replace(plan, cells=tuple(by_model), scanned=frozenset(cell.id for cell in others))


def facts_of(edits: EditsSpec, edit_set: Sequence[Fact], editors: Iterable[Mapping[str, Any]]) -> str:
    """Id of the facts that cells draw from. Where some may be skipped, by which rule is a part of it."""
    digest = facts.digest(edit_set)
    if edit_sets.is_own(edits):
        return digest
    return identify("facts", digest, {"skipped": edit_sets.SKIPPING, "room": edit_sets.room(edits, editors)})


def _cells(config: Config) -> tuple[list[Cell], list[Cell], list[tuple[str, str]]]:
    """The cells of the grid, those that a search may look at besides, and what was dropped."""
    if config.search is None:
        cells, dropped = grid.expand(config)
        return cells, [], dropped
    levels = (RegularizerSpec(name="none"), *config.regularizers)  # what the share of the editing is a share of
    looked = (RegularizerSpec(name=name, k=config.search.ks) for name in config.search.regularizers)
    cells, dropped = grid.expand(config.model_copy(update={"regularizers": levels}))
    grown, _ = grid.expand(config.model_copy(update={"regularizers": (*levels, *looked)}))
    there = set(cells)
    return cells, [cell for cell in grown if cell not in there], dropped


def _check_distinct(made_of: Mapping[ModelSpec, str | None]) -> None:
    """Two names for one model at one dtype would be two columns of the same numbers."""
    first: dict[str, ModelSpec] = {}
    for spec, content in made_of.items():
        other = first.setdefault(base_state(spec, content), spec)
        if other != spec:
            raise InputError(f"models: {other.name} and {spec.name} are the same model ({content}); name it once")


def base_state(model: ModelSpec, content: str | None) -> str:
    """The state before any operation. A model is its content; one that is not at hand has a name alone."""
    if content is None:
        return identify("base", {"name": model.name, "revision": model.revision, "dtype": model.dtype})
    return identify("base", {"content": content, "dtype": model.dtype})


def unedited(model: ModelSpec, content: str | None) -> Cell:
    """The cell of a model without any operation, with its id."""
    cell = Cell(model)
    return replace(cell, id=_sequence(cell, {}, "", content))


def _sequence(cell: Cell, editors: Mapping[Any, Mapping[str, Any]], edit_set: str, content: str | None) -> str:
    """A cell's id: its chain of operations however long; neither checkpoints nor the number of edits are in it."""
    state = base_state(cell.model, content)
    if cell.method is None:
        return identify("sequence", state)
    editor = editors[cell.model, cell.method]
    chain = [cell.setting, cell.batch_size, *_regularized(cell), cell.seed]
    return identify("sequence", state, editor, edit_set, *chain)


def _regularized(cell: Cell) -> tuple[str, str, float | None]:
    from rect import regularizers

    return cell.regularizer, regularizers.get(cell.regularizer).version, cell.k


def _applied(cell: Cell) -> tuple[str, str, float | None]:
    """The regularizer of each operation: one of checkpoints leaves the operations as they are."""
    from rect import regularizers

    if regularizers.get(cell.regularizer).when == "operation":
        return _regularized(cell)
    return "none", regularizers.get("none").version, None


def covariance_recipe(model: ModelSpec, method: MethodSpec, content: str | None = None) -> Recipe:
    """What the covariance of keys is computed from, for a method that can use one."""
    from rect import editors
    from rect.editors import hyperparameters, second_moment

    cls = editors.get(method.name).hparams_class
    declared = hyperparameters.declared(cls, method.hparams, model.name)
    given = second_moment.Given(**method.covariance.model_dump())
    about = {"revision": model.revision, "dtype": model.dtype, "content": content}
    return second_moment.recipe(cls, declared, model.name, given, **about)


def _editor(model: ModelSpec, method: MethodSpec, content: str | None) -> dict[str, Any]:
    """Declared things of a method on a model: name, version, hyperparameters, prefixes, covariance."""
    from rect import editors

    declared = editors.declared(method.name, model.name, method.hparams, covariance={})
    if declared.get("covariance") is None:  # the method uses none
        return declared
    return {**declared, "covariance": covariance_recipe(model, method, content).identity}


def covariance_notes(plan: Plan) -> list[str]:
    """What each method's `covariance` changes in its hyperparameters, or that it changes nothing, one line each."""
    from rect import editors
    from rect.editors import hyperparameters, second_moment

    notes = []
    for (model, method), declared in plan.editors.items():
        given = second_moment.Given(**method.covariance.model_dump())
        if declared.get("covariance") is None:
            unused = "it has no effect: the method, or its mom2_adjustment, uses none"
            lines = [unused] if given != second_moment.Given() else []
        else:
            values = hyperparameters.declared(editors.get(method.name).hparams_class, method.hparams, model.name)
            lines = second_moment.contradictions(values, given)
        notes += [f"{method.shown} on {model.name}: covariance: {line}" for line in lines]
    return notes


def _edit_set(edits: EditsSpec, told: Callable[[str], None]) -> tuple[EditsSpec, tuple[Fact, ...]]:
    """The facts, and where they come from with the format that they are in, for `auto`."""
    found = fact_files.found(edits.source, edits.format, edits.strict, told)
    units = facts.units(found.facts)
    if edits.count and edits.count > len(units):
        raise InputError(f"edits.count: {edits.count} facts are asked for, {edits.source} has {len(units)}")
    taken = tuple(found.facts[index] for unit in units[: edits.count] for index in unit)
    return edits.model_copy(update={"format": found.format}), taken


@cache
def evaluation_of(kind: str, dtype: str) -> str:
    """Id of an evaluation that is not a task."""
    return identify("evaluation", kind, VERSIONS[kind], {WEIGHTS: THRESHOLDS}.get(kind, dtype))


def exam_of(spec: TasksSpec, name: str, engine: str, limits: EngineSpec) -> Exam:
    """A task with its examples, as it is asked of an engine ("vllm" or "transformers")."""
    import tasks

    task = tasks.get(name)
    task = (task.in_chat() if spec.chat_template else task).on(spec.source)
    drawn = task.examples(spec.source, limit=spec.examples, seed=spec.seed)
    content = [[example.id, example.fields, example.gold] for example in drawn]
    how = [engine, limits.dtype, limits.max_model_len]
    evaluation = identify("evaluation", "task", task.name, task.version, identify(content), *how)
    return Exam(task, tuple(drawn), evaluation, drawn.provenance)
