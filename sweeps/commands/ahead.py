"""Commands that make ahead what a method needs: train-mend, covariance. Registered by `sweeps.commands.app`."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeps.commands import shared
from sweeps.commands.shared import Address, ConfigPath, Device, Dtype, Model, Overrides


def train_mend(
    config: ConfigPath,
    overrides: Overrides = None,
    address: Address = None,
    device: Device = "auto",
) -> None:
    """Train a hypernetwork for the method mend, or go on with a training that was interrupted."""
    from sweeps.commands import train_mend as work
    from sweeps.config import training

    work.train(training.load(config, overrides or []), shared.console(), device=device, address=address)


def covariance(
    corpus: Annotated[
        str | None,
        typer.Option(
            help="A .txt or .jsonl file, wikipedia, wikitext, a hub id, or self: text that the model samples; default "
            "what MEMIT's hyperparameters for the model say."
        ),
    ] = None,
    model: Model = "smollm2-135m",
    layers: Annotated[
        str | None, typer.Option(help="As 5,17 or 13-17; default those that MEMIT edits in this model.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(help="How many tokens, or all; default what suffices for the dimension of a key.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="So many texts, drawn, all their tokens.")] = None,
    seed: Annotated[int, typer.Option(help="Of the order of the texts, or of sampled text.")] = 0,
    revision: Annotated[str | None, typer.Option(help="Of a corpus on the hub.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of Ray that share the text.")] = 1,
    address: Address = None,
    dtype: Dtype = "float32",
    device: Device = "auto",
) -> None:
    """Estimate the covariance of keys that ROME and MEMIT weigh with, ahead of a sweep; kept in the cache."""
    from rect.editors.second_moment import Given
    from sweeps.commands import covariance as work

    wanted = None if layers is None else work.parse_layers(layers)
    number = int(tokens) if tokens is not None and tokens.isdecimal() else tokens
    recipe = work.recipe_of(model, Given(corpus, revision, samples, number, seed), dtype)
    work.compute(recipe, shared.console(), wanted, workers, address, device)
