"""Commands about tasks: `sweeps tasks list|show|preview` and `sweeps evaluate`. Registered by `sweeps.commands.app`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sweeps.commands import shared
from sweeps.commands.shared import Dtype, ModelArgument, Source

if TYPE_CHECKING:
    from tasks.base import Task

app = shared.group("Look at the tasks: what they ask, of what data, and what counts as right.")

Engine = Literal["auto", "vllm", "transformers"]
Name = Annotated[
    str, typer.Argument(help="A task, <task>:likelihood, <task>:chat, or a .yaml or .jsonl file.", show_default=False)
]


@app.command("list")
def list_tasks() -> None:
    """All tasks by name; `show` tells more of one."""
    from rich.table import Column, Table

    import tasks

    columns: list[Column | str] = [Column("task", no_wrap=True), "data set", "split"]
    columns += [Column(title, justify="right", no_wrap=True) for title in ("size", "new tokens")]
    table = Table(*columns, box=None, pad_edge=False, caption="* also as <task>:likelihood", caption_justify="left")
    for name, task in (tasks.TASKS | tasks.GLUE).items():
        data = task.data
        mark = " *" if task.has_choices else ""
        table.add_row(name + mark, data.title, data.split, str(data.size), str(task.max_new_tokens))
    shared.console().print(table)


@app.command()
def show(name: Name) -> None:
    """What a task asks, its rule, its data, licence and citation."""
    import tasks

    console, task = shared.console(), tasks.get(name)
    for title, text in _described(task):
        console.print(f"[bold]{title}[/bold]", end=" ")
        console.print(text, highlight=False, markup=False, soft_wrap=True)


@app.command()
def preview(
    name: Name,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many records (ner: sentences).")] = 3,
    source: Source = "bundled",
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
) -> None:
    """Some examples as the model gets them, each with the right answer."""
    from rich.markup import escape

    import tasks

    console, task = shared.console(), tasks.get(name).on(source)
    for title, text in _described(task):
        if title in ("rule", "size", "licence", "citation"):
            console.print(f"[bold]{title}[/bold] {escape(text)}", highlight=False, soft_wrap=True)
    if source == "bundled" and task.data.hub:
        console.print("Bundled examples are in the data set's form, written for this project (Apache-2.0).")
    for example in task.examples(source, limit=n, seed=seed):
        console.print(f"\n[bold]example {example.id}[/bold]", highlight=False)
        console.print(task.prompt(example), highlight=False, markup=False, soft_wrap=True)
        gold = json.dumps(example.gold, ensure_ascii=False)
        console.print(f"[bold]gold[/bold] {escape(gold)}", highlight=False, soft_wrap=True)
        if task.mode == "likelihood":
            console.print(f"[bold]choices[/bold] {escape(repr(task.choices(example)))}", highlight=False)


def evaluate(
    model: ModelArgument,
    tasks: Annotated[
        list[str] | None, typer.Option("--tasks", help="Names or files, with commas or repeated; default all eight.")
    ] = None,
    source: Source = "bundled",
    examples: Annotated[
        int | None, typer.Option("--examples", "--limit", min=1, help="Of each task; default all there are.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where rows/ and outputs/ go; default nowhere.")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="auto: vllm if it is there.")] = "auto",
    dtype: Dtype = "float32",
    seed: Annotated[int, typer.Option(help="Of the draw of examples.")] = 0,
    chat_template: Annotated[bool, typer.Option("--chat-template", help="Ask through the chat template.")] = False,
    no_text: Annotated[bool, typer.Option("--no-text", help="Leave prompts, outputs and answers out.")] = False,
    max_model_len: Annotated[int, typer.Option(min=2, help="Prompt and answer, in tokens.")] = 2048,
    revision: Annotated[str | None, typer.Option(help="Of a model on the hub.")] = None,
    kv_cache_gib: Annotated[float, typer.Option(help="vLLM's cache on a CPU.")] = 1.0,
    gpu_memory_utilization: Annotated[float, typer.Option(help="vLLM's share of a GPU's memory.")] = 0.9,
    tensor_parallel_size: Annotated[int, typer.Option(min=1, help="GPUs to split the weights over.")] = 1,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Run the model's own code.")] = False,
) -> None:
    """Score any model on tasks, without a sweep."""
    from sweeps.commands import evaluate as work

    names = [name for given in tasks or ["all"] for name in given.split(",") if name]
    asked: dict[str, Any] = {"names": "all" if names == ["all"] else names, "examples": examples, "source": source}
    asked |= {"seed": seed, "chat_template": chat_template, "keep_texts": not no_text}
    limits = {"name": engine, "dtype": dtype, "max_model_len": max_model_len, "kv_cache_gib": kv_cache_gib}
    limits |= {"gpu_memory_utilization": gpu_memory_utilization, "tensor_parallel_size": tensor_parallel_size}
    spec = {"name": model, "revision": revision, "dtype": dtype, "trust_remote_code": trust_remote_code}
    work.evaluate(work.load(spec, asked, limits, out), shared.console())


def _described(task: Task) -> list[tuple[str, str]]:
    """(title, text) pairs."""
    data = task.data
    lines = [
        ("task", f"{task.name}, version {task.version}"),
        ("rule", task.metric),
        ("mode", "the choice with the highest log-probability" if task.mode == "likelihood" else "greedy generation"),
        ("prompt", task.template.text),
        ("cut", f"from the left of its {task.template.passage}" if task.template.passage else "never"),
        ("new tokens", str(task.max_new_tokens)),
        ("data", f"{data.title}, {data.split}"),
        ("size", str(data.size)),
        ("files", ", ".join(data.files)),
        ("hub", f"{data.hub.path} {data.hub.config or ''} {data.hub.split}" if data.hub else ""),
        ("licence", data.licence),
        ("citation", data.citation),
    ]
    return [(title, text) for title, text in lines if text]
