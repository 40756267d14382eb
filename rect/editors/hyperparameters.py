"""Hyperparameters: frozen records with EasyEdit's keys, and where their values come from.

Values for known models lie in `hparams/<method>/<model>.yaml`; for another model each method has a default by relative
depth, which is announced in the log. What `sweeps tune` found for a model on this machine goes before both: it lies in
the cache by what the model is made of. EasyEdit's own YAML files load as they are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias, TypeVar

import pydantic

from modelfolder import yaml_files
from modelfolder.errors import InputError, nearest
from rect.cache import cache_folder

if TYPE_CHECKING:
    from rect.model import EditableModel

FOLDER = Path(__file__).with_name("hparams")
# what our own files say about themselves
META = frozenset({"models", "content", "source", "facts", "date", "tested"})
# Keys of EasyEdit's files that say nothing about the numbers: where the model is, where files go, how it is run.
ELSEWHERE = {
    *("alg_name", "model_name", "stats_dir", "results_dir", "device", "model_parallel", "fp16", "bf16", "max_length"),
    *("batch_size", "sequential_edit", "rewrite_module_tmp", "layer_module_tmp", "mlp_module_tmp", "attn_module_tmp"),
    *("ln_f_module", "lm_head_module"),
}

H = TypeVar("H", bound="Hparams")
Wanted: TypeAlias = "Hparams | Mapping[str, Any] | str | os.PathLike[str] | None"
"""What hyperparameters may be given as, see `resolve`."""


def wrong(error: pydantic.ValidationError, where: str) -> InputError:
    """The first thing that is wrong in a record, with its key, in one line."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return InputError(f"{where}: {key}: {message}, not {first['input']!r}" if key else f"{where}: {message}")


