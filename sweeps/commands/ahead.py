"""Commands that make ahead what a method needs: train-mend, covariance, tune. Registered by `sweeps.commands.app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import shared
from sweeps.commands.shared import Address, ConfigPath, Device, Dtype, Model, ModelArgument, Overrides


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


def _tunable() -> list[str]:
    from sweeps.plan.tuning import SPACES

    return list(SPACES)


def tune(
    model: ModelArgument,
    method: Annotated[str, typer.Option(help="rome, memit or kn.", autocompletion=_tunable)] = "rome",
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="A hyperparameter to look for, as layers, v_lr, clamp_norm_factor, v_num_grad_steps, mom2_adjustment; "
            "repeatable. Default: rome layers and mom2_adjustment, memit layers and mom2_update_weight, kn "
            "adaptive_threshold and lr_scale.",
        ),
    ] = None,
    held: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A hyperparameter's value for all settings; repeatable."),
    ] = None,
    facts: Annotated[str, typer.Option(help="bundled, or a JSONL file; half of them are left alone.")] = "bundled",
    measured: Annotated[int, typer.Option(min=1, help="Facts that a setting is measured on.")] = 8,
    confirmed: Annotated[int, typer.Option(min=0, help="Other facts that what is picked is confirmed on.")] = 20,
    trials: Annotated[int, typer.Option(min=1, help="Settings to try, in all sessions together.")] = 16,
    minutes: Annotated[float, typer.Option(min=0, help="No setting is begun after so many.")] = 45.0,
    layers: Annotated[int, typer.Option(min=1, help="Candidates that the layer profile gives.")] = 6,
    workers: Annotated[int, typer.Option(min=1, help="Actors of Ray that measure; 1: this process.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder; default results/tune-<method>-<model>.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sampler.")] = 0,
    address: Address = None,
    dtype: Dtype = "float32",
    device: Device = "auto",
) -> None:
    """Look for a method's layers and other hyperparameters on a model, or go on; what is found is used from then on."""
    from sweeps.plan import tuning

    keys = tuning.check(method, vary or [])
    fixed = tuning.held(held or [], keys)

    from sweeps.commands import tune as work

    budget = {"measured": measured, "confirmed": confirmed, "trials": trials, "minutes": minutes, "layers": layers}
    where = {"workers": workers, "out": out, "device": device, "dtype": dtype, "address": address}
    work.tune(work.Request(model, method, keys, fixed, facts, seed=seed, **budget, **where), shared.console())  # type: ignore[arg-type]
