"""The work of `sweeps edit`, `sweeps apply` and `sweeps regularize`: one model at a time, no Ray, no engine."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modelfolder.errors import InputError, nearest
from rect import places
from rect.editors.easyeditor import environment
from sweeps.config import names
from sweeps.results import collateral

if TYPE_CHECKING:
    from torch import Tensor

    from rect.facts import Fact
    from rect.model import EditableModel
    from rect.update import Update

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Request:
    """What `sweeps edit` is asked for: one fact, one method, one regularizer, and where results go."""

    subject: str
    prompt: str
    target: str
    model: str
    method: str = "rome"
    regularizer: str = "none"
    k: float | None = None
    hparams: Path | None = None
    prompts: Path | None = None
    save: str | None = None
    save_update: Path | None = None


def edit(
    request: Request,
    new_tokens: int = 10,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "auto",
    console: Console | None = None,
) -> None:
    """Make one edit, show what it does, save what is asked for. All input is checked before the model is loaded.

    Raises:
        InputError: anything in the request that cannot be used.
    """
    console = console or Console()
    fact = checked_fact(request.subject, request.prompt, request.target)
    k = checked_regularizer(request.regularizer, request.k)
    if reason := environment.refusal(request.method):
        raise InputError(f"--method {reason}")
    _known("--method", request.method, names.methods(request.method))
    more = read_prompts(request.prompts) if request.prompts else []
    _check_dtype(dtype)
    if request.save:
        check_empty(request.save)
    if request.save_update and os.path.exists(request.save_update):
        raise InputError(f"--save-update {request.save_update}: the file is there already; name a new one")
    if request.save_update:
        places.check_file(f"--save-update {request.save_update}", request.save_update)

    from rect import editors, regularizers, weights
    from rect.model import EditableModel

    editors.check(request.method, request.model, request.hparams)  # a slip is told before the model is loaded
    model = EditableModel.load(request.model, device=device, dtype=_stored(request.model, dtype))
    editor = editors.create(request.method, model, hparams=request.hparams)
    prompts = [fact.filled, *(prompt for prompt in more if prompt != fact.filled)]
    before = _state(model, fact, prompts, new_tokens)
    neutral = _Neutral.of(model)
    raw = editor.compute(model, [fact])
    edited = [("edited", _Moved.of(model, neutral, raw))]
    kept = regularizers.get(request.regularizer)(raw, model, k=k, seed=seed)
    if request.regularizer != "none":
        edited.append(("regularized", _Moved.of(model, neutral, kept)))
    model.add(kept)
    after = _state(model, fact, prompts, new_tokens)
    title = (
        f"{request.model}: {request.method}, regularizer {request.regularizer}{'' if request.k is None else f' {k:g}'}"
    )
    console.print(_effect(title, fact, model, prompts, before, after))
    console.print(_weights(weights.statistics(model), regularizers.shares(raw, kept)))
    console.print(_ability(neutral, edited))
    alone = edited[0][1]
    if collateral.too_far(neutral.perplexity, alone.perplexity, alone.drift):
        said = f"{collateral.moved(neutral.perplexity, alone.perplexity, alone.drift)}, unregularized"
        where = f"{request.model}, {request.method}, layers {', '.join(map(str, _layers(raw)))}"
        console.print(
            f"{where}: {said}. {collateral.advice(request.method)}", style="yellow", highlight=False, markup=False
        )
    if request.save_update:
        kept.save(request.save_update)
        console.print(f"The update is in {request.save_update}", highlight=False, markup=False)
    if request.save:
        _save(model, request.save, console)


def apply(model_name: str, update_file: Path, save: str, dtype: str = "auto", console: Console | None = None) -> None:
    """Add a saved update to a model and export the whole.

    Raises:
        InputError: no such update or model, they do not fit, or the folder is not empty.
    """
    check_empty(save)
    _check_dtype(dtype)

    from rect.model import EditableModel
    from rect.update import Update

    update = Update.load(update_file)
    model = EditableModel.load(model_name, device="cpu", dtype=_stored(model_name, dtype))
    model.add(update)
    _save(model, save, console or Console())


def regularize(
    base: str,
    edited: str,
    regularizer: str,
    k: float | None,
    save: str,
    seed: int = 0,
    dtype: str = "auto",
    console: Console | None = None,
) -> None:
    """Regularize the difference of two checkpoints of one model and export base + regularized difference.

    Raises:
        InputError: the two are not checkpoints of one model, a bad regularizer or k, or the folder is not empty.
    """
    console = console or Console()
    percentage = checked_regularizer(regularizer, k)
    check_empty(save)
    _check_dtype(dtype)

    from rect import models, regularizers, weights
    from rect.model import EditableModel
    from rect.update import Update

    before, after = models.resolve(base), models.resolve(edited)
    raw = Update.between(before, after)
    if not raw:
        raise InputError(f"{base} and {edited} do not differ: there is nothing to regularize")
    model = EditableModel.load(str(before), device="cpu", dtype=_stored(str(before), dtype))
    kept = regularizers.get(regularizer)(raw, model, k=percentage, seed=seed)
    model.add(kept, tied=True)  # a difference of whole models may well contain the embedding
    console.print(_weights(weights.statistics(model), regularizers.shares(raw, kept)))
    _save(model, save, console)


# Checks


def checked_fact(subject: str, prompt: str, target: str) -> Fact:
    """The fact of three options; the prompt holds {} or the subject itself, as in a file of facts."""
    from rect import fact_files

    if not subject.strip():
        raise InputError("--subject is empty: what is the fact about?")
    if not target.strip():
        raise InputError("--target is empty: which answer is to be edited in?")
    if "{}" not in prompt and subject.strip() not in prompt:
        raise InputError(f"--prompt {prompt!r}: the subject {subject!r} is not in it, nor {{}} where it stands")
    return fact_files.FORMATS["facts"]({"subject": subject, "prompt": prompt, "target": target}, "the command line")


def checked_regularizer(regularizer: str, k: float | None) -> float:
    """k as a number: 100 for `none`, which takes no k."""
    _known("--regularizer", regularizer, names.regularizers(regularizer))
    if regularizer == "none":
        if k is not None:
            raise InputError(f"--k {k:g}: regularizer none keeps everything; leave --k out or name a --regularizer")
        return 100.0
    if k is None:
        raise InputError(f"--regularizer {regularizer} needs --k, the percentage of elements to keep, such as --k 40")
    if not 0 < k <= 100:
        raise InputError(f"--k {k:g}: it must be a percentage above 0 and at most 100")
    return k


def _known(option: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise InputError(f"{option} {name}: unknown; {nearest(name, known)}")


def _check_dtype(dtype: str) -> None:
    if dtype not in ("auto", *DTYPES):
        raise InputError(f"--dtype {dtype}: one of auto, {', '.join(DTYPES)} is wanted")


def check_empty(folder: str) -> None:
    """Raises InputError where a folder to save into holds anything, or cannot be written."""
    if os.path.isfile(folder) or (os.path.isdir(folder) and any(os.scandir(folder))):
        raise InputError(f"--save {folder}: it is there already and not empty; name a new folder")
    places.check_folder(f"--save {folder}", folder)


def read_prompts(file: Path) -> list[str]:
    """The lines of a text file that are not blank."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"--prompts {file}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--prompts {file}: cannot be read as text ({error})") from None
    prompts = [line.rstrip() for line in lines if line.strip()]
    if not prompts:
        raise InputError(f"--prompts {file}: holds no prompt; one per line is wanted")
    return prompts


