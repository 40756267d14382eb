"""`sweeps tune`: look for a method's hyperparameters on a model, and keep what was found for it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from rich.markup import escape
from rich.table import Column, Table

from modelfolder import whole_files
from modelfolder.errors import InputError
from rect import cache, editors, fact_files, places, tracing
from rect.corpus import SELF
from rect.editors import hyperparameters
from rect.facts import Fact
from sweeps.figures import tuning as figure
from sweeps.plan import tuning
from sweeps.plan.chain import identify
from sweeps.plan.tuning import Setting
from sweeps.results import intervals, units
from sweeps.results.fronts import pareto
from sweeps.run import bench, cluster, surroundings
from sweeps.run import tuning as run

if TYPE_CHECKING:
    from rich.console import Console

    from rect.editors.hyperparameters import Hparams

BAR = 40  # characters of the longest bar of the profile
TRACED, DRAWS = 6, 3  # facts that the profile is taken of, and draws of the noise for each


@dataclasses.dataclass(frozen=True)
class Request:
    """What is wanted; the options of `sweeps tune`."""

    model: str
    method: str
    vary: tuple[str, ...] = ()
    held: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    facts: str = "bundled"
    measured: int = 8
    confirmed: int = 20
    trials: int = 16
    minutes: float = 45.0
    layers: int = 6
    workers: int = 1
    out: Path | None = None
    seed: int = 0
    device: str = "auto"
    dtype: str = "float32"
    address: str | None = None

    @property
    def folder(self) -> Path:
        return self.out or Path("results") / f"tune-{self.method}-{Path(self.model).name}"


def tune(request: Request, console: Console) -> Path:
    """Search, confirm on facts that the search did not see, and keep the values.

    Returns:
        The file with the values, in the folder; another lies in the cache, where the model's values are looked for.

    Raises:
        InputError: the method cannot be tuned or not on this model, a key that it has not, no facts, or Ray cannot be
            had.
    """
    keys = tuning.check(request.method, request.vary)
    seen, unseen = tuning.split(fact_files.read(request.facts), 0)
    if min(len(seen), len(unseen)) < 1:
        raise InputError(f"--facts {request.facts}: two facts or more are needed: half of them are tuned on")
    if request.workers > 1:
        surroundings.cluster_address(request.address)
    places.check_folder(f"--out {request.folder}", request.folder)
    place = bench.Bench(request.model, request.device, request.dtype)
    now = _now(request.method, place, request.held)
    asked, effects = _asked(request, keys, seen, now, place, console)
    settings = math.prod(map(len, asked.choices.values()))
    console.print(
        f"{request.method} on {request.model}: {settings} settings of {', '.join(keys)}, on "
        f"{len(asked.facts)} facts of {len(seen)} set aside for tuning; {len(unseen)} others are left alone",
        highlight=False,
    )
    _covariances(request.method, asked, place)

    def say(setting: Setting, how: str) -> None:
        console.print(_line(setting, how), highlight=False, markup=False)

    search = run.Search(asked, request.folder, request.trials, say)
    with _pool(request, place) as pool:
        tried = search.run(pool, 60 * request.minutes)
        picked = tuning.pick(tried)
        if picked is None:
            raise InputError(
                f"no setting of {request.method} could be measured on {request.model}: see the lines above"
            )
        _show(tried, picked, console)
        unedited = place.unedited(asked.facts)
        if picked.success <= unedited + tuning.TOLERANCE:
            raise InputError(
                f"{request.method} does not edit {request.model}: of {len(tried)} settings the best has success "
                f"{picked.success:.3f}, the unedited model {unedited:.3f}; no file is written"
            )
        values = [now, {**now, **picked.values}]
        others = unseen[: request.confirmed]
        confirmed = run.confirm(asked, request.folder, values, others, pool) if others else []
    if confirmed:
        _show_confirmed(confirmed, len(others), console)
    whole_files.write(request.folder / "tuning.png", figure.draw(effects, tried, picked, request.model, request.method))
    _record(request, asked, effects, tried, picked, confirmed)
    return _keep(request, asked, picked, len(tried), console)


def _now(method: str, place: bench.Bench, held: Mapping[str, Any]) -> dict[str, Any]:
    """All hyperparameters that the method would have without a tuning.

    Args:
        held: values that are set; where the text of a covariance is none of them it is the model's own.

    Raises:
        InputError: the method does not edit this model, or a value is wrong.
    """
    kind = editors.get(method)
    found: Hparams = hyperparameters.resolve(kind.hparams_class, held, place.model, tuned=False)
    values = found.model_dump(mode="json", exclude_none=True)
    if "mom2_dataset" in values:
        values |= {"mom2_dataset": held.get("mom2_dataset", SELF)}
        if "mom2_n_samples" not in held:
            values.pop("mom2_n_samples", None)
        bare = kind.hparams_class.parse({**values, "mom2_adjustment": False}, method)
        kind.build(place.model, bare, ["{}"], None)
    return values


def _asked(
    request: Request,
    keys: Sequence[str],
    seen: Sequence[Fact],
    now: Mapping[str, Any],
    place: bench.Bench,
    console: Console,
) -> tuple[run.Asked, list[float]]:
    """What is tuned, and the profile of the layers where they are looked for."""
    effects: list[float] = []
    layers: list[list[int]] = []
    if "layers" in keys:
        effects = _profile(request, seen, place, console)
        layers = tuning.candidates(effects, len(now["layers"]), request.layers)
    chosen = tuning.choices(request.method, keys, layers, now)
    facts = tuple(seen[: request.measured])
    asked = run.Asked(place.model.content, request.dtype, request.method, now, chosen, facts, request.seed)
    return asked, effects


def _profile(request: Request, facts: Sequence[Fact], place: bench.Bench, console: Console) -> list[float]:
    """Indirect effects by layer, kept in the folder; shown as bars."""
    file = request.folder / "profile.json"
    key = identify("profile", TRACED, DRAWS, place.model.content, [fact.model_dump(mode="json") for fact in facts])
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    if found.get("id") != key:
        found = {"id": key, **dataclasses.asdict(tracing.profile(place.model, facts, draws=DRAWS, most=TRACED))}
        whole_files.write(file, json.dumps(found, indent=1).encode())
    effects: list[float] = list(found["effects"])
    console.print(
        f"causal tracing of {found['facts']} facts that the model knows: probability of the answer "
        f"{found['clean']:.3f}, with noise on the subject {found['corrupted']:.3f}; regained by layer:",
        highlight=False,
    )
    largest = max(max(effects), 1e-9)
    for layer, effect in enumerate(effects):
        bar = "#" * round(BAR * max(effect, 0) / largest)
        console.print(f"{layer:>3} {effect:+.4f} {bar}", highlight=False)
    return effects


def _covariances(method: str, asked: run.Asked, place: bench.Bench) -> None:
    """Those of all layers that a setting may want, in one pass."""
    if True not in asked.choices.get("mom2_adjustment", [asked.now.get("mom2_adjustment")]):
        return
    layers = sorted({layer for one in asked.choices.get("layers", [asked.now["layers"]]) for layer in one})
    place.covariance(method, asked.now, layers)


@contextlib.contextmanager
def _pool(request: Request, place: bench.Bench) -> Iterator[bench.Pool]:
    if request.workers == 1:
        yield bench.Here(place)
        return
    with cluster.connected(request.address):
        yield bench.Actors(request.workers, request.model, request.device, request.dtype)


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in values.items())


def _line(setting: Setting, how: str) -> str:
    count = sum(setting.sizes[: len(setting.operations)])
    if setting.failed:
        return f"{_shown(setting.values)}: {how}"
    after = f" ({how} after {count} of {sum(setting.sizes)} facts)" if how else ""
    return f"{_shown(setting.values)}: success {setting.success:.3f}, drift {setting.drift:.4f}{after}"


def front(tried: Sequence[Setting]) -> list[bool]:
    """Which settings no other beats; those that were given up are on no front."""
    whole = [(one.success, -one.drift) if one.whole else (math.nan, math.nan) for one in tried]
    return pareto(pd.DataFrame(whole, columns=["success", "still"]), "success", "still").tolist()


def _show(tried: Sequence[Setting], picked: Setting, console: Console) -> None:
    titles = (*tried[0].values, "success", "drift", "facts", "front", "")
    table = Table(*(Column(title, justify="right") for title in titles), box=None, pad_edge=False)
    order = sorted(zip(tried, front(tried), strict=True), key=lambda pair: (not pair[0].whole, _drift(pair[0])))
    for one, best in order:
        count = sum(one.sizes[: len(one.operations)])
        figures = ["-", "-"] if one.failed else [f"{one.success:.3f}", f"{one.drift:.4f}"]
        values = [escape(json.dumps(value)) for value in one.values.values()]
        table.add_row(*values, *figures, str(count), "*" if best else "", "picked" if one is picked else "")
    console.print(table)
    near = tuning.tolerance(sum(picked.sizes))
    console.print(f"picked: the least drift of those within {near:.3g} of the best success", highlight=False)


def _drift(setting: Setting) -> float:
    return math.inf if setting.failed else setting.drift


def estimate(values: Sequence[float]) -> intervals.Estimate:
    """Mean over facts or operations, with Student's t: of one model; that all agree is no certainty."""
    return intervals.mean([units.ratio(np.array(values), np.ones(len(values)), "facts", "tuning")])


