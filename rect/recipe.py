"""What a covariance of keys is computed from: declared things, known before a model is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError
from rect import sampling
from rect.cache import cache_folder
from rect.corpus import Corpus, batches, windows
from rect.lengths import context

if TYPE_CHECKING:
    from rect.model import EditableModel

log = logging.getLogger(__name__)

VERSION = "4"  # 3: texts are drawn with a seed; 4: a model is its content
PER_DIMENSION = 10
WINDOW = 512
CAP = 4096


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a covariance is computed from: the key under which it is kept, layer by layer.

    Attributes:
        model: name of the model; `revision` if it has one.
        content: what the model is made of (`EditableModel.content`), which the key has in place of its name; None where
            that is not known yet: see `on`.
        corpus: the text.
        tokens: how many tokens of it; "all" for the whole corpus; None for all of its `samples` if it has some, else
            for PER_DIMENSION per dimension of k (sampled text: `rect.sampling.wanted`).
        window: tokens that the model sees at a time; its context where that is shorter.
        cap: tokens in a batch at most.
        dtype: of the model while it runs.
        precision: float32 or float64: of keys and of the products that a batch's sum is made of.
    """

    model: str
    corpus: Corpus
    tokens: int | str | None = None
    revision: str | None = None
    window: int = WINDOW
    cap: int = CAP
    dtype: str = "float32"
    precision: str = "float32"
    content: str | None = None

    def __post_init__(self) -> None:
        if self.tokens not in (None, "all") and not (isinstance(self.tokens, int) and self.tokens > 0):
            raise InputError(f"covariance: tokens must be a positive number or 'all', not {self.tokens!r}")
        if self.corpus.sampled and self.tokens == "all":
            raise InputError("covariance: text that the model samples itself has no end: tokens must be a number")
        if self.precision not in ("float32", "float64"):
            raise InputError(f"covariance: precision must be float32 or float64, not {self.precision!r}")
        if not 1 < self.window <= self.cap:
            raise InputError(f"covariance: a window of {self.window} tokens does not fit under the cap of {self.cap}")

    @property
    def identity(self) -> dict[str, Any]:
        """The declared things, as JSON."""
        model = ("model", "revision") if self.content is None else ("content",)
        fields = (*model, "tokens", "window", "cap", "dtype", "precision")
        return {"version": VERSION, "corpus": self.corpus.identity, **{name: getattr(self, name) for name in fields}}

    def on(self, model: EditableModel) -> Recipe:
        """The recipe for the content of a model.

        Raises:
            InputError: it is for other content.
        """
        if self.content not in (None, model.content):
            raise InputError(f"covariance: {model.name} is not what it was when this was planned ({self.content})")
        return dataclasses.replace(self, content=model.content)

    def folder(self, root: Path | None = None) -> Path:
        """Where the files of this recipe lie: below `root`, by default in the project's cache."""
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]
        name = f"{Path(self.model).name}-{Path(self.corpus.source).name.replace(':', '-')}-{digest}"
        return (root or cache_folder() / "covariance") / name

    def missing(self, layers: Sequence[int], root: Path | None = None) -> list[int]:
        """Those of the layers that are not kept yet."""
        folder = self.folder(root)
        return [layer for layer in layers if not (folder / f"layer-{layer}.safetensors").is_file()]

    def wanted(self, dimension: int) -> int | None:
        """How many tokens are wanted for keys of a dimension; None for all there are."""
        if self.tokens == "all" or (self.tokens is None and self.corpus.samples is not None):
            return None
        if self.tokens is not None:
            return int(self.tokens)
        return sampling.wanted(dimension) if self.corpus.sampled else PER_DIMENSION * dimension

    def batches(
        self, model: EditableModel, dimension: int, first: int = 0, step: int = 1
    ) -> Iterable[Sequence[Sequence[int]]]:
        """The batches of tokens, always the same ones in the same order.

        Workers take each their share of them: every `step`-th from the `first` on.
        """
        wanted = self.wanted(dimension)
        window = min(self.window, context(model.hf.config) or self.window)
        if window < self.window:
            log.info("covariance: windows of %d tokens, the context of %s, not %d", window, model.name, self.window)
        if self.corpus.sampled:
            assert wanted is not None
            return sampling.batches(model, wanted, window, self.cap, self.corpus.seed, first, step)
        rows = windows(model.tokenizer, self.corpus.texts(), window, wanted)
        return itertools.islice(batches(rows, self.cap), first, None, step)
