"""`--scale`: one configuration at several sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfolder.errors import InputError
from sweeps.config import config

TEXT = """name: big
models: [gpt2]
methods: [rome]
settings:
  - {kind: instance-sequential, edits: 20}
tasks: {names: [nli, ner], examples: 100}
scales:
  demo:
    models: [smollm2-135m]
    tasks: {examples: 4}
  broken:
    settings:
      - {kind: instance-sequential, edits: 0}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "big.yaml"
    path.write_text(TEXT)
    return path


def test_a_scale_replaces_whole_keys(file: Path) -> None:
    base, demo = config.load(file), config.load(file, scale="demo")
    assert (base.name, base.models[0].name, base.tasks.examples) == ("big", "gpt2", 100)
    assert (demo.name, demo.models[0].name) == ("big-demo", "smollm2-135m")
    assert demo.tasks.examples == 4
    assert demo.tasks.names == ()  # the key is replaced, not merged
    assert demo.settings == base.settings
    assert "scales" not in demo.as_yaml()


def test_overrides_come_last(file: Path) -> None:
    assert config.load(file, ["tasks.examples=7", "name=mine"], "demo").tasks.examples == 7
    assert config.load(file, ["name=mine"], "demo").name == "mine"


def test_errors_name_the_line_in_the_scale(file: Path) -> None:
    with pytest.raises(InputError, match=r"big\.yaml:13: settings\.0\.edits"):
        config.load(file, scale="broken")


def test_unknown_scale(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such scale; did you mean 'demo'\\? there are demo, broken"):
        config.load(file, scale="demmo")
    plain = tmp_path / "plain.yaml"
    plain.write_text(TEXT.split("scales:")[0])
    with pytest.raises(InputError, match="this configuration has none"):
        config.load(plain, scale="demo")
    plain.write_text(TEXT.split("scales:")[0] + "scales: [demo]\n")
    with pytest.raises(InputError, match=r"plain\.yaml:7: scales: a mapping"):
        config.load(plain)
