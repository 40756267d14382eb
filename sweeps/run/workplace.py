"""A model and an engine at one place, kept warm from cell to cell; both are replaced when a cell has another model."""

from __future__ import annotations

import gc
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from modelfolder.errors import InputError
from rect import editors, models
from rect.covariance import Covariance
from rect.editors import hyperparameters
from rect.editors.base import Editor
from rect.editors.memit import Memit
from rect.model import EditableModel
from rect.prefixes import Prefixes
from sweeps.config.config import MethodSpec, ModelSpec
from sweeps.plan.identity import Plan, base_state, covariance_recipe, identify
from sweeps.run import cluster, covariances
from sweeps.run.measure import Unedited
from sweeps.run.vectors import Once
from sweeps.store.journal import Journal
from sweeps.store.store import Store
from tasks import engines
from tasks.engines.base import Engine

log = logging.getLogger(__name__)

FRUGAL_TOKENS = 256
"""Tokens in one forward pass of the metrics after a device's memory did not suffice."""

SLACK = 64 * 2**20
"""Bytes that may stay in use on a device when a model is closed: workspaces of its libraries."""


@dataclass(eq=False)
class Workplace(AbstractContextManager["Workplace"]):
    """Holds what is expensive to start.

    Attributes:
        plan: the sweep.
        store: its output folder.
        journal: this process' log.
        device: of the model: "auto", "cpu", "cuda", ...
        environment: id of the run's, which its rows carry.
        alone: a context in which no other cell of the run (second id) computes an operation (first id).
        shared: whether the run has several nodes, each with a cache of its own.
    """

    plan: Plan
    store: Store
    journal: Journal
    device: str = "auto"
    environment: str = ""
    alone: Callable[[str, str], AbstractContextManager[None]] = lambda operation, cell: nullcontext()
    shared: bool = False

    def __post_init__(self) -> None:
        self._spec: ModelSpec | None = None
        self._model: EditableModel | None = None
        self._engine: Engine | None = None
        self._editors: dict[MethodSpec, Editor] = {}
        self._once: Once | None = None
        self.unedited = Unedited()
        self.frugal = False

    def save_memory(self) -> None:
        """From now on read fewer tokens at a time. Frees what is cached."""
        self.frugal = True
        if self._model is not None:
            self._model.tokens_per_batch = FRUGAL_TOKENS
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def model(self, spec: ModelSpec, generates: bool = False) -> EditableModel:
        """The model, unedited.

        Where something will be generated the engine is started first: on a GPU it measures free memory at its start, on
        a CPU it can start while the model is loaded and edited.
        """
        if self._model is None or self._spec != spec:
            self.close()
            self._spec = spec
            if generates:
                self.engine()
            self._model = EditableModel.load(
                spec.name, self.device, spec.dtype, self.plan.revision(spec), trust_remote_code=spec.trust_remote_code
            )
            self._check(spec, self._model)
            if self.frugal:
                self._model.tokens_per_batch = FRUGAL_TOKENS
        self._model.restore()
        return self._model

    def _check(self, spec: ModelSpec, model: EditableModel) -> None:
        """Ids are made of the content that the driver saw: here must be the same."""
        planned = self.plan.contents.get(spec)
        if planned is not None and model.content != planned:
            raise InputError(
                f"{spec.name} is here ({model.folder}) another model than this sweep was planned with: "
                f"{model.content}, not {planned}; have the same files on every node, or run the sweep again"
            )

    def engine(self) -> Engine:
        """The engine of the present model, started when it is first asked for."""
        if self._engine is None:
            assert self._spec is not None
            began = time.perf_counter()
            limits = self.plan.config.engine
            with cluster.engine_devices(limits.tensor_parallel_size):
                self._engine = engines.create(
                    self.plan.engine,
                    models.resolve(self._spec.name, self.plan.revision(self._spec)),
                    **limits.options,
                    trust_remote_code=self._spec.trust_remote_code,
                    wait=self.device != "cpu" and torch.cuda.is_available(),
                )
            self.journal.write("engine-started", name=self.plan.engine, seconds=round(time.perf_counter() - began, 3))
        return self._engine

    def editor(self, method: MethodSpec) -> Editor:
        """The editing method on the present model, to be asked for first while that is unedited."""
        assert self._model is not None
        if method not in self._editors:
            editors.check(method.name, self._model.name, method.hparams)  # before covariances are computed for it
            editor = editors.build(
                method.name, self._model, method.hparams, self._prefixes(method), self._covariance(method)
            )
            if isinstance(editor, Memit):
                editor.keep = self._vectors()
            self._editors[method] = editor
        return self._editors[method]

    def _vectors(self) -> Once:
        """Where vectors of the present model lie that are found once."""
        assert self._spec is not None
        if self._once is None:
            base = base_state(self._spec, self.plan.contents.get(self._spec))
            self._once = Once(base, self.store, self.journal, self.alone)
        return self._once

    @property
    def waited(self) -> float:
        """Seconds in which an edit waited for what another worker found."""
        return self._once.waited if self._once is not None else 0.0

    def _prefixes(self, method: MethodSpec) -> Prefixes | None:
        """Context prefixes, drawn once from the unedited model, the same for all workers; None if a method has none."""
        assert self._model is not None
        assert self._spec is not None
        recipe = self.plan.editors[self._spec, method].get("prefixes")
        if recipe is None:
            return None
        name = f"prefixes/{identify(base_state(self._spec, self.plan.contents.get(self._spec)), recipe)}.json"
        kept = self.store.folder.read_or_none(name)
        if kept is None:
            with self.alone(name, uuid.uuid4().hex):
                kept = self.store.folder.read_or_none(name)  # another worker may have been at it
                if kept is None:
                    drawn = Prefixes.sample(self._model, recipe["seed"], recipe["lengths"])
                    kept = self.store.shared(name, drawn.to_bytes())
        return Prefixes.from_bytes(kept, name)

    def _covariance(self, method: MethodSpec) -> Covariance | None:
        """Covariance of keys, from the cache or computed now; None where the hyperparameters ask for none."""
        assert self._model is not None
        assert self._spec is not None
        if self.plan.editors[self._spec, method].get("covariance") is None:
            return None
        hparams: Any = hyperparameters.resolve(editors.get(method.name).hparams_class, method.hparams, self._model)
        recipe = covariance_recipe(self._spec, method, self.plan.contents.get(self._spec))
        return covariances.once(self._model, recipe, hparams.layers, self.store, self.journal, self.alone, self.shared)

    def close(self) -> None:
        """Give the model's and the engine's memory back."""
        if self._engine is not None:
            self._engine.close()
            self.journal.write("engine-closed", name=self.plan.engine)
        device = None if self._model is None else self._model.device
        self._engine = self._model = self._spec = self._once = None
        self._editors.clear()
        self.unedited = Unedited()
        gc.collect()  # models and what watches them refer to each other
        if device is not None and device.type != "cpu":
            self._emptied(device)

    def _emptied(self, device: torch.device) -> None:
        """Let go of the memory that torch keeps of a device for later, and say so where some is still in use."""
        of_device = torch.get_device_module(device)
        of_device.empty_cache()
        left = of_device.memory_allocated(device)
        if left > SLACK:
            log.warning("%.2f GiB on %s are still in use after its model was closed", left / 2**30, device)
            self.journal.write("memory-left", device=str(device), bytes=left)

    def __exit__(self, *_: object) -> None:
        self.close()