def _stored(name: str, dtype: str) -> str:
    """The dtype asked for; "auto" becomes what the model's config declares, float32 where it declares none."""
    if dtype != "auto":
        return dtype
    from rect import models

    config = json.loads((models.resolve(name) / "config.json").read_text(encoding="utf-8"))
    declared = config.get("dtype") or config.get("torch_dtype")
    return declared if declared in DTYPES else "float32"


# What is shown


@dataclass(frozen=True)
class _State:
    """A model at one moment: probability of the target, and continuations of the prompts."""

    probability: float
    continuations: list[str]


def target_probability(model: EditableModel, prompt: str, target: str) -> tuple[float, int]:
    """Probability of the target after the prompt, and the number of its tokens.

    p = prod_i p(t_i | prompt, t_1 ... t_{i-1}), all from one forward pass (teacher forcing).
    """
    import torch

    from rect.prompts import continue_with

    ids, targets = continue_with(model.tokenizer, prompt, target)
    sequence = torch.tensor([[*ids, *targets]], device=model.device)  # (1, tokens)
    with torch.no_grad():
        logits = model.hf(input_ids=sequence).logits[0, len(ids) - 1 : -1].float()  # (target tokens, vocabulary)
    chosen = logits.log_softmax(-1).gather(1, sequence[0, len(ids) :, None])
    return math.exp(float(chosen.sum())), len(targets)


