"""The command line: `sweeps`, or `python -m sweeps`. Commands parse, call one function, and print.

Exit codes: 0 done; 1 something failed, what is finished is kept; 2 bad input, told in one line; 130 interrupted.
Everything heavy is imported inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from typing import Annotated, NoReturn

import typer

from modelfolder.errors import InputError, closest
from sweeps.commands import ahead, cache, facts, known_models, methods, models, results, shared, sweep, tasks

INTERRUPTED = 130
BAD_INPUT = 2

app = typer.Typer(
    name="sweeps",
    help="Edit language models, regularize the edits (RECT), and measure what that does to their general abilities.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    shared.help_alone(context)


for command in (
    *(sweep.run, sweep.plan, sweep.status, sweep.report),
    *(models.edit, models.apply, models.regularize),
    *(ahead.train_mend, ahead.covariance, ahead.tune),
    *(results.figure, results.compare, results.export),
    tasks.evaluate,
):
    app.command()(command)
app.command(context_settings={"ignore_unknown_options": True})(results.judge)
app.add_typer(known_models.app, name="models")
app.add_typer(methods.app, name="methods")
app.add_typer(facts.app, name="facts")
app.add_typer(tasks.app, name="tasks")
app.add_typer(cache.app, name="cache")


@app.command()
def doctor() -> None:
    """Say what is installed, which devices and which engine would be used, and whether a run could work."""
    from sweeps.commands import doctor as work

    findings = work.examine()
    work.show(findings, shared.console())
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: runs a command and leaves with its exit code."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars of transformers and of downloads are for people who watch
    if not _is_somewhere():
        shared.error("the working directory was deleted, or cannot be read: change to one that is there")
        sys.exit(BAD_INPUT)
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="sweeps", standalone_mode=False)
    except typer.TyperException as error:
        shared.error(_plainly(error.format_message()) + " (--help after a command tells more)")
        sys.exit(BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except InputError as error:
        shared.error(str(error))
        sys.exit(BAD_INPUT)
    if code == INTERRUPTED:
        shared.error("interrupted; what was finished is kept")
    sys.exit(code if isinstance(code, int) else 0)


def _is_somewhere() -> bool:
    try:
        return os.path.isdir(os.getcwd())
    except OSError:
        return False


def _plainly(message: str) -> str:
    """Typer's words for wrong usage, and of choices the one that was meant."""
    message = message.rstrip(".").replace("Value error, ", "")
    if found := re.search(r"'([^']*)' is not one of (.*)", message):
        meant = closest(found[1], re.findall(r"'([^']+)'", found[2]))
        message += f", {meant}" if meant else ""
    return message
