"""How much faster all of MEMIT's layers are collected in one pass, and how many tokens an edit needs.

    python benchmarks/covariance_speed.py                                  # speed, on the bundled neutral text
    python benchmarks/covariance_speed.py --corpus wiki.txt --success      # and success by number of tokens

The other side runs one full forward pass per layer, logits and all, as a hook on one layer at a time does; for
comparison also one that ends after its layer. Same batches, same threads, taking turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch

from modelfolder.errors import InputError
from rect import covariance, editors, evaluation, fact_files
from rect.corpus import Corpus, batches, windows
from rect.covariance import Recipe, Sums
from rect.editors.memit import Memit
from rect.model import EditableModel
from rect.perplexity import neutral_paragraphs
from rect.prefixes import Prefixes

Batches = list[list[Sequence[int]]]


@torch.no_grad()
def plain(model: EditableModel, layers: Sequence[int], rows: Batches) -> Sums:
    """One full forward pass of the whole model per layer and batch."""
    sums = Sums(sum(len(row) for batch in rows for row in batch), {})
    for layer in layers:
        seen: list[torch.Tensor] = []
        module = model.module(model.path(model.architecture.mlp_out, layer))
        with module.register_forward_pre_hook(lambda _m, inputs, seen=seen: seen.append(inputs[0])):
            for batch in rows:
                model.hf(torch.tensor(batch, device=model.device), use_cache=False)
                keys = seen.pop().flatten(0, -2).float()
                product = (keys.T @ keys).double()
                sums.layers[layer] = sums.layers[layer] + product if layer in sums.layers else product
    return sums


def compare(model: EditableModel, layers: Sequence[int], rows: Batches, turns: int) -> float:
    """Print and return the ratio of times."""
    seconds = {"plain": 0.0, "single": 0.0, "ours": 0.0}
    error = 0.0
    for _ in range(turns):
        start = time.perf_counter()
        expected = plain(model, layers, rows)
        seconds["plain"] += time.perf_counter() - start
        start = time.perf_counter()
        for layer in layers:
            covariance.accumulate(model, [layer], rows)
        seconds["single"] += time.perf_counter() - start
        start = time.perf_counter()
        found = covariance.accumulate(model, layers, rows)
        seconds["ours"] += time.perf_counter() - start
        for layer in layers:
            difference = (found.layers[layer] - expected.layers[layer]).norm() / expected.layers[layer].norm()
            error = max(error, float(difference))
    tokens = turns * sum(len(row) for batch in rows for row in batch)
    print(
        f"layers {list(layers)}: {tokens / seconds['plain']:.0f} tokens/s with a full pass per layer, "
        f"{tokens / seconds['single']:.0f} with one that ends after its layer, "
        f"{tokens / seconds['ours']:.0f} in one pass: "
        f"{seconds['plain'] / seconds['ours']:.2f}x and {seconds['single'] / seconds['ours']:.2f}x; "
        f"largest relative difference {error:.1e}",
        flush=True,
    )
    return seconds["plain"] / seconds["ours"]


def success(model: EditableModel, corpus: Corpus, numbers: Sequence[float], count: int) -> None:
    """Print how MEMIT fares with covariances of so many tokens per dimension: z is found once, the rest anew."""
    prefixes = Prefixes.sample(model)
    method = editors.get("memit").hparams_class
    hparams = editors.hyperparameters.resolve(method, None, model)
    layers = hparams.layers  # type: ignore[attr-defined]
    facts = fact_files.bundled()[:count]
    baseline = evaluation.locality_baseline(model, facts)
    dimension = covariance.dimension(model, layers[0])
    z: torch.Tensor | None = None
    print(f"MEMIT, {count} facts together, layers {list(layers)}, {dimension} dimensions")
    print("tokens per dimension  tokens   reliability  preference  generalization  locality")
    for number in numbers:
        recipe = Recipe(model.name, corpus, int(number * dimension), window=128)
        found = covariance.collect(model, recipe, layers)
        editor = editors.create("memit", model, None, prefixes, found)
        assert isinstance(editor, Memit)
        if z is None:
            z = torch.stack([value.target for value in editor.values(model, facts)])
        line = f"{number:20.2f}  {found.tokens:6d}"
        try:
            update = editor.distribute(model, facts, z)
        except InputError:
            print(f"{line}   singular", flush=True)
            continue
        with model.edited(update):
            figures = evaluation.evaluate(model, facts, baseline).figures()
        names = ("RELIABILITY", "RELIABILITY_PREFERENCE", "GENERALIZATION", "LOCALITY")
        values = [figures[getattr(evaluation, name)].value for name in names]
        print(f"{line}   {values[0]:11.3f}  {values[1]:10.3f}  {values[2]:14.3f}  {values[3]:8.3f}", flush=True)


def main(arguments: list[str] | None = None) -> float:
    """Measure and print. Returns the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="name, folder or hub id")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--layers", type=int, nargs="+", help="those of MEMIT if not given")
    parser.add_argument("--corpus", help="a .txt or .jsonl file or a hub id; the bundled neutral text if not given")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens in each turn")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--success", action="store_true", help="also print success by number of tokens")
    parser.add_argument("--per-dimension", type=float, nargs="+", default=[0.5, 1, 2, 5, 10, 20, 40])
    parser.add_argument("--batch", type=int, default=16, help="facts edited together for --success")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.success and not given.corpus:
        parser.error("--success needs a --corpus: the bundled text is too short")
    model = EditableModel.load(given.model, device=given.device)
    layers = given.layers or editors.hyperparameters.resolve(editors.get("memit").hparams_class, None, model).layers  # type: ignore[attr-defined]
    texts = Corpus(given.corpus).texts() if given.corpus else neutral_paragraphs() * 4
    rows = list(batches(windows(model.tokenizer, texts, 512, given.tokens), 2048))
    ratio = compare(model, layers, rows, given.turns)
    if given.success:
        success(model, Corpus(given.corpus), given.per_dimension, given.batch)
    return ratio


if __name__ == "__main__":
    main()