def _state(model: EditableModel, fact: Fact, prompts: Sequence[str], new_tokens: int) -> _State:
    probability, _ = target_probability(model, fact.filled, fact.target)
    return _State(probability, [model.complete(prompt, max_new_tokens=new_tokens) for prompt in prompts])


@dataclass(frozen=True)
class _Neutral:
    """What the unedited model says of neutral text."""

    perplexity: float
    next_tokens: Tensor  # log-probabilities after the beginnings of the paragraphs, (prompts, vocabulary)

    @staticmethod
    def of(model: EditableModel) -> _Neutral:
        from rect import perplexity
        from sweeps.run.measure import neutral_prompts

        value, _ = perplexity.perplexity(model, perplexity.neutral_paragraphs())
        return _Neutral(value, perplexity.next_token_log_probabilities(model, neutral_prompts()))


@dataclass(frozen=True)
class _Moved:
    """How far an update takes a model: perplexity of neutral text with it, and drift in nats."""

    perplexity: float
    drift: float

    @staticmethod
    def of(model: EditableModel, neutral: _Neutral, update: Update) -> _Moved:
        from rect import perplexity
        from sweeps.run.measure import neutral_prompts

        with model.edited(update):
            value, _ = perplexity.perplexity(model, perplexity.neutral_paragraphs())
            return _Moved(value, perplexity.drift(neutral.next_tokens, model, neutral_prompts()))


def _layers(update: Update) -> list[int]:
    return sorted({int(number) for name in update for number in re.findall(r"\.(\d+)\.", name)[:1]})


def _ability(neutral: _Neutral, edited: Sequence[tuple[str, _Moved]]) -> Table:
    table = Table(title="General ability", title_justify="left", box=None, pad_edge=False)
    for heading in ("", "before", *(name for name, _ in edited)):
        table.add_column(heading, justify="right" if heading else "left")
    values = [f"{one.perplexity:.4g}" for _, one in edited]
    table.add_row("perplexity of neutral text", f"{neutral.perplexity:.4g}", *values)
    table.add_row("drift of the next token, nats", "0", *(f"{one.drift:.3g}" for _, one in edited))
    return table


def _effect(
    title: str, fact: Fact, model: EditableModel, prompts: Sequence[str], before: _State, after: _State
) -> Table:
    count = target_probability(model, fact.filled, fact.target)[1]
    tokens = "one token" if count == 1 else f"product over {count} tokens"
    table = Table(title=escape(title), title_justify="left", show_lines=True)
    table.add_column("")
    table.add_column("before", overflow="fold")
    table.add_column("after", overflow="fold")
    name = f"probability of {fact.target!r} given the prompt ({tokens})"
    table.add_row(escape(name), f"{before.probability:.3g}", f"{after.probability:.3g}")
    for prompt, old, new in zip(prompts, before.continuations, after.continuations, strict=True):
        table.add_row(*(escape(text.replace("\n", "\u21b5")) for text in (prompt, old, new)))
    return table


def _weights(statistics: Mapping[str, Mapping[str, float]], shares: Mapping[str, Mapping[str, float]]) -> Table:
    """Manhattan distance and relative changes of every changed matrix, against the unedited weights."""
    columns = list(dict.fromkeys(key for values in statistics.values() for key in values))
    table = Table(title="Change of the weights", title_justify="left", box=None, pad_edge=False)
    table.add_column("matrix", overflow="fold")
    for column in columns:
        table.add_column(column.replace("share_over_", "delta\nover "), justify="right", no_wrap=True)
    table.add_column("kept\nof all", justify="right", no_wrap=True)
    table.add_column("kept of\nnon-zero", justify="right", no_wrap=True)
    for name, share in shares.items():
        values = statistics.get(name, {})
        cells = [f"{values[c]:.1%}" if c.startswith("share") else f"{values[c]:,.1f}" for c in columns if c in values]
        cells += ["-"] * (len(columns) - len(cells))  # nothing of this matrix was kept
        table.add_row(escape(name), *cells, f"{share['share_kept']:.1%}", f"{share['share_nonzero_kept']:.1%}")
    return table


def _save(model: EditableModel, folder: str, console: Console) -> None:
    model.save(folder)
    console.print(f"The edited model is in {folder}", highlight=False, markup=False)
