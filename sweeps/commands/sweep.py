"""Commands that make a sweep and look at it: run, plan, status, report. Registered by `sweeps.commands.app`."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeps.commands import shared
from sweeps.commands.shared import Address, ConfigPath, Everything, Folder, Folders, Overrides, Scale


def run(
    config: ConfigPath,
    out: Annotated[
        str | None, typer.Option(help="Folder for the results; default results/<name of the sweep>.")
    ] = None,
    overrides: Overrides = None,
    scale: Scale = None,
    address: Address = None,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="Leave prompts, outputs and answers out: tasks.keep_texts=false.")
    ] = False,
    limit_cells: Annotated[int | None, typer.Option(min=1, help="Run at most so many cells now.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run the cells that failed, and only them.")
    ] = False,
    max_failures: Annotated[
        int | None, typer.Option(min=0, help="How often the process of a cell may die without getting any further.")
    ] = None,
) -> None:
    """Run a sweep, or what is missing of it; then report."""
    from sweeps.config import config as configuration

    given = [*(overrides or []), *(["tasks.keep_texts=false"] if no_text else [])]
    given += [] if max_failures is None else [f"resources.max_failures={max_failures}"]
    loaded = configuration.load(config, given, scale)  # a slip in it is told before anything heavy is imported

    from sweeps.report.gather import report as make_report
    from sweeps.results.headlines import count
    from sweeps.run.driver import run as run_sweep

    folder = out or f"results/{loaded.name}"
    console = shared.console()
    outcome = run_sweep(loaded, folder, address, limit_cells, retry_failed, console)
    make_report(folder, console)
    console.print(f"{count(outcome.done, 'cell')} done; tradeoff.csv and report.html are in {folder}", highlight=False)
    if outcome.remaining:
        console.print(f"{count(outcome.remaining, 'cell')} remain: run the same command again", highlight=False)
    if outcome.failed:
        failed = count(len(outcome.failed), "cell")
        shared.error(f"{failed} failed, as listed above; --retry-failed runs what failed again")
        raise typer.Exit(1)


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
    gpu_memory: Annotated[
        float | None, typer.Option(min=1, metavar="GIB", help="Of a GPU: refuse what does not fit on it.")
    ] = None,
    power: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="What it could tell, by the rows of a rehearsal or evaluation.")
    ] = None,
) -> None:
    """Show the cells of a sweep, which are done, and what was dropped; runs, loads and downloads nothing."""
    from sweeps.config import config as configuration

    loaded = configuration.load(config, overrides or [], scale)

    from sweeps.commands import show_plan

    folder = out or f"results/{loaded.name}"
    show_plan.show(loaded, folder, shared.console(), power, gpu_memory)
    if cost is not None:
        from sweeps.plan import costs

        costs.show(loaded, folder, cost, workers, price, typer.echo)


def status(folder: Folder) -> None:
    """Show how far a sweep is, from any terminal."""
    from sweeps.run import progress

    shared.console().print(progress.render(progress.status(folder)))


def report(
    folders: Folders,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="For several sweeps: folder of the report of all.")
    ] = None,
    everything: Everything = False,
) -> None:
    """Print the trade-off again, and write tradeoff.csv and report.html from the rows."""
    from modelfolder.errors import InputError
    from sweeps.report import gather

    if out is not None:
        gather.report_together(folders, out, shared.console(), everything)
    elif len(folders) == 1:
        gather.report(folders[0], shared.console(), everything)
    else:
        raise InputError(f"a report of {len(folders)} sweeps needs a folder of its own: --out DIR")
