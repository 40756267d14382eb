"""Tasks of the lm-evaluation-harness (`lm_eval:<task>`), run on our engine. The package lm-eval is optional.

Prompts, few-shot examples, filters and metrics are the harness's own; what is ours is the engine behind them and the
draw of examples. A group (mmlu) is one task here: its score is the group's, a limit counts for each of its tasks.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modelfolder.errors import InputError, closest
from tasks import harness_chance, sources
from tasks.base import Judgement, Task
from tasks.engines.base import Engine
from tasks.fields import Record
from tasks.prompts import Template
from tasks.records import Data, Example, Examples
from tasks.scores import Score

PREFIX = "lm_eval:"
FEWSHOT_SEED = 1234  # the harness's default
ANSWERS = "2"  # goes up when our answers to the harness change
BOOTSTRAP = 1000  # draws for metrics without a closed standard error


@dataclass(frozen=True)
class Said:
    """What the model said to one example: prompt, output (of choices: JSON of [text, log-probability]), score.

    cut: something of it did not fit into the context and was cut from the left.
    """

    prompt: str
    output: str
    score: float
    cut: bool = False


class HarnessTask(Task):
    """A task or a group of the harness's registry, or of a YAML file in its format.

    A file whose `task` is the name of a registered task overrides that one's keys, such as `dataset_path`.
    `score` is the first metric that the task lists, of its first filter, where higher is better.

    Raises:
        InputError: lm-eval is not installed, or does not know the name, or it stands for several tasks without a score.
    """

    mode = "harness"
    max_new_tokens = 1  # not used: each request brings its own
    template = Template("{prompt}")
    metric = "the harness's own"

    def __init__(self, spec: str) -> None:
        if importlib.util.find_spec("lm_eval") is None:
            raise InputError(
                f"{PREFIX}{spec} needs the lm-evaluation-harness: pip install lm-eval (extra 'lm-eval' of this package)"
            )
        from importlib.metadata import version

        self.version = f"lm-eval-{version('lm_eval')}-{ANSWERS}"
        self._spec: str | dict[str, Any] = spec  # a name, a path, or the keys to override
        self._key = spec
        self._loaded: Any = None
        if spec.endswith((".yaml", ".yml")):
            self.own = True
            found, content = _read(Path(spec))
            self._key = str(found.get("task") or found.get("group"))
            self.version += f"-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
            if "include" not in found and "!function" not in content and self._key in _registry().all_tasks:
                self._spec = found
        else:
            _check_name(spec)
        self.name = PREFIX + self._key
        self.data = Data(
            title=f"{self._key} of the lm-evaluation-harness",
            split="as the harness has it",
            size=0,
            licence="see the data set",
            citation="Gao et al., The Language Model Evaluation Harness, doi:10.5281/zenodo.12608602",
        )

    def __getstate__(self) -> dict[str, Any]:
        """Without the data, which other processes load themselves."""
        return {**self.__dict__, "_loaded": None}

    # Examples -------------------------------------------------------------------------------------------------------

    def examples(self, source: str | Path = "bundled", limit: int | None = None, seed: int = 0) -> Examples:
        """Drawn from the harness's own data, whatever the source; its download may take a while."""
        drawn: list[Example] = []
        places = []
        for name, task in self._tasks().items():
            docs = task.eval_docs
            groups = {index: [Example(str(index), {}, None)] for index in range(len(docs))}
            for light in sources.drawn(groups, f"{PREFIX}{name}", limit, seed):
                drawn.append(_example(task, name, int(light.id), docs[int(light.id)]))
            places.append(f"{task.DATASET_PATH} {task.DATASET_NAME or ''}".strip())
        provenance = {"source": "lm-eval", "dataset": ", ".join(dict.fromkeys(places))}
        return Examples(drawn, provenance)

    def parse(self, record: Record, index: str) -> list[Example]:
        raise InputError(f"{self.name}: records are read by the harness")

    # Scoring --------------------------------------------------------------------------------------------------------

    def judge(self, output: str, example: Example) -> Judgement:
        raise InputError(f"{self.name}: outputs are scored by the harness (run)")

    def run(
        self, engine: Engine, examples: Sequence[Example], bootstrap: int = BOOTSTRAP
    ) -> tuple[dict[str, Score], list[Said]]:
        """Ask the engine, with whatever weights it holds.

        Args:
            bootstrap: draws for metrics without a closed standard error.

        Returns:
            (scores, said): `score` and every metric of the harness by its name ("acc_norm", "exact_match/strict"); what
            was said to each of the examples.

        Raises:
            Unaskable: continuations that cannot be weighed, by the ids of their examples.
            InputError: the task wants something else than greedy decoding.
        """
        import lm_eval.evaluator

        from tasks.harness_model import EngineLM

        wanted: dict[str, list[int]] = {name: [] for name in self._tasks()}
        for example in examples:
            name, _, index = example.id.rpartition("/")
            wanted[name].append(int(index))
        for task in self._tasks().values():
            task.set_fewshot_seed(FEWSHOT_SEED)  # again before each run: the same few-shot examples at each checkpoint
        model = EngineLM(engine)
        found: Any = lm_eval.evaluator.evaluate(
            model,
            self._loaded,
            samples={name: sorted(indices) for name, indices in wanted.items()},
            bootstrap_iters=bootstrap,
            apply_chat_template=self.chat,
        )
        main = self._main(found)
        scores = _scores(found["results"][self._key], main, len(examples))
        said = {
            f"{name}/{sample['doc_id']}": _said(sample, main, (name, sample["doc_id"]) in model.cut)
            for name, samples in found["samples"].items()
            for sample in samples
            if main is None or sample["filter"] == main.rpartition(",")[2]
        }
        return scores, [said[example.id] for example in examples]

    def _main(self, found: Mapping[str, Any]) -> str | None:
        """The metric that is the score ("acc,none"); None if lower is better."""
        better = found["higher_is_better"].get(self._key) or {}
        names = [key for key in found["results"][self._key] if "," in key and "_stderr," not in key]
        return next((key for key in names if better.get(key.rpartition(",")[0]) is not False), None)

    def chance(self, examples: Sequence[Example]) -> float:
        """Known of accuracies of multiple choice, and of exact matches with one answer; else NaN."""
        tasks = self._tasks()
        docs = []
        for example in examples:
            name, _, index = example.id.rpartition("/")
            docs.append((tasks[name], tasks[name].eval_docs[int(index)]))
        return harness_chance.chance(docs)

    # Loading --------------------------------------------------------------------------------------------------------

    def _tasks(self) -> dict[str, Any]:
        """The harness's tasks by name, with their data."""
        if self._loaded is None:
            overrides = isinstance(self._spec, dict)
            wanted = {"group": PREFIX.rstrip(":"), "task": [self._spec]} if overrides else self._spec
            try:
                self._loaded = _registry().load([wanted])
            except Exception as error:  # of three libraries: no network, no such data set, no access, a broken file
                reason = f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]
                raise InputError(f"{self.name}: cannot be loaded ({reason})") from error
            for task in self._loaded["tasks"].values():
                if task.get_config("num_fewshot") is None:
                    task.set_config(key="num_fewshot", value=0)
        tasks: dict[str, Any] = self._loaded["tasks"]
        return tasks