class Hparams(pydantic.BaseModel):
    """Base of the methods' hyperparameters; bad values raise InputError in one line that names the key."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    method: ClassVar[str]
    ours: ClassVar[str | None] = None  # the method of this project whose values for known models these share
    switches: ClassVar[frozenset[str]] = frozenset()  # keys that identities name only where they are used

    @classmethod
    def by_depth(cls, n_layers: int) -> dict[str, Any]:
        """The values that depend on the number of layers, for a model that nobody has tried; none unless it is said."""
        return {}

    @classmethod
    def shelf(cls) -> str:
        """The folder of `FOLDER` with the values for known models."""
        return cls.method if cls.ours is None else cls.ours

    @classmethod
    def by_name(cls, model_name: str) -> dict[str, Any]:
        """Defaults that depend on the model's name."""
        return {}

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Check values and make the record.

        Raises:
            InputError: an unknown key (the message names the nearest known one) or a wrong value.
        """
        for key in values:
            if key not in cls.model_fields:
                raise InputError(f"{where}: unknown key {key!r}; {nearest(key, sorted(cls.model_fields))}")
        try:
            return cls(**values)
        except pydantic.ValidationError as error:
            raise wrong(error, where) from None

    @classmethod
    def read(cls, path: str | os.PathLike[str], model: EditableModel | None = None) -> Self:
        """Read a YAML file of ours or of EasyEdit.

        Raises:
            InputError: it cannot be read, is for another method, or edits another matrix than the model's MLP output.
        """
        values = yaml_files.mapping(Path(path))
        method = str(values.get("alg_name", cls.method))
        if method.lower() != cls.method:
            raise InputError(f"{path}: alg_name: these are hyperparameters of {method}, not of {cls.method}")
        matrix = values.get("rewrite_module_tmp")
        if model is not None and matrix is not None and matrix != model.architecture.mlp_out:
            right = model.architecture.mlp_out
            raise InputError(f"{path}: rewrite_module_tmp: {matrix!r} is not in {model.name}; right would be {right!r}")
        return cls.parse({k: v for k, v in values.items() if k not in cls.skipped()}, str(path))

    @classmethod
    def skipped(cls) -> frozenset[str]:
        """Keys of a file that are not read."""
        return META | (ELSEWHERE - cls.model_fields.keys())


def resolve(cls: type[H], given: Any, model: EditableModel, tuned: bool = True) -> H:
    """The hyperparameters for a model.

    Args:
        cls: the method's class.
        given: None for what is known of the model, else by relative depth; a mapping of overrides of that; a YAML file;
            or the finished record.
        model: the model; its name, number of layers and architecture are looked at.
        tuned: whether values that were tuned here count as known.

    What one should know of them `remark` says.
    """
    if isinstance(given, cls):
        return given
    if given is not None and not isinstance(given, Mapping):
        return cls.read(given, model)
    overrides = dict(given or {})
    file = (known if tuned else shipped)(cls.shelf(), model.name)
    values = cls.by_depth(model.n_layers) if file is None else _values(file)
    return cls.parse({**cls.by_name(model.name), **values, **overrides}, f"{cls.method} hyperparameters")


def remark(cls: type[Hparams], given: Any, model_name: str, n_layers: int | None = None) -> str:
    """What one should know of a request for hyperparameters, in one line: nobody has tried these values here; else "".

    Args:
        cls, given: as for `resolve`. Of a user's own file only that is said which is not applied.
        model_name: of the model.
        n_layers: its layers, where they are known; then the values are told.
    """
    if isinstance(given, Hparams):
        return ""
    if given is not None and not isinstance(given, Mapping):
        values = yaml_files.mapping(Path(given))
        lower = [key for key in ("fp16", "bf16") if values.get(key) and key in cls.skipped()]
        return (
            f"{given}: {lower[0]}: true is not applied: the model's dtype is chosen where it is loaded" if lower else ""
        )
    file = known(cls.shelf(), model_name)
    if file is not None:
        about = yaml_files.mapping(file)
        if FOLDER not in file.parents:
            return f"{cls.method} hyperparameters for {model_name}: those of {file} (sweeps tune)"
        source = f"{cls.method} hyperparameters for {model_name}: untested here; their source: {about['source']}"
        return "" if about["tested"] else source
    values = {key: value for key, value in cls.by_depth(n_layers or 12).items() if key not in (given or {})}
    if not values:
        return ""
    told = ", ".join(f"{key} {value}" if n_layers else key for key, value in values.items())
    return f"no {cls.method} hyperparameters are known for {model_name}: defaults by relative depth ({told}), untested"


def declared(cls: type[Hparams], given: Any, model_name: str) -> dict[str, Any]:
    """What a request for hyperparameters means, without the model at hand; it goes into identities.

    All values where they are known, else the rule and the overrides.
    """
    if isinstance(given, Hparams):
        return given.model_dump(mode="json")
    if given is not None and not isinstance(given, Mapping):
        return cls.read(given).model_dump(mode="json")
    file = known(cls.shelf(), model_name)
    if file is not None:
        return cls.parse({**_values(file), **(given or {})}, f"{cls.method} hyperparameters").model_dump(mode="json")
    cls.parse({**cls.by_depth(12), **(given or {})}, f"{cls.method} hyperparameters")  # are the overrides right?
    return {"default": "by depth", **cls.by_name(model_name), **(given or {})}


def _values(file: Path) -> dict[str, Any]:
    """Those of a file of ours."""
    return {key: value for key, value in yaml_files.mapping(file).items() if key not in META}


def known(method: str, model_name: str) -> Path | None:
    """The file with values for a model: one that was tuned here for what it is made of, else one of ours."""
    return _tuned_here(method, model_name) or shipped(method, model_name)


def shipped(method: str, model_name: str) -> Path | None:
    """Our file for a model, found by its name or hub id, or by the name of its folder."""
    wanted = {model_name.lower(), Path(model_name).name.lower()}
    for file in sorted((FOLDER / method).glob("*.yaml")):
        names = {str(name).lower() for name in yaml_files.mapping(file)["models"]}
        if wanted & (names | {name.rsplit("/", 1)[-1] for name in names} | {file.stem.lower()}):
            return file
    return None


def tuned_file(method: str, content: str) -> Path:
    """Where values lie that were tuned for a model of this content (`rect.models.content`)."""
    name = hashlib.sha256(content.encode()).hexdigest()[:16]
    return cache_folder() / "hparams" / method / f"{name}.yaml"


def _tuned_here(method: str, model_name: str) -> Path | None:
    if not tuned_file(method, "").parent.is_dir():
        return None
    from rect import models

    content = models.content(model_name)
    file = None if content is None else tuned_file(method, content)
    return file if file is not None and file.is_file() else None
