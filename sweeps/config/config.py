"""The sweep's configuration: YAML in, one validated and frozen `Config` out. Everything behind it trusts its types."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from modelfolder import yaml_files
from modelfolder.errors import InputError
from rect import regularizers
from rect.editors import EDITORS
from rect.editors.easyeditor import environment
from rect.fact_kinds import AUTO
from rect.fact_readers import FORMATS
from rect.metrics import METRICS
from sweeps.config import dotted, scales
from sweeps.config.restrict import Restricted
from sweeps.config.search import SearchSpec, StopSpec
from sweeps.config.strict import Count, Named, Percent, Strict, known_name, parse

Dtype = Literal["float32", "bfloat16", "float16"]


class Labelled(Named):
    """What tables call by its name, or by a label that tells two entries of one name apart."""

    label: str | None = None

    @property
    def shown(self) -> str:
        """Name in the tables."""
        return self.label or self.name


class ModelSpec(Labelled):
    """A model to edit: a known name, a folder or a hub id."""

    revision: str | None = None
    dtype: Dtype = "float32"
    trust_remote_code: bool = False

    @property
    def key(self) -> str:
        """What names it, revision included."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


class EditsSpec(Strict):
    """The facts that are edited in. `count`: so many of the first; MQuAKE's instances are counted whole.

    `snippets`: a folder with attribute_snippets.json, idf.npy and tfidf_vocab.json, for the metric `consistency`.
    """

    source: str = "bundled"
    format: str = "facts"
    count: Count | None = None
    strict: bool = False
    snippets: str | None = None

    @field_validator("format")
    @classmethod
    def _known(cls, format: str) -> str:
        return known_name("format", format, (*FORMATS, AUTO))


class CovarianceSpec(Strict):
    """Text that the covariance of keys is estimated on, for methods whose hyperparameters ask for one.

    `corpus`: a .txt or .jsonl file, wikipedia, wikitext, a hub id, or self: text that the model samples itself. Of it
    so many texts (`samples`), which `seed` draws, and so many `tokens` (default: all of the samples; without any, what
    suffices for the dimension of a key). What is not given is what the hyperparameters say (`mom2_dataset` ...).
    """

    corpus: str | None = None
    revision: str | None = None
    samples: Count | None = None
    tokens: Count | Literal["all"] | None = None
    seed: int = 0


class MethodSpec(Labelled):
    """An editing method."""

    hparams: dict[str, Any] | None = None
    covariance: CovarianceSpec = CovarianceSpec()

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @field_validator("name")
    @classmethod
    def _registered(cls, name: str) -> str:
        if reason := environment.refusal(name):
            raise InputError(reason)
        return known_name("method", name, EDITORS)

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, data: Any) -> Any:
        """A path of hyperparameters is read here, once, so that no other machine needs the file."""
        if isinstance(data, dict) and isinstance(data.get("hparams"), str):
            from rect import editors

            values = editors.get(str(data.get("name"))).hparams_class.read(data["hparams"])
            data = {**data, "hparams": values.model_dump(mode="json")}
        return data


class Sequential(Restricted):
    """`edits` operations on the same model."""

    edits: Count
    checkpoints: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _within(self) -> Self:
        for value in self.checkpoints:
            if not 0 <= value <= self.edits:
                raise InputError(f"checkpoint {value} is outside 0 to {self.edits} (edits)")
        return self


class InstanceSequential(Sequential):
    """One fact per operation."""

    kind: Literal["instance-sequential"]
    batch_sizes: tuple[Literal[1], ...] = (1,)


class BatchSingle(Restricted):
    """b facts in one operation on the unedited model, for each b."""

    kind: Literal["batch-single"]
    batch_sizes: tuple[Count, ...] = Field(min_length=1)

    edits: ClassVar[int] = 1
    checkpoints: ClassVar[tuple[int, ...]] = (1,)


class BatchSequential(Sequential):
    """b facts per operation, for each b."""

    kind: Literal["batch-sequential"]
    batch_sizes: tuple[Count, ...] = Field(min_length=1)


Setting = Annotated[InstanceSequential | BatchSingle | BatchSequential, Field(discriminator="kind")]