@functools.cache
def _registry() -> Any:
    """The harness's index of its task files: reading it takes seconds, and it is always the same."""
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of each default that a task's file leaves unsaid
    return TaskManager()


def _check_name(name: str) -> None:
    registry = _registry()
    if name not in registry.all_tasks:
        close = closest(name, registry.all_tasks)
        raise InputError(f"{PREFIX}{name}: the lm-evaluation-harness has no such task; {close}".rstrip("; "))
    if name in registry.all_tags:
        names = ", ".join(sorted(registry.task_index[name].tags))
        raise InputError(f"{PREFIX}{name}: stands for several tasks without a common score; name one: {names}")


class _Loader(yaml.SafeLoader):
    """Reads `!function` and the like as nothing: the harness resolves them."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """A file in the harness's format, and its text."""
    try:
        content = path.read_text(encoding="utf-8")
        found = yaml.load(content, _Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({(str(error).splitlines() or [''])[0]})") from None
    if not isinstance(found, dict) or not (found.get("task") or found.get("group")):
        raise InputError(f"{path}: no task file of the lm-evaluation-harness: it has no key 'task'")
    return found, content


def _example(task: Any, name: str, index: int, doc: Any) -> Example:
    digest = hashlib.sha256(json.dumps(doc, sort_keys=True, default=str).encode()).hexdigest()
    fields = {"prompt": str(task.doc_to_text(doc)), "doc": digest[:32]}
    return Example(f"{name}/{index}", fields, _plain(task.doc_to_target(doc)))


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return str(value)


def _scores(results: Mapping[str, Any], main: str | None, n: int) -> dict[str, Score]:
    scores = {"score": Score(math.nan, math.nan, n)}
    for key, value in results.items():
        metric, comma, kept = key.rpartition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, int | float):
            error = results.get(f"{metric}_stderr,{kept}")
            stderr = float(error) if isinstance(error, int | float) else math.nan
            score = Score(float(value), stderr, n)
            scores[metric if kept == "none" else f"{metric}/{kept}"] = score
            if key == main:
                scores["score"] = score
    return scores


def _said(sample: Mapping[str, Any], main: str | None, cut: bool) -> Said:
    requests = list(zip(sample["arguments"], sample["resps"], strict=True))
    prompt = str(requests[0][0][0])
    answers = [answer for _, answers in requests for answer in answers]
    if isinstance(answers[0], str):
        output = answers[0]
    elif isinstance(answers[0], tuple | list):
        output = json.dumps([[args[1], round(said[0][0], 6)] for args, said in requests], ensure_ascii=False)
    else:
        output = json.dumps(answers)
    value = sample.get(main.rpartition(",")[0]) if main else None
    return Said(prompt, output, float(value) if isinstance(value, int | float) else math.nan, cut)
