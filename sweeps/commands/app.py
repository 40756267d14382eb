"""The command line: `sweeps`, or `python -m sweeps`. Commands parse, call one function, and print.

Exit codes: 0 done; 1 something failed, what is finished is kept; 2 bad input, told in one line; 130 interrupted.
Everything heavy is imported inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from modelfolder.errors import InputError
from sweeps.commands import cache, methods, results, tasks

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
BAD_INPUT = 2

app = typer.Typer(
    name="sweeps",
    help="Edit language models, regularize the edits (RECT), and measure what that does to their general abilities.",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigPath = Annotated[Path, typer.Argument(help="YAML file, such as configs/demo.yaml.", show_default=False)]
Folder = Annotated[str, typer.Argument(help="Folder of a sweep: a path or any fsspec URL.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the configuration, as tasks.examples=4; repeatable."
    ),
]
Scale = Annotated[str | None, typer.Option(help="One of the sizes under `scales` in the configuration, such as demo.")]
Model = Annotated[str, typer.Option(help="A known name, a folder, or a hub id.")]
Regularizer = Annotated[str, typer.Option(help="none, rect, random, pca, pca-release, magnitude.")]
K = Annotated[float | None, typer.Option("--k", help="Percentage of the elements to keep, in (0, 100].")]
Seed = Annotated[int, typer.Option(help="Of the random regularizer's mask.")]
Save = Annotated[str | None, typer.Option(metavar="DIR", help="Export the model; the folder must be empty or new.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16; auto: as the model is stored.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    if version:
        import rect

        typer.echo(rect.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


@app.command()
def run(
    config: ConfigPath,
    out: Annotated[
        str | None, typer.Option(help="Folder for the results; default results/<name of the sweep>.")
    ] = None,
    overrides: Overrides = None,
    scale: Scale = None,
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="Of a Ray cluster; default one on this machine.")
    ] = None,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="Leave prompts, outputs and answers out: tasks.keep_texts=false.")
    ] = False,
    limit_cells: Annotated[int | None, typer.Option(min=1, help="Run at most so many cells now.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run the cells that failed, and only them.")
    ] = False,
    max_failures: Annotated[
        int | None, typer.Option(min=0, help="How often a cell whose process dies is started again.")
    ] = None,
) -> None:
    """Run a sweep, or what is missing of it; then report."""
    from sweeps.config import config as configuration

    given = [*(overrides or []), *(["tasks.keep_texts=false"] if no_text else [])]
    given += [] if max_failures is None else [f"resources.max_failures={max_failures}"]
    loaded = configuration.load(config, given, scale)  # a slip in it is told before anything heavy is imported

    from sweeps.report.gather import report as make_report
    from sweeps.run.driver import run as run_sweep

    folder = out or f"results/{loaded.name}"
    console = _console()
    outcome = run_sweep(loaded, folder, address, limit_cells, retry_failed, console)
    make_report(folder, console)
    console.print(f"{_cells(outcome.done)} done; tradeoff.csv and report.html are in {folder}", highlight=False)
    if outcome.remaining:
        console.print(f"{_cells(outcome.remaining)} remain: run the same command again", highlight=False)
    if outcome.failed:
        _error(f"{_cells(len(outcome.failed))} failed, as listed above; --retry-failed runs what failed again")
        raise typer.Exit(1)


@app.command()
def plan(
    config: ConfigPath,
    out: Annotated[str | None, typer.Option(help="Folder to look into for cells that are done.")] = None,
    overrides: Overrides = None,
    scale: Scale = None,
    cost: Annotated[
        str | None, typer.Option(metavar="RATES", help="Model the cost by the rates of a run: its folder.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="For --cost: workers at a time.")] = 1,
    price: Annotated[float | None, typer.Option(min=0, help="For --cost: of an hour of a worker.")] = None,
    power: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="What it could tell, by the rows of a rehearsal or evaluation.")
    ] = None,
) -> None:
    """Show the cells of a sweep, which are done, and what was dropped; runs, loads and downloads nothing."""
    from sweeps.config import config as configuration

    loaded = configuration.load(config, overrides or [], scale)

    from sweeps.commands import show_plan

    folder = out or f"results/{loaded.name}"
    show_plan.show(loaded, folder, _console(), power)
    if cost is not None:
        from sweeps.plan import costs

        costs.show(loaded, folder, cost, workers, price, typer.echo)


@app.command()
def status(folder: Folder) -> None:
    """Show how far a sweep is, from any terminal."""
    from sweeps.run import progress

    _console().print(progress.render(progress.status(folder)))


@app.command()
def report(
    folder: Folder,
    everything: Annotated[bool, typer.Option("--all", help="All rows there are, whatever the configuration.")] = False,
) -> None:
    """Print the trade-off again, and write tradeoff.csv and report.html from the rows."""
    from sweeps.report.gather import report as make_report

    make_report(folder, _console(), everything)


@app.command()
def edit(
    subject: Annotated[str, typer.Option(help="What the fact is about: France.", show_default=False)],
    prompt: Annotated[str, typer.Option(help="With {} for the subject: The capital of {} is", show_default=False)],
    target: Annotated[str, typer.Option(help="The new answer: Rome.", show_default=False)],
    model: Model = "smollm2-135m",
    method: Annotated[str, typer.Option(help="rome, memit, ...")] = "rome",
    regularizer: Regularizer = "none",
    k: K = None,
    hparams: Annotated[Path | None, typer.Option(help="YAML of hyperparameters; EasyEdit's load too.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="Text file, one more prompt to continue per line.")] = None,
    save: Save = None,
    save_update: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the update alone (safetensors).")
    ] = None,
    new_tokens: Annotated[int, typer.Option(min=1, help="Length of the continuations.")] = 10,
    seed: Seed = 0,
    dtype: Dtype = "float32",
    device: Device = "auto",
) -> None:
    """Make one edit and show what it does."""
    from sweeps.commands import edit as work

    request = work.Request(subject, prompt, target, model, method, regularizer, k, hparams, prompts, save, save_update)
    work.edit(request, new_tokens=new_tokens, seed=seed, dtype=dtype, device=device, console=_console())


@app.command()
def apply(
    model: Annotated[str, typer.Argument(help="A known name, a folder, or a hub id.", show_default=False)],
    update: Annotated[Path, typer.Argument(help="File of `sweeps edit --save-update`.", show_default=False)],
    save: Annotated[str, typer.Option(metavar="DIR", help="Where the edited model goes.", show_default=False)],
    dtype: Dtype = "auto",
) -> None:
    """Add a saved update to a model and export it."""
    from sweeps.commands import edit as work

    work.apply(model, update, save, dtype=dtype, console=_console())


@app.command()
def regularize(
    base: Annotated[str, typer.Argument(help="The model before.", show_default=False)],
    edited: Annotated[str, typer.Argument(help="The same model after, however it was changed.", show_default=False)],
    save: Annotated[str, typer.Option(metavar="DIR", help="Where the regularized model goes.", show_default=False)],
    regularizer: Regularizer = "rect",
    k: K = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
) -> None:
    """Regularize the difference of any two checkpoints of one model."""
    from sweeps.commands import edit as work

    work.regularize(base, edited, regularizer, k, save, seed=seed, dtype=dtype, console=_console())


@app.command("train-mend")
def train_mend(
    config: ConfigPath,
    overrides: Overrides = None,
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="Of a Ray cluster, for workers above 1; default one on this machine."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Train a hypernetwork for the method mend, or go on with a training that was interrupted."""
    from sweeps.commands import train_mend as work

    work.train(work.load(config, overrides or []), _console(), device=device, address=address)