class RegularizerSpec(Named):
    """A regularizer and the percentages k it is run with.

    `when`: of each operation's update, or at checkpoints of all edits together; default: as it was published.
    """

    k: tuple[Percent, ...] = ()
    when: regularizers.When | None = None

    @property
    def shown(self) -> str:
        """Name in the tables, with the time where it is not the published one."""
        return regularizers.called(self.name, self.when)

    @field_validator("name")
    @classmethod
    def _registered(cls, name: str) -> str:
        return known_name("regularizer", name, regularizers.REGULARIZERS)

    @field_validator("k", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _has_k(self) -> RegularizerSpec:
        if self.name != "none" and not self.k:
            wanted = "k, the percentage of elements to keep, such as k: [20, 40]"
            raise InputError(f"regularizer '{self.name}' needs {wanted}")
        regularizers.called(self.name, self.when)  # whether it is run at that time
        return self


class TasksSpec(Strict):
    """General ability: which tasks, on how many examples of each, from where.

    `chat_template`: each prompt is a user's message in the tokenizer's chat template (another version of every task).
    `keep_texts`: false leaves prompts, outputs and gold answers out of the outputs and the report; scores are kept.
    """

    names: tuple[str, ...] = ()
    examples: Count | None = None
    source: str = "bundled"
    seed: int = 0
    chat_template: bool = False
    keep_texts: bool = True

    @field_validator("names", mode="before")
    @classmethod
    def _all(cls, value: Any) -> Any:
        import tasks

        given = [value] if isinstance(value, str) else value
        if not isinstance(given, list | tuple):
            return given
        return tuple(
            name for one in given for name in (tasks.SETS.get(one, (one,)) if isinstance(one, str) else (one,))
        )

    @field_validator("names")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Names, or paths of task files, which are read here."""
        import tasks

        for name in value:
            tasks.get(name)
        return tuple(dict.fromkeys(value))


class EngineSpec(Strict):
    """What generates, and how much memory it may take.

    `kv_cache_gib` counts on a CPU. On GPUs `gpu_memory_utilization` is the engine's share of each device's memory (the
    rest is for the model that is edited), `tensor_parallel_size` over how many of them its weights are split.
    """

    name: Literal["auto", "vllm", "transformers"] = "auto"
    dtype: Dtype = "float32"
    kv_cache_gib: float = Field(default=1.0, gt=0)
    max_model_len: Count = 2048
    gpu_memory_utilization: float = Field(default=0.5, gt=0, le=1)
    tensor_parallel_size: Count = 1

    @property
    def options(self) -> dict[str, Any]:
        """As `tasks.engines.create` takes them."""
        return self.model_dump(exclude={"name"})


class ResourcesSpec(Strict):
    """What one trial takes and how many run at a time."""

    cpus: float = Field(default=2, gt=0)
    gpus: Literal["auto"] | Annotated[float, Field(ge=0)] = "auto"
    concurrency: Literal["auto"] | Count = "auto"
    max_failures: Annotated[int, Field(ge=0)] = 2

    @field_validator("gpus")
    @classmethod
    def _whole(cls, value: str | float) -> str | float:
        if isinstance(value, float) and value != int(value):
            why = "a trial holds model and engine, which take shares of whole GPUs (engine.gpu_memory_utilization)"
            raise InputError(f"{why}: right would be 0, 1 or auto, found {value!r}")
        return value


class Config(Strict):
    """A whole sweep. `load` makes one from a YAML file."""

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    models: tuple[ModelSpec, ...] = Field(min_length=1)
    edits: EditsSpec = EditsSpec()
    methods: tuple[MethodSpec, ...] = Field(min_length=1)
    settings: tuple[Setting, ...] = Field(min_length=1)
    regularizers: tuple[RegularizerSpec, ...] = (RegularizerSpec(name="none"),)
    metrics: tuple[str, ...] = ()
    tasks: TasksSpec = TasksSpec()
    engine: EngineSpec = EngineSpec()
    resources: ResourcesSpec = ResourcesSpec()
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    search: SearchSpec | None = None
    stop: tuple[StopSpec, ...] = ()
    track: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ()

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            known_name("metric", name, METRICS)
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _given(self) -> Config:
        for name in self.metrics:
            key = getattr(METRICS[name], "given", None)
            if key is not None and getattr(self.edits, key) is None:
                raise InputError(f"metrics: '{name}' needs edits.{key}, a folder with its files (docs/metrics.md)")
        return self

    @classmethod
    def _also(cls) -> tuple[str, ...]:
        return ("seed",)

    @model_validator(mode="before")
    @classmethod
    def _one_seed(cls, data: Any) -> Any:
        if isinstance(data, dict) and "seed" in data:
            if "seeds" in data:
                raise InputError("give seed or seeds, not both")
            data = {**{key: value for key, value in data.items() if key != "seed"}, "seeds": [data["seed"]]}
        return data

    @model_validator(mode="after")
    def _labels(self) -> Config:
        for what, shown in (("models", [m.shown for m in self.models]), ("methods", [m.shown for m in self.methods])):
            for name in shown:
                if shown.count(name) > 1:
                    raise InputError(f"two {what} are called '{name}': give each its own label")
        bare = [model.model_copy(update={"label": None}) for model in self.models]
        for model, one in zip(self.models, bare, strict=True):
            if bare.count(one) > 1:
                raise InputError(f"'{model.name}' is there twice, under two labels: leave one out")
        return self

    @model_validator(mode="after")
    def _restrictions(self) -> Config:
        methods = [name for method in self.methods for name in (method.shown, method.name)]
        asked = [one.shown for one in self.regularizers] + list(self.search.regularizers if self.search else ())
        models = [name for model in self.models for name in (model.shown, model.name)]
        known = {"models": models, "methods": methods, "regularizers": asked}
        for index, setting in enumerate(self.settings):
            setting.check(index, known)
        return self

    @model_validator(mode="after")
    def _searches(self) -> Config:
        if self.search is not None:
            self.search.check([setting.edits for setting in self.settings], bool(self.tasks.names))
        for rule in self.stop:
            rule.check(self.tasks.names)
        return self

    def as_yaml(self) -> str:
        """The configuration as resolved, every default spelled out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load(path: str | Path, overrides: Sequence[str] = (), scale: str | None = None) -> Config:
    """Read a YAML file, take one of its `scales`, apply `key=value` overrides (dotted keys, YAML values), validate.

    Raises:
        InputError: one line with the file, its line, the dotted key, what is wrong and what would be right.
    """
    data, lines = scales.choose(*yaml_files.mapping_with_lines(Path(path)), scale, str(path))
    given = [dotted.override(data, text) for text in overrides]
    for one, other in (("seed", "seeds"), ("seeds", "seed")):  # two spellings of one key: the command line's wins
        if one in given and other not in given:
            data.pop(other, None)
    return validate(data, str(path), lines, given)


def validate(
    data: dict[str, Any], source: str, lines: dict[str, int] | None = None, given: Sequence[str] = ()
) -> Config:
    """Validate plain data. `lines`: where a dotted key stands in `source`; `given`: keys set on the command line."""
    return parse(Config, data, source, lines, given)
