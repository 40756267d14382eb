"""Where a tuning measures settings: a model that is edited and put back, in this process or in actors of Ray."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rect import covariance, editors, evaluation, perplexity
from rect.editors import second_moment
from rect.facts import Fact
from rect.model import EditableModel
from rect.update import UpdateError
from sweeps.plan.tuning import Operation
from sweeps.run import measure

if TYPE_CHECKING:
    from rect.covariance import Covariance
    from rect.prefixes import Prefixes


@dataclass(frozen=True)
class Task:
    """One operation to measure: facts, and the hyperparameters, all of them."""

    method: str
    values: Mapping[str, Any]
    facts: tuple[Fact, ...]


class Bench:
    """A model, and what measuring it over and over needs but once.

    Args:
        model: its name.
        device, dtype: of it.
    """

    def __init__(self, model: str, device: str = "auto", dtype: str = "float32") -> None:
        self.model = EditableModel.load(model, device, dtype)
        self._unedited = measure.Unedited()
        self._unedited.remember(self.model, [])
        self._prefixes: dict[str, Prefixes] = {}

    def covariance(self, method: str, values: Mapping[str, Any], layers: Sequence[int]) -> Covariance:
        """The covariance of keys of these layers, from the cache; where it is not there, one pass for all."""
        cls = editors.get(method).hparams_class
        dtype = str(self.model.dtype).removeprefix("torch.")
        recipe = second_moment.recipe(cls, values, self.model.name, dtype=dtype)
        return covariance.ensure(self.model, recipe, layers)

    def unedited(self, facts: Sequence[Fact]) -> float:
        """Success without any edit: what the model says already, or shares tokens with."""
        scores = evaluation.evaluate(self.model, facts).per_fact
        kinds = scores[evaluation.RELIABILITY], scores[evaluation.GENERALIZATION]
        return statistics.fmean(Operation(*kinds, 0.0, 0.0).success)

    def measure(self, task: Task) -> Operation:
        """Make one edit, look, and put the model back."""
        began = time.perf_counter()
        facts, prompts = list(task.facts), measure.neutral_prompts()
        hparams = editors.get(task.method).hparams_class.parse(task.values, f"{task.method} hyperparameters")
        try:
            with self.model.edited(self._editor(task.method, hparams).compute(self.model, facts)):
                scores = evaluation.evaluate(self.model, facts).per_fact
                drift = perplexity.drift(self._unedited.neutral, self.model, prompts)
        except UpdateError as error:
            return Operation((), (), math.nan, time.perf_counter() - began, str(error))
        return Operation(
            scores[evaluation.RELIABILITY],
            scores[evaluation.GENERALIZATION],
            drift,
            time.perf_counter() - began,
            "" if math.isfinite(drift) else "the edited model gives no numbers",
        )

    def _editor(self, method: str, hparams: Any) -> editors.Editor:
        """An editor; context prefixes, which depend on the model alone, are drawn once."""
        needed = getattr(hparams, "mom2_adjustment", False)
        found = self.covariance(method, hparams.model_dump(), hparams.layers) if needed else None
        lengths = repr(getattr(hparams, "context_template_length_params", None))
        editor = editors.build(method, self.model, hparams, self._prefixes.get(lengths), found)
        if drawn := getattr(editor, "prefixes", None):
            self._prefixes[lengths] = drawn
        return editor


class Pool(Protocol):
    """Something that measures one task a worker at a time."""

    workers: int

    def start(self, worker: int, task: Task) -> None:
        """Give an idle worker a task."""

    def next(self) -> tuple[int, Operation]:
        """Wait for the next result: whose, and what."""


class Here:
    """This process."""

    workers = 1

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def start(self, worker: int, task: Task) -> None:
        self._task = task

    def next(self) -> tuple[int, Operation]:
        return 0, self._bench.measure(self._task)


class Actors:
    """Actors of the Ray that this process is connected to, each with a model of its own; a GPU each where there are
    enough.

    Raises (in `next`):
        InputError: of a worker.
        RuntimeError: a worker died.
    """

    def __init__(self, workers: int, *bench: Any) -> None:
        import ray

        gpus = int(ray.cluster_resources().get("GPU", 0) >= workers)
        remote: Any = ray.remote(num_cpus=1, num_gpus=gpus)(Bench)
        self.workers = workers
        self._actors: list[Any] = [remote.remote(*bench) for _ in range(workers)]
        self._running: dict[Any, int] = {}

    def start(self, worker: int, task: Task) -> None:
        self._running[self._actors[worker].measure.remote(task)] = worker

    def next(self) -> tuple[int, Operation]:
        import ray

        (ready, *_), _ = ray.wait(list(self._running))
        worker = self._running.pop(ready)
        try:
            return worker, ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayActorError as error:
            raise RuntimeError(f"a worker died: {' '.join(str(error).split())[:200]}") from None