def _figures(setting: Setting) -> dict[str, list[float]]:
    """What is compared, value by value."""
    ends = setting.operations
    return {
        "reliability": [value for one in ends for value in one.reliability],
        "generalization": [value for one in ends for value in one.generalization],
        "drift": [one.drift for one in ends],
    }


def compared(before: Setting, after: Setting) -> list[dict[str, Any]]:
    """Each figure before and after, and their difference fact by fact, as estimates; empty where one failed.

    Where both are the same values there is no difference to estimate.
    """
    if not (before.whole and after.whole):
        return []
    found = []
    for name, was in _figures(before).items():
        pairs = [(a, b) for a, b in zip(was, _figures(after)[name], strict=True) if not math.isnan(a + b)]
        if pairs:
            columns = {"before": [a for a, _ in pairs], "after": [b for _, b in pairs]}
            if before.values != after.values:
                columns["difference"] = [b - a for a, b in pairs]
            found.append({"figure": name, **{key: estimate(values) for key, values in columns.items()}})
    return found


def _show_confirmed(confirmed: Sequence[Setting], facts: int, console: Console) -> None:
    for one in confirmed:
        if one.failed:
            console.print(f"on other facts: {_line(one, one.failed)}", highlight=False, markup=False)
    titles = f"on {facts} other facts", "values of before", "picked", "difference (95% interval)"
    table = Table(*titles, box=None, pad_edge=False)
    for line in compared(*confirmed):
        texts = [f"{line[key].value:.4f} ({line[key].low:.4f} to {line[key].high:.4f})" for key in list(line)[1:]]
        table.add_row(line["figure"], *texts)
    console.print(table)
    if confirmed[0].values == confirmed[1].values:
        console.print("picked are the values of before")


