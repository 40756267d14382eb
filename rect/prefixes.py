"""Context prefixes: short pieces of text before the edit prompt, so that an edit does not depend on its beginning.

PROTOCOL: sampled from the unedited model (ROME: 10 of 5 tokens and 10 of 10; MEMIT: 5 of 10) beside the empty one. They
are an explicit object that is drawn with a seed, saved and passed on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfolder import whole_files
from modelfolder.errors import InputError
from rect.exclusive import exclusive
from rect.lengths import check_length

if TYPE_CHECKING:
    import torch

    from rect.model import EditableModel

log = logging.getLogger(__name__)

VERSION = "1"
STARTS = ("The", "Therefore", "Because", "I", "You")
LENGTHS = ((5, 10), (10, 10))
TOP_K = 5


@dataclasses.dataclass(frozen=True)
class Prefixes:
    """Context templates, each with `{}` where the prompt stands; the first is `{}` alone.

    Args:
        templates: the templates; `{}` alone is put first where it is missing.
        origin: how they were drawn, if they were.

    Raises:
        InputError: a template without exactly one `{}`.
    """

    templates: Sequence[str]
    origin: dict[str, Any] | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for template in self.templates:
            if not isinstance(template, str) or template.count("{}") != 1:
                raise InputError(f"context prefix {template!r}: needs {{}} exactly once, where the prompt stands")
        object.__setattr__(self, "templates", ("{}", *(t for t in self.templates if t != "{}")))

    def __len__(self) -> int:
        return len(self.templates)

    @property
    def digest(self) -> str:
        """SHA-256 of the templates."""
        return hashlib.sha256(json.dumps(self.templates, ensure_ascii=False).encode()).hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """What was declared: the recipe where they were drawn (it and the model give the text), else their digest."""
        if self.origin is None:
            return {"digest": self.digest}
        return {key: value for key, value in self.origin.items() if key != "content"}

    def check(self, model: EditableModel) -> None:
        """Raise InputError where they are known to be drawn from another model."""
        theirs = (self.origin or {}).get("content")
        if theirs is not None and model.folder is not None and theirs != model.content:
            raise InputError(
                f"these context prefixes were drawn from another model than {model.name}: from {theirs}, not from "
                f"{model.content}; give them as a list of templates if that is meant"
            )

    @staticmethod
    def recipe(seed: int = 0, lengths: Sequence[Sequence[int]] = LENGTHS) -> dict[str, Any]:
        """The identity of prefixes that `sample` will draw, known without a model."""
        return {"sampled": VERSION, "seed": seed, "lengths": [list(pair) for pair in lengths]}

    @classmethod
    def sample(cls, model: EditableModel, seed: int = 0, lengths: Sequence[Sequence[int]] = LENGTHS) -> Prefixes:
        """Draw prefixes from the model: texts that begin as `STARTS` do, each next token among the `TOP_K` likeliest.

        Args:
            model: the unedited model.
            seed: of the draw.
            lengths: pairs (tokens, number of prefixes); the model's own beginning-of-sequence token is not counted.
        """
        import torch

        if model.changed():
            log.warning("context prefixes are drawn from an edited model: %s", model.name)
        for tokens, n in lengths:
            if n:
                check_length(model, tokens + len(model.tokenizer("")["input_ids"]), "a context prefix")
        generator = torch.Generator().manual_seed(seed)
        templates = []
        for tokens, n in lengths:
            starts = [STARTS[i % len(STARTS)] for i in range(n)]
            templates += [f"{text}. {{}}" for text in _texts(model, starts, tokens, generator)]
        made_of = {} if model.folder is None else {"content": model.content}
        return cls(templates, {**cls.recipe(seed, lengths), **made_of})

    def to_bytes(self) -> bytes:
        """As JSON."""
        text = json.dumps({"templates": self.templates, "origin": self.origin}, indent=1, ensure_ascii=False)
        return f"{text}\n".encode()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write them as JSON."""
        whole_files.write(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Prefixes:
        """Read what `save` wrote, or a plain JSON list of templates.

        Raises:
            InputError: no such file, or something else in it.
        """
        try:
            return cls.from_bytes(Path(path).read_bytes(), str(path))
        except OSError as error:
            raise InputError(f"{path}: cannot read context prefixes ({error})") from None

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> Prefixes:
        """The same, from a file's content. `source` is what errors call it."""
        try:
            content = json.loads(data)
        except ValueError as error:
            raise InputError(f"{source}: cannot read context prefixes ({error})") from None
        if isinstance(content, list):
            return cls(content)
        if not isinstance(content, dict) or not isinstance(content.get("templates"), list):
            raise InputError(f"{source}: not context prefixes; right would be a JSON list of templates with {{}}")
        return cls(content["templates"], content.get("origin"))


def of(given: Prefixes | Sequence[str] | None, model: EditableModel, lengths: Sequence[Sequence[int]]) -> Prefixes:
    """The prefixes that somebody gave, or (None) such as are drawn from the model with seed 0."""
    if isinstance(given, Prefixes):
        given.check(model)
        return given
    if given is not None:
        return Prefixes(list(given))
    return Prefixes.sample(model, seed=0, lengths=lengths)


@exclusive
def _texts(model: EditableModel, starts: Sequence[str], tokens: int, generator: torch.Generator) -> list[str]:
    """One text per start, of so many tokens; starts of one length in tokens are continued together."""
    import torch

    tokenizer = model.tokenizer
    special = torch.tensor(sorted(set(tokenizer.all_special_ids)), dtype=torch.long)
    begun = [tokenizer(start)["input_ids"] for start in starts]
    plain = [len(tokenizer(start, add_special_tokens=False)["input_ids"]) for start in starts]
    texts: dict[int, str] = {}
    for length in sorted(set(plain)):
        together = [i for i, n in enumerate(plain) if n == length]
        ids = torch.tensor([begun[i] for i in together])  # (texts, tokens so far)
        cache = None
        for _ in range(tokens - length):
            new = ids if cache is None else ids[:, -1:]
            with torch.no_grad():
                out = model.hf(new.to(model.device), past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
            logits = out.logits[:, -1].float().cpu().index_fill(1, special, -torch.inf)
            top = logits.topk(TOP_K, dim=-1)
            choice = torch.multinomial(top.values.softmax(-1), 1, generator=generator)  # (texts, 1)
            ids = torch.cat([ids, top.indices.gather(1, choice)], dim=1)
        decoded = tokenizer.batch_decode(ids, skip_special_tokens=True)
        texts |= zip(together, map(_one_line, decoded), strict=True)
    return [texts[i] for i in range(len(starts))]


def _one_line(text: str) -> str:
    """No braces (they would be taken for the prompt's place) and no line ends."""
    return " ".join(text.replace("{", " ").replace("}", " ").split())
