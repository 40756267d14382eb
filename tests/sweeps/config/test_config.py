"""A sweep's configuration: what is read, and what each mistake is answered with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modelfolder.errors import InputError
from sweeps.config import config

MINIMAL = """\
name: small
models: [smollm2-135m]
methods: [rome]
settings:
  - {kind: instance-sequential, edits: 6, checkpoints: [2, 6]}
regularizers:
  - none
  - {name: rect, k: [20, 40]}
tasks: {names: [nli], examples: 4}
seed: 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(MINIMAL)
    return path


def test_short_forms_are_spelled_out(file: Path) -> None:
    loaded = config.load(file)
    assert loaded.models[0].name == "smollm2-135m"
    assert loaded.models[0].dtype == "float32"
    assert loaded.regularizers[1].k == (20.0, 40.0)
    assert loaded.seeds == (0,)
    assert loaded.tasks.names == ("nli",)


def test_resolved_form_reads_back_the_same(file: Path, tmp_path: Path) -> None:
    loaded = config.load(file, ["engine.name=transformers", "seeds=[0, 1]"])
    again = tmp_path / "resolved.yaml"
    again.write_text(loaded.as_yaml())
    assert config.load(again) == loaded


def test_overrides_reach_nested_keys_and_lists(file: Path) -> None:
    loaded = config.load(file, ["tasks.examples=2", "settings.0.edits=9", "models.0={name: other, dtype: bfloat16}"])
    assert loaded.tasks.examples == 2
    assert loaded.settings[0].edits == 9
    assert loaded.models[0].dtype == "bfloat16"


@pytest.mark.parametrize("kind", ["demo", "smoke"])
def test_bundled_configs_are_valid(kind: str) -> None:
    path = Path(__file__).resolve().parents[3] / "configs" / f"{kind}.yaml"
    assert path.read_text().startswith(f"# sweeps run configs/{kind}.yaml\n")
    assert config.load(path).name == kind


MISTAKES = [
    ("name: small", "nmae: small", ":1: nmae: unknown key 'nmae'; did you mean 'name'?"),
    ("checkpoints", "chekpoints", ":5: settings.0.chekpoints: unknown key 'chekpoints'; did you mean 'checkpoints'?"),
    ("edits: 6", "edits: six", ":5: settings.0.edits: input should be a valid integer"),
    ("edits: 6", "edits: 0", ":5: settings.0.edits: input should be greater than or equal to 1, found 0"),
    ("checkpoints: [2, 6]", "checkpoints: [7]", ":5: settings.0: checkpoint 7 is outside 0 to 6 (edits)"),
    ("instance-sequential", "instance", ":5: settings.0: unknown kind 'instance'; did you mean 'instance-sequential'?"),
    ("kind: instance-sequential, ", "", ":5: settings.0: the key 'kind' is missing"),
    ("methods: [rome]", "methods: [romme]", ":3: methods.0.name: unknown method 'romme'; did you mean 'rome'?"),
    ("methods: [rome]", "methods: []", ":3: methods: the list is empty"),
    ("name: rect", "name: rekt", ":8: regularizers.1.name: unknown regularizer 'rekt'; did you mean 'rect'?"),
    ("k: [20, 40]", "k: [0]", ":8: regularizers.1.k.0: input should be greater than 0, found 0"),
    ("k: [20, 40]", "k: 101", ":8: regularizers.1.k.0: input should be less than or equal to 100, found 101"),
    (", k: [20, 40]", "", ":8: regularizers.1: regularizer 'rect' needs k"),
    ("names: [nli]", "names: [nlii]", ":9: tasks.names: unknown task 'nlii'; did you mean 'nli'?"),
    ("models: [smollm2-135m]\n", "", ": models: this key is missing"),
    ("seed: 0", "seed: 0\nseeds: [1]", "give seed or seeds, not both"),
    ("seed: 0", "seed: 0\nseed: 1", ":11: the key 'seed' is given twice"),
    ("models: [", "models: [[", ":3: not valid YAML"),
    (MINIMAL, "- a list", ": a mapping of keys to values is wanted, found list"),
    ("edits: 6", "edits: 6, models: [smol]", "settings.0.models: 'smol' is not among the sweep's models; did you mean"),
    ("edits: 6", "edits: 6, methods: [kn]", "settings.0.methods: 'kn' is not among the sweep's methods; there are r"),
    ("edits: 6", "edits: 6, regularizers: [pca]", "settings.0.regularizers: 'pca' is not among the sweep's"),
    ("methods: [rome]", "methods: [rome, rome]", ": two methods are called 'rome': give each its own label"),
    (
        "methods: [rome]",
        "methods: [{name: rome, hparams: no.yaml}]",
        ":3: methods.0: no.yaml: there is no such file",
    ),
]


@pytest.mark.parametrize(("right", "wrong", "said"), MISTAKES)
def test_a_mistake_is_one_line_with_file_line_and_key(file: Path, right: str, wrong: str, said: str) -> None:
    assert right in MINIMAL
    file.write_text(MINIMAL.replace(right, wrong))
    with pytest.raises(InputError) as error:
        config.load(file)
    assert said in str(error.value)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tasks.exampels=4", "--set: tasks.exampels: unknown key 'exampels'; did you mean 'examples'?"),
        ("engine.dtype=float33", "--set: engine.dtype: input should be 'float32', 'bfloat16' or 'float16'"),
        ("tasks", "--set tasks: key=value is wanted"),
        ("settings.4.edits=1", "'4' is no index of a list of 1"),
        ("name.x=1", "'name' is a single value and has no key 'x'"),
        ("tasks.examples=[", "the value is not valid YAML"),
    ],
)
def test_a_wrong_override_says_so(file: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match="--set") as error:
        config.load(file, [text])
    assert said in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: there is no such file"):
        config.load(tmp_path / "none.yaml")


def test_validating_does_not_load_torch(file: Path) -> None:
    code = f"import sys; from sweeps.config import config; config.load({str(file)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0
