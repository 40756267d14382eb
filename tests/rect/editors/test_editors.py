"""The registry of methods, their hyperparameters, and identities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from modelfolder.errors import InputError
from rect import editors
from rect.covariance import Covariance
from rect.editors import hyperparameters
from rect.editors.memit import MemitHparams
from rect.editors.rome import RomeHparams
from rect.model import EditableModel
from rect.prefixes import Prefixes
from tests.tiny import tiny_model

PREFIXES = ["{}", "Yes. {}"]
FILES = sorted(p for m in ("rome", "memit") for p in (hyperparameters.FOLDER / m).glob("*.yaml"))
CLASSES = {"rome": RomeHparams, "memit": MemitHparams}
# As EasyEdit writes them: strings for numbers (YAML 1.1 takes 5e-1 for one), and keys about where and how to run.
EASYEDIT = """
alg_name: "ROME"
model_name: "./hugging_cache/llama-2-7b"
stats_dir: "./data/stats"
device: 1
layers: [5]
fact_token: "subject_last"
v_num_grad_steps: 20
v_lr: 5e-1
v_loss_layer: 31
v_weight_decay: 1e-3
clamp_norm_factor: 4
kl_factor: 0.0625
mom2_adjustment: false
context_template_length_params: [[5, 10], [10, 10]]
rewrite_module_tmp: "model.layers.{}.mlp.down_proj"
layer_module_tmp: "model.layers.{}"
mlp_module_tmp: "model.layers.{}.mlp"
attn_module_tmp: "model.layers.{}.self_attn"
ln_f_module: "model.norm"
lm_head_module: "lm_head"
mom2_dataset: "wikipedia"
mom2_n_samples: 100000
mom2_dtype: "float32"
"""


@pytest.fixture(scope="module")
def model() -> EditableModel:
    return EditableModel(*tiny_model("llama", num_hidden_layers=6), name="a-model-nobody-knows")


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_every_file_of_ours_is_right_and_says_where_it_is_from(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    assert content["source"]
    assert content["tested"] in (True, False)
    assert content["models"]
    method = file.parent.name
    for name in (*content["models"], f"/some/folder/{Path(content['models'][0]).name}"):
        assert hyperparameters.known(method, name) == file
    CLASSES[method].read(file)


def test_values_of_the_release() -> None:
    rome = CLASSES["rome"].read(hyperparameters.known("rome", "openai-community/gpt2-xl"))
    values = (rome.layers, rome.v_num_grad_steps, rome.v_lr, rome.v_weight_decay, rome.clamp_norm_factor)
    assert values == ((17,), 20, 0.5, 0.5, 4)
    memit = CLASSES["memit"].read(hyperparameters.known("memit", "meta-llama/Llama-2-7b-hf"))
    assert (memit.layers, memit.mom2_update_weight, memit.v_num_grad_steps) == ((4, 5, 6, 7, 8), 15000, 25)
    xl = CLASSES["memit"].read(hyperparameters.known("memit", "gpt2-xl"))
    assert (xl.layers, xl.mom2_update_weight, xl.clamp_norm_factor) == ((13, 14, 15, 16, 17), 20000, 0.75)


def test_a_file_of_easyedit_loads_as_it_is(model: EditableModel, tmp_path: Path) -> None:
    path = tmp_path / "llama-7b.yaml"
    path.write_text(EASYEDIT)
    hparams = editors.create("rome", model, path, PREFIXES).hparams
    assert isinstance(hparams, RomeHparams)
    assert (hparams.layers, hparams.v_lr, hparams.v_weight_decay, hparams.v_loss_layer) == ((5,), 0.5, 1e-3, 31)
    assert hparams.v_num_grad_steps == 20


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('alg_name: "ROME"', 'alg_name: "MEMIT"', "alg_name: these are hyperparameters of MEMIT, not of rome"),
        (
            "mlp.down_proj",
            "mlp.c_proj",
            "is not in a-model-nobody-knows; right would be 'model.layers.{}.mlp.down_proj'",
        ),
        ("v_lr:", "v_rl:", "unknown key 'v_rl'; did you mean 'v_lr'?"),
        ("v_lr: 5e-1", "v_lr: fast", "v_lr: Input should be a valid number.*not 'fast'"),
        ("layers: [5]", "layers: [5, 6]", "layers: .*not"),
        ('"subject_last"', '"last"', "fact_token: Input should be 'subject_last', not 'last'"),
        ("device: 1", "device: [1", "not valid YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(
    model: EditableModel, tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(EASYEDIT.replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        editors.create("rome", model, path, PREFIXES)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_methods_and_keys_name_the_nearest(model: EditableModel) -> None:
    with pytest.raises(InputError, match="editing method 'roam' is not known; did you mean 'rome'"):
        editors.create("roam", model)
    with pytest.raises(InputError, match="rome hyperparameters: unknown key 'layer'; did you mean 'layers'"):
        editors.create("rome", model, {"layer": [1]}, PREFIXES)
    with pytest.raises(InputError, match="layer 7 is not there: a-model-nobody-knows has layers 0 to 5"):
        editors.create("rome", model, {"layers": [7]}, PREFIXES)
    with pytest.raises(InputError, match="there is no such file"):
        editors.create("rome", model, "nowhere.yaml", PREFIXES)


def test_defaults_by_depth_are_announced(model: EditableModel, caplog: pytest.LogCaptureFixture) -> None:
    without = {"mom2_adjustment": False}
    assert editors.create("rome", model, without, PREFIXES).hparams.layers == (1,)
    assert "no rome hyperparameters are known for a-model-nobody-knows" in caplog.text
    assert "layers [1]" in caplog.text
    caplog.clear()
    assert editors.create("rome", model, {"layers": [3], **without}, PREFIXES).hparams.layers == (3,)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("n_layers", "rome", "memit"), [(32, 5, [4, 5, 6, 7, 8]), (28, 5, [4, 5, 6, 7, 8]), (2, 0, [0])]
)
def test_defaults_by_depth_follow_the_known_models(n_layers: int, rome: int, memit: list[int]) -> None:
    assert RomeHparams.by_depth(n_layers) == {"layers": [rome]}
    assert MemitHparams.by_depth(n_layers) == {"layers": memit}
    for n in range(1, 100):
        for cls in (RomeHparams, MemitHparams):
            layers = cls.by_depth(n)["layers"]
            assert layers
            assert 0 <= layers[0] <= layers[-1] < n


def test_a_loss_layer_beyond_the_model_is_its_last(model: EditableModel, caplog: pytest.LogCaptureFixture) -> None:
    editor = editors.create("rome", model, {"layers": [1], "v_loss_layer": 31, "mom2_adjustment": False}, PREFIXES)
    assert editor.loss_layer(model) == 5  # type: ignore[attr-defined]
    assert "v_loss_layer 31" in caplog.text
    hparams = {"layers": [1], "v_loss_layer": 0, "mom2_adjustment": False}
    with pytest.raises(InputError, match="v_loss_layer 0 lies before"):
        editors.create("rome", model, hparams, PREFIXES).loss_layer(model)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "hparams"),
    [("smollm2-135m", None), ("smollm2-135m", {"v_lr": 0.1}), ("unknown", {"mom2_adjustment": False})],
)
@pytest.mark.parametrize("prefixes", [None, PREFIXES], ids=["drawn", "given"])
def test_the_identity_is_known_without_a_model(
    name: str, hparams: dict[str, float] | None, prefixes: list[str] | None
) -> None:
    model = EditableModel(*tiny_model("llama", num_hidden_layers=6), name=name)
    given = None if prefixes is None else Prefixes(prefixes).identity
    identity = editors.create("rome", model, hparams, prefixes).identity()
    assert identity == editors.declared("rome", name, hparams, given)
    assert json.loads(json.dumps(identity)) == identity


def test_the_identity_tells_apart_what_differs() -> None:
    kinds = [
        editors.declared("rome", "smollm2-135m"),
        editors.declared("rome", "smollm2-135m", {"v_lr": 0.1}),
        editors.declared("rome", "smollm2-135m", None, {"digest": "x"}),
        editors.declared("rome", "gpt2-xl"),
        editors.declared("memit", "smollm2-135m", None, None, {"corpus": "a"}),
        editors.declared("memit", "smollm2-135m", None, None, {"corpus": "b"}),
    ]
    assert len({json.dumps(kind, sort_keys=True) for kind in kinds}) == len(kinds)
    # what is not used is not part of it
    assert editors.declared("rome", "gpt2-xl", None, None, {"corpus": "a"}) == editors.declared("rome", "gpt2-xl")


def test_rome_uses_the_covariance_if_asked(model: EditableModel) -> None:
    import torch

    from rect.facts import Fact

    fact = Fact(subject="France", prompt="The capital of {} is", target="Rome")
    scales = torch.linspace(0.5, 2, 160, dtype=torch.float64)
    covariance = Covariance({1: torch.diag(scales)}, 1000, {"made": "up"})
    hparams = {"layers": [1], "v_num_grad_steps": 2}
    without = editors.create("rome", model, {**hparams, "mom2_adjustment": False}, PREFIXES, covariance)
    plain = without.compute(model, [fact])
    weighed = editors.create("rome", model, {**hparams, "mom2_adjustment": True}, PREFIXES, covariance)
    (name,) = plain
    u = plain[name].right[0]  # type: ignore[union-attr]
    expected = u / scales.float()
    found = weighed.compute(model, [fact])[name].right[0]  # type: ignore[union-attr]
    assert torch.allclose(found, expected / expected.norm(), atol=1e-5)
    assert weighed.identity()["covariance"] == {"made": "up"}
    with pytest.raises(
        InputError, match=r"rome: mom2_adjustment needs the covariance of keys at layers \[1\], here over"
    ):
        editors.create("rome", model, {**hparams, "mom2_adjustment": True, "mom2_dataset": "wikipedia"}, PREFIXES)
