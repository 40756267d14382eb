"""The configuration of `sweeps train-mend`: YAML in, one validated and frozen `TrainConfig` out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from modelfolder import yaml_files
from rect.editors.mend.settings import MendSettings
from sweeps.config import dotted
from sweeps.config.config import Count, EditsSpec, ModelSpec
from sweeps.config.strict import Strict, parse


class TrainConfig(Strict):
    """A training. `load` makes one from a YAML file.

    Attributes:
        model: for which the hypernetwork is trained.
        facts: the edit set; it is split into facts to train on, to validate on, and held out.
        out: folder of the checkpoints, which all workers must see; default `results/mend/<name of the model>`.
        training: `rect.editors.mend.settings.MendSettings`.
        held_out_batches: sizes of the batches that the held-out facts are edited in for the final report.
        workers: processes of Ray Train; each takes its share of the edits of a step.
    """

    model: ModelSpec
    facts: EditsSpec = EditsSpec()
    out: str | None = None
    training: MendSettings = Field(default_factory=lambda: MendSettings.model_validate({}))
    held_out_batches: tuple[Count, ...] = (1, 4, 16)
    workers: Count = 1

    @property
    def folder(self) -> Path:
        from rect.editors.mend.files import default_folder

        return Path(self.out or default_folder(self.model.name))


def load(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML file, apply `key=value` overrides, validate.

    Raises:
        InputError: one line with the file, its line, the key and what is wrong.
    """
    data, lines = yaml_files.mapping_with_lines(Path(path))
    given = [dotted.override(data, text) for text in overrides]
    return parse(TrainConfig, data, str(path), lines, given)
