"""Plain text for statistics: a file, or a data set of the hub, as a stream of tokens cut into equal windows.

Texts come in an order that a seed draws: the head of a corpus is not the corpus.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from modelfolder.errors import InputError, reason
from rect import hub, sampling
from rect.order import permutation

# What hyperparameter files call a corpus -> (hub id, configuration, commit).
KNOWN = {
    "wikipedia": ("wikimedia/wikipedia", "20231101.en", "b04c8d1ceb2f5cd4588862100d08de323dccfbaa"),
    "wikitext": ("Salesforce/wikitext", "wikitext-103-raw-v1", "b08601e04326c79dfdd32d625aee71d232d685c3"),
}
LOCAL = (".txt", ".jsonl")
SEPARATOR = "\n\n"
SELF = "self"  # no corpus: text that the model samples itself (rect.sampling)
BUFFER = 10_000  # texts of a data set on the hub that are shuffled at a time; its files are taken in a drawn order too


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Where text comes from.

    Attributes:
        source: a `.txt` file (texts divided by empty lines), a `.jsonl` file with a `text` in each line, a name in
            `KNOWN`, or a hub id, with the configuration behind a colon if it has several; or `SELF`.
        revision: commit of the hub data set; a name in `KNOWN` has one. A branch or a tag may be another text tomorrow.
        samples: so many texts, drawn; None for all.
        seed: of the draw.
    """

    source: str
    revision: str | None = None
    samples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("revision", self.revision), ("samples", self.samples)):
            if self.source == SELF and value is not None:
                raise InputError(
                    f"corpus {SELF}: the model samples this text itself, it has no {name} ({value!r}); "
                    f"right would be tokens, or another corpus"
                )
        if not (self.sampled or self.local or hub.is_commit(self._hub()[2] or "")):
            raise InputError(
                f"corpus {self.source}: a data set of the hub may change; name the commit that is meant as "
                f"revision (40 hexadecimal digits), not {self.revision!r}; a file ends in {' or '.join(LOCAL)}"
            )

    @property
    def sampled(self) -> bool:
        """Whether the model samples the text itself."""
        return self.source == SELF

    @property
    def local(self) -> bool:
        """Whether it is a file."""
        return Path(self.source).suffix in LOCAL

    @property
    def identity(self) -> dict[str, Any]:
        """What names the text: a file by its content, a data set by id and commit."""
        if self.sampled:
            return {"sampled": sampling.VERSION, "seed": self.seed}
        path, drawn = Path(self.source), {"samples": self.samples, "seed": self.seed}
        if self.local:
            return {"sha256": hashlib.sha256(_read(path)).hexdigest(), **drawn}
        name, configuration, revision = self._hub()
        return {"hub": name, "configuration": configuration, "revision": revision, **drawn, "buffer": BUFFER}

    def texts(self) -> Iterator[str]:
        """The texts in the order that the seed draws.

        Raises:
            InputError: the file or data set cannot be read.
        """
        path = Path(self.source)
        if path.suffix == ".txt":
            texts = self._shuffled(_read(path).decode(errors="replace").split(SEPARATOR))
        elif path.suffix == ".jsonl":
            texts = self._shuffled(_records(path))
        else:
            texts = self._stream()
        return itertools.islice((text.strip() for text in texts if text.strip()), self.samples)

    def _shuffled(self, texts: Iterable[str]) -> Iterable[str]:
        there = [text for text in texts if text.strip()]
        return (there[i] for i in permutation(len(there), self.seed, "texts"))

    def _hub(self) -> tuple[str, str | None, str | None]:
        if self.source in KNOWN:
            name, configuration, revision = KNOWN[self.source]
            return name, configuration, self.revision or revision
        name, _, rest = self.source.partition(":")
        return name, rest or None, self.revision

    def _stream(self) -> Iterator[str]:
        import datasets

        name, configuration, revision = self._hub()
        try:
            rows = datasets.load_dataset(name, configuration, split="train", revision=revision, streaming=True)
            for row in rows.shuffle(seed=self.seed, buffer_size=BUFFER):
                yield row["text"]
        except KeyError:
            raise InputError(f"corpus {self.source!r}: its rows have no 'text'") from None
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"corpus {self.source!r}: neither a .txt or .jsonl file nor a data set that can be had from the hub "
                f"({reason(error)})"
            ) from None


def windows(tokenizer: Any, texts: Iterable[str], length: int, limit: int | None = None) -> Iterator[list[int]]:
    """Cut the texts, put one behind the other, into windows of equal length (but the last): there is no padding.

    Args:
        tokenizer: the model's; the special tokens that it puts before a text begin each window.
        texts: the texts.
        length: tokens in a window.
        limit: stop when the windows hold so many tokens; None for all of the text.
    """
    empty = list(tokenizer("")["input_ids"])
    given = 0
    waiting: list[int] = []
    for text in texts:
        waiting += tokenizer(text + SEPARATOR, add_special_tokens=False)["input_ids"]
        while len(waiting) >= length - len(empty):
            if limit is not None and given >= limit:
                return
            window, waiting = waiting[: length - len(empty)], waiting[length - len(empty) :]
            given += length
            yield [*empty, *window]
    if waiting and (limit is None or given < limit):
        yield [*empty, *waiting]


def batches(rows: Iterable[Sequence[int]], tokens: int) -> Iterator[list[Sequence[int]]]:
    """Rows of one length together, at most `tokens` in a batch (but at least one row)."""
    batch: list[Sequence[int]] = []
    for row in rows:
        if batch and (len(row) != len(batch[0]) or (len(batch) + 1) * len(row) > tokens):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the text ({error.strerror})") from None


def _records(path: Path) -> Iterator[str]:
    for number, line in enumerate(_read(path).decode(errors="replace").split("\n"), 1):
        if line.strip():
            try:
                yield json.loads(line)["text"]
            except (ValueError, KeyError, TypeError):
                raise InputError(f"{path}:{number}: not a JSON object with a 'text'") from None
