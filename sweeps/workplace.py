"""A model and an engine at one place, kept warm from cell to cell; both are replaced when a cell has another model."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from rect import editors, models
from rect.model import EditableModel
from rect.prefixes import Prefixes
from sweeps.config import MethodSpec, ModelSpec
from sweeps.identity import PREFIX_SEED, Plan, base_state
from sweeps.journal import Journal
from sweeps.store import Store
from tasks import engines

if TYPE_CHECKING:
    from rect.editors.base import Editor
    from tasks.engines.base import Engine

log = logging.getLogger(__name__)


class Workplace:
    """Holds what is expensive to start.

    Args:
        plan: the sweep.
        store: its output folder.
        journal: this process' log.
        device: of the model: "auto", "cpu", "cuda", ...
    """

    def __init__(self, plan: Plan, store: Store, journal: Journal, device: str = "auto") -> None:
        self.plan = plan
        self.store = store
        self.journal = journal
        self.device = device
        self._spec: ModelSpec | None = None
        self._model: EditableModel | None = None
        self._engine: Engine | None = None
        self._editors: dict[MethodSpec, Editor] = {}
        self.memory: dict[str, Any] = {}  # what measures of this model need again: baselines of the unedited weights

    def model(self, spec: ModelSpec, generates: bool = False) -> EditableModel:
        """The model, unedited. On a GPU the engine is started first: it measures free memory at its start."""
        if self._model is None or self._spec != spec:
            self.close()
            self._spec = spec
            if generates and self.device != "cpu" and torch.cuda.is_available():
                self.engine(spec)
            self._model = EditableModel.load(
                spec.name, self.device, spec.dtype, spec.revision, trust_remote_code=spec.trust_remote_code
            )
        self._model.restore()
        return self._model

    def engine(self, spec: ModelSpec) -> Engine:
        """The engine, started when it is first asked for."""
        if self._engine is None:
            began = time.perf_counter()
            limits = {"kv_cache_gib": self.plan.config.engine.kv_cache_gib, "max_model_len": self._max_len(spec)}
            folder = models.resolve(spec.name, spec.revision)
            self._engine = engines.create(self.plan.engine, folder, dtype=self.plan.config.engine.dtype, **limits)
            self.journal.write("engine-started", name=self.plan.engine, seconds=round(time.perf_counter() - began, 3))
        return self._engine

    def _max_len(self, spec: ModelSpec) -> int:
        """Tokens of prompt and output together: the configured limit, or less where the model knows fewer positions."""
        config = json.loads((models.resolve(spec.name, spec.revision) / "config.json").read_text(encoding="utf-8"))
        known = (
            config.get("max_position_embeddings") or config.get("n_positions") or self.plan.config.engine.max_model_len
        )
        return min(self.plan.config.engine.max_model_len, known)

    def editor(self, method: MethodSpec) -> Editor:
        """The editing method on the present model."""
        assert self._model is not None
        if method not in self._editors:
            self._editors[method] = editors.create(
                method.name, self._model, hparams=method.hparams, prefixes=self._prefixes()
            )
        return self._editors[method]

    def _prefixes(self) -> Prefixes:
        """Context prefixes: drawn once per model from its unedited weights, the same for all workers."""
        assert self._model is not None
        assert self._spec is not None
        name = f"prefixes/{base_state(self._spec)}.json"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "prefixes.json"
            if not self.store.folder.exists(name):
                self._model.restore()
                Prefixes.sample(self._model, seed=PREFIX_SEED).save(path)
                self.store.folder.write_if_absent(name, path.read_bytes())
            path.write_bytes(self.store.folder.read(name))
            return Prefixes.load(path)

    def close(self) -> None:
        """Give the model's and the engine's memory back."""
        if self._engine is not None:
            self._engine.close()
            self.journal.write("engine-closed", name=self.plan.engine)
        self._engine = self._model = self._spec = None
        self._editors.clear()
        self.memory.clear()

    def __enter__(self) -> Workplace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