@app.command()
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
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="Of a Ray cluster; default one on this machine.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Of the model: float32, bfloat16 or float16.")] = "float32",
    device: Device = "auto",
) -> None:
    """Estimate the covariance of keys that ROME and MEMIT weigh with, ahead of a sweep; kept in the cache."""
    from rect.editors.second_moment import Given
    from sweeps.commands import covariance as work

    wanted = None if layers is None else work.parse_layers(layers)
    number = int(tokens) if tokens is not None and tokens.isdecimal() else tokens
    recipe = work.recipe_of(model, Given(corpus, revision, samples, number, seed), dtype)
    work.compute(work.Request(recipe, wanted, workers, address, device), _console())


app.command()(tasks.evaluate)
app.add_typer(methods.app, name="methods")
app.add_typer(tasks.app, name="tasks")
app.add_typer(cache.app, name="cache")


@app.command()
def doctor() -> None:
    """Say what is installed, which devices and which engine would be used, and whether a run could work."""
    from sweeps.commands import doctor as work

    findings = work.examine()
    work.show(findings, _console())
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)


results.register(app)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: runs a command and leaves with its exit code."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars of transformers and of downloads are for people who watch
    if not _is_somewhere():
        _error("the working directory was deleted, or cannot be read: change to one that is there")
        sys.exit(BAD_INPUT)
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="sweeps", standalone_mode=False)
    except typer.TyperException as error:
        _error(error.format_message().rstrip(".") + " (--help after a command tells more)")
        sys.exit(BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except InputError as error:
        _error(str(error))
        sys.exit(BAD_INPUT)
    if code == INTERRUPTED:
        _error("interrupted; what was finished is kept")
    sys.exit(code if isinstance(code, int) else 0)


def _is_somewhere() -> bool:
    try:
        return os.path.isdir(os.getcwd())
    except OSError:
        return False


def _error(text: str) -> None:
    """One line on stderr, whatever the text holds."""
    print("error: " + " ".join(text.split()), file=sys.stderr)


def _cells(number: int) -> str:
    return "1 cell" if number == 1 else f"{number} cells"


def _console() -> Console:
    from rich.console import Console

    return Console()