def _record(
    request: Request,
    asked: run.Asked,
    effects: Sequence[float],
    tried: Sequence[Setting],
    picked: Setting,
    confirmed: Sequence[Setting],
) -> None:
    """Everything that was found, as `tuning.json`."""
    lines = [
        {"values": dict(one.values), "front": best, "picked": one is picked, "operations": len(one.operations)}
        | ({"failed": one.failed} if one.failed else {"success": one.success, "drift": one.drift})
        for one, best in zip(tried, front(tried), strict=True)
    ]
    others = [
        {"figure": line.pop("figure")} | {key: [one.value, one.low, one.high] for key, one in line.items()}
        for line in (compared(*confirmed) if confirmed else [])
    ]
    about = {"model": request.model, "content": asked.content, "method": asked.method, "study": asked.study}
    found = {**about, "effects": list(effects), "settings": lines, "confirmed": others}
    whole_files.write(request.folder / "tuning.json", (json.dumps(found, indent=1) + "\n").encode())


def _keep(request: Request, asked: run.Asked, picked: Setting, tried: int, console: Console) -> Path:
    """Write the values: in the folder, and where the model's are looked for."""
    method = editors.get(request.method).hparams_class
    facts = identify("facts", [fact.model_dump(mode="json") for fact in asked.facts])
    about = {
        "models": [request.model],
        "content": asked.content,
        "source": f"sweeps tune, {tried} settings on {len(asked.facts)} facts of {request.facts}: "
        f"success {picked.success:.3f}, drift {picked.drift:.4f}",
        "facts": facts,
        "date": datetime.date.today().isoformat(),
        "tested": True,
    }
    text = yaml.safe_dump({**about, **asked.now, **picked.values}, sort_keys=False, default_flow_style=None, width=120)
    data = f"# {request.method} on {request.model}, as `sweeps tune` found it.\n{text}".encode()
    file, kept = request.folder / f"{request.method}.yaml", hyperparameters.tuned_file(method.shelf(), asked.content)
    whole_files.write(file, data)
    cache.check_cache(kept.parent)
    whole_files.write(kept, data)
    method.read(file)
    console.print(f"{file} holds the values; {kept} has {request.model} edited with them from now on", highlight=False)
    return file
