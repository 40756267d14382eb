"""Data sets from the Hugging Face hub, through `datasets`: no dataset script is run, the revision is resolved first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError, reason
from tasks.readers import Located

if TYPE_CHECKING:
    from tasks.base import Task


def records(task: Task) -> tuple[Iterator[Located], dict[str, str]]:
    """Records of the task's data set on the hub, and its provenance (data set, config, split, revision).

    HF_TOKEN, HF_HOME and HF_HUB_OFFLINE work as everywhere; offline, what the cache holds is used.
    Raises InputError if the task has no data set there or it cannot be loaded.
    """
    at = task.data.hub
    if at is None:
        raise InputError(f"task {task.name!r} has no data set on the hub; give a directory")
    import datasets
    from huggingface_hub import HfApi, constants

    try:
        revision = None if constants.HF_HUB_OFFLINE else HfApi().dataset_info(at.path).sha
        loaded = datasets.load_dataset(at.path, at.config, split=at.split, revision=revision)
    except Exception as error:  # the client raises errors of three libraries: no network, no such data set, no access
        why = reason(error)[:200]
        raise InputError(f"{at.path}: cannot be loaded from the hub ({why}); a directory works without it") from error
    provenance = {
        "source": "hub",
        "dataset": at.path,
        "config": at.config or "",
        "split": at.split,
        "revision": revision or _cached_revision(loaded),
    }
    return located(loaded, f"{at.path} {at.split}"), provenance


def located(loaded: Any, name: str) -> Iterator[Located]:
    """The rows of a `datasets.Dataset` with their places, class labels written as their names."""
    from datasets import ClassLabel

    labels = {}
    for column, feature in loaded.features.items():
        inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else feature)
        if isinstance(inner, ClassLabel):
            labels[column] = inner
    for index, row in enumerate(loaded):
        yield f"{name}, row {index}", {key: _named(value, labels.get(key)) for key, value in row.items()}


def _named(value: Any, label: Any) -> Any:
    if label is None or value is None:
        return value
    if isinstance(value, list):
        return [_named(item, label) for item in value]
    return label.int2str(value) if isinstance(value, int) and 0 <= value < label.num_classes else value


def _cached_revision(loaded: Any) -> str:
    """The revision as the cache's folder names it."""
    for file in loaded.cache_files:
        found = re.findall(r"\b[0-9a-f]{40}\b", str(file.get("filename", "")))
        if found:
            return str(found[-1])
    return "unknown"
