"""Causal tracing: in which layers a model recalls a fact (Meng et al. 2022, "Locating and Editing Factual
Associations in GPT", section 2).

Three runs of the prompt: a clean one; a corrupted one, noise added to the embeddings of the subject's tokens; and for
each layer a corrupted one in which what the layer gave in the clean run is put back at the subject's last token. With p
the probability of the answer's first token,

    indirect effect of a layer = p(corrupted, layer put back) - p(corrupted)

averaged over draws of the noise and over facts. Noise is normal, `NOISE` times the standard deviation of the
embeddings of all subjects' tokens, as in the paper. Only facts that the model knows count: those whose answer's first
token is the most likely one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from modelfolder.errors import InputError
from rect.exclusive import exclusive
from rect.forcing import apply_head
from rect.prompts import continue_with, subject_end, token_at

if TYPE_CHECKING:
    from rect.facts import Fact
    from rect.model import EditableModel

NOISE = 3.0
SHARE = 5  # MLPs are put back a fifth of the layers at a time, as 10 of GPT-2 XL's 48: one alone says little

Site = Literal["mlp", "block"]


@dataclasses.dataclass(frozen=True)
class Profile:
    """Indirect effects, averaged over facts.

    Attributes:
        effects: by layer.
        clean, corrupted: probability of the answer without noise, and with it.
        facts: how many the model knows.
    """

    effects: tuple[float, ...]
    clean: float
    corrupted: float
    facts: int


@dataclasses.dataclass(frozen=True)
class _Prompt:
    ids: tuple[int, ...]
    first: int  # the subject's first token
    last: int
    answer: int


@exclusive
@torch.no_grad()
def profile(
    model: EditableModel,
    facts: Sequence[Fact],
    site: Site = "mlp",
    draws: int = 4,
    noise: float = NOISE,
    seed: int = 0,
    most: int | None = None,
) -> Profile:
    """The effect of each layer.

    Args:
        model: only read.
        facts: those with an `original`; that is the answer.
        site: what is put back: the outputs of the MLPs of layers around this one (`window`), or the output of this
            block, the hidden state.
        draws: of the noise, per fact.
        noise: in standard deviations of the subjects' embeddings.
        seed: of the noise.
        most: take so many facts at most, the first that the model knows.

    Raises:
        InputError: the model knows none of the facts.
    """
    asked = [_prompt(model.tokenizer, fact) for fact in facts if fact.original]
    embed = model.hf.get_input_embeddings()
    known = []
    for prompt in asked:
        clean, outputs = _clean(model, prompt, site)
        if int(clean.argmax()) == prompt.answer:
            known.append((prompt, float(clean.softmax(-1)[prompt.answer]), outputs))
        if len(known) == most:
            break
    if not known:
        raise InputError(f"tracing: {model.name} knows the answer before the edit of none of {len(facts)} facts")
    subjects = [torch.tensor(p.ids[p.first : p.last + 1], device=model.device) for p, _, _ in known]
    scale = noise * float(embed(torch.cat(subjects)).float().std())
    generator = torch.Generator().manual_seed(seed)
    clean_p, corrupted_p, effects = [], [], []
    for prompt, p, outputs in known:
        shape = draws, prompt.last + 1 - prompt.first, model.hidden_size
        added = scale * torch.randn(shape, generator=generator)
        found = _put_back(model, prompt, site, outputs, added.to(model.device, model.dtype))  # (layers + 1,)
        clean_p.append(p)
        corrupted_p.append(float(found[0]))
        effects.append(found[1:] - found[0])
    mean = torch.stack(effects).mean(0).tolist()
    return Profile(tuple(mean), statistics.fmean(clean_p), statistics.fmean(corrupted_p), len(known))


def window(site: Site, layer: int, n_layers: int) -> range:
    """The layers whose output is put back for one layer's effect."""
    width = max(1, round(n_layers / SHARE)) if site == "mlp" else 1
    start = layer - width // 2
    return range(max(start, 0), min(start + width, n_layers))


def _prompt(tokenizer: Any, fact: Fact) -> _Prompt:
    ids, answer = continue_with(tokenizer, fact.filled, fact.original or "")
    end = subject_end(fact.prompt, fact.subject)
    first, last = (token_at(tokenizer, fact.filled, ids, at) for at in (end - len(fact.subject) + 1, end))
    return _Prompt(tuple(ids), first, last, answer[0])


def _path(model: EditableModel, site: Site, layer: int) -> str:
    return model.path(model.architecture.mlp_out if site == "mlp" else model.architecture.block, layer)


def _seen(model: EditableModel, path: str, change: Any) -> contextlib.AbstractContextManager[object]:
    """Within it `change` takes a module's output, (rows, length, hidden), and changes it in place."""

    def hook(_module: Any, _inputs: Any, output: Any) -> None:
        change(output[0] if isinstance(output, tuple) else output)

    return model.module(path).register_forward_hook(hook)


def _last_logits(model: EditableModel, ids: Tensor) -> Tensor:
    return apply_head(model, model.hf.base_model(ids, use_cache=False).last_hidden_state[:, -1])


def _clean(model: EditableModel, prompt: _Prompt, site: Site) -> tuple[Tensor, list[Tensor]]:
    """Logits behind the prompt, (vocabulary,), and what each layer gives at the subject's last token, (hidden,)."""
    outputs: list[Tensor] = []
    with contextlib.ExitStack() as hooks:
        for layer in range(model.n_layers):
            keep = lambda output: outputs.append(output[0, prompt.last].clone())  # noqa: E731
            hooks.enter_context(_seen(model, _path(model, site, layer), keep))
        logits = _last_logits(model, torch.tensor([prompt.ids], device=model.device))[0]
    return logits, outputs


def _put_back(model: EditableModel, prompt: _Prompt, site: Site, outputs: list[Tensor], added: Tensor) -> Tensor:
    """Probability of the answer, averaged over draws: with nothing put back, then for each layer, (layers + 1,).

    Args:
        outputs: of the clean run, by layer.
        added: the noise, (draws, subject's tokens, hidden).
    """
    draws, runs = len(added), [range(0), *(window(site, layer, model.n_layers) for layer in range(model.n_layers))]
    together = max(model.tokens_per_batch // (draws * len(prompt.ids)), 1)
    found = []
    for start in range(0, len(runs), together):
        some = runs[start : start + together]
        ids = torch.tensor([prompt.ids], device=model.device).expand(len(some) * draws, -1)
        with contextlib.ExitStack() as hooks:
            noise = added.repeat(len(some), 1, 1)

            def corrupt(output: Tensor, noise: Tensor = noise) -> None:
                output[:, prompt.first : prompt.last + 1] += noise

            embed = next(name for name, part in model.hf.named_modules() if part is model.hf.get_input_embeddings())
            hooks.enter_context(_seen(model, embed, corrupt))
            for layer in range(model.n_layers):
                rows = [i * draws + j for i, run in enumerate(some) if layer in run for j in range(draws)]
                if rows:

                    def restore(output: Tensor, rows: list[int] = rows, layer: int = layer) -> None:
                        output[rows, prompt.last] = outputs[layer]

                    hooks.enter_context(_seen(model, _path(model, site, layer), restore))
            chances = _last_logits(model, ids).softmax(-1)[:, prompt.answer]
        found.append(chances.view(len(some), draws).mean(1))
    return torch.cat(found)
