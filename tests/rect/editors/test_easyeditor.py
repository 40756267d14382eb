"""What of EasyEdit's methods needs no environment of EasyEdit: names, files, refusals, identities, differences."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from modelfolder.errors import InputError
from rect import editors
from rect.editors.easyeditor import environment
from rect.editors.easyeditor import hparams as hparams_of
from rect.editors.easyeditor.checkout_hparams import UltraEdit
from rect.editors.easyeditor.difference import difference
from rect.editors.easyeditor.editor import check_spaces
from rect.facts import Fact
from rect.model import EditableModel
from rect.update import Dense, LowRank
from tests.tiny import save_tiny

TABLE = "ALG_DICT = {'ROME': apply_rome_to_model, 'IKE': apply_ike_to_model}\n\nDS_DICT = {'cf': 1}\n"

# EasyEdit's own file, hparams/ROME/gpt2-xl.yaml.
GPT2_XL = """
alg_name: "ROME"
model_name: "./hugging_cache/gpt2-xl"
stats_dir: "./data/stats"
device: 0
layers: [17]
fact_token: "subject_last"
v_num_grad_steps: 20
v_lr: 5e-1
v_loss_layer: 47
v_weight_decay: 0.5
clamp_norm_factor: 4
kl_factor: 0.0625
mom2_adjustment: true
context_template_length_params: [[5, 10], [10, 10]]
rewrite_module_tmp: "transformer.h.{}.mlp.c_proj"
layer_module_tmp: "transformer.h.{}"
mlp_module_tmp: "transformer.h.{}.mlp"
attn_module_tmp: "transformer.h.{}.attn"
ln_f_module: "transformer.ln_f"
lm_head_module: "transformer.wte"
mom2_dataset: "wikipedia"
mom2_n_samples: 100000
mom2_dtype: "float32"
"""


def pretend(folder: Path) -> Path:
    """The files by which an environment is found."""
    package = folder / "lib" / "python3.11" / "site-packages" / "easyeditor"
    (package / "util").mkdir(parents=True)
    (package / "util" / "alg_dict.py").write_text(TABLE)
    return package


@pytest.fixture
def llama(tmp_path: Path) -> EditableModel:
    return EditableModel.load(str(save_tiny("llama", tmp_path / "llama")), device="cpu")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("easyeditor:IKE", "does not change weights (it writes facts into the prompt)"),
        ("wise", "wise does not change weights (it routes inputs to a side memory): there is no update to regularize"),
        ("SCR", "SCR does not change weights (it writes facts that it looked up into the prompt)"),
        ("grace", "grace does not change weights"),
        ("memoir", "memoir does not change weights"),
        ("easyeditor:serac", "easyeditor:SERAC does not change weights"),
        ("easyeditor:rome", "did you mean 'easyeditor:ROME'?"),
        ("easyeditor:alphaedit", "did you mean 'easyeditor:AlphaEdit'?"),
        (
            "easyeditor:simie",
            "easyeditor:SimIE is not here: it merges another method's edits, which is the regularizer",
        ),
        ("easyeditor:FOO", "of EasyEdit there are easyeditor:AlphaEdit, easyeditor:CORE"),
    ],
)
def test_what_is_no_method_is_refused_with_the_reason(name: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        editors.get(name)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_environment_is_one_line_that_says_what_to_do(
    llama: EditableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EASYEDITOR_VENV", str(tmp_path / "nowhere"))
    for act in (
        lambda: editors.check("easyeditor:ROME", "smollm2-135m"),
        lambda: editors.create("easyeditor:FT", llama),
    ):
        with pytest.raises(InputError, match=r"run `make easyeditor`$"):
            act()


def test_the_methods_of_a_library_are_read_from_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pretend(tmp_path / "venv")
    monkeypatch.setenv("EASYEDITOR_VENV", str(tmp_path / "venv"))
    found = environment.find()
    assert found.package == package
    assert found.methods() == ("IKE", "ROME")
    assert found.version == environment.VERSION
    editors.check("easyeditor:ROME", "any")
    with pytest.raises(InputError, match=r"easyeditor:FT is not in the EasyEdit of .*: IKE, ROME"):
        editors.check("easyeditor:FT", "any")


def test_a_checkout_takes_the_place_of_the_library_and_is_another_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path / "venv")
    monkeypatch.setenv("EASYEDITOR_VENV", str(tmp_path / "venv"))
    installed = editors.declared("easyeditor:ROME", "smollm2-135m")
    monkeypatch.setenv("EASYEDITOR_PATH", str(tmp_path))
    with pytest.raises(InputError, match="no checkout of EasyEdit"):
        environment.find()
    checkout = tmp_path / "EasyEdit"
    (checkout / "easyeditor" / "util").mkdir(parents=True)
    (checkout / "easyeditor" / "util" / "alg_dict.py").write_text("ALG_DICT = {'FT': 1}")
    monkeypatch.setenv("EASYEDITOR_PATH", str(checkout))
    assert environment.find().methods() == ("FT",)
    other = editors.declared("easyeditor:ROME", "smollm2-135m")
    assert other["easyeditor"].startswith("source ")
    assert {**other, "easyeditor": installed["easyeditor"]} == installed
    (checkout / "easyeditor" / "models.py").write_text("changed = True")
    assert editors.declared("easyeditor:ROME", "smollm2-135m") != other


def test_a_checkout_needs_no_installed_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment holds what it imports, not EasyEdit; one of its own name goes before the installed library's."""
    checkout = tmp_path / "EasyEdit"
    (checkout / "easyeditor" / "util").mkdir(parents=True)
    (checkout / "easyeditor" / "util" / "alg_dict.py").write_text("ALG_DICT = {'AlphaEdit': 1}")
    (tmp_path / "venv").mkdir()
    monkeypatch.setenv("EASYEDITOR_VENV", str(tmp_path / "venv"))
    with pytest.raises(InputError, match="run `make easyeditor`"):
        environment.find()
    monkeypatch.setenv("EASYEDITOR_PATH", str(checkout))
    assert environment.find().package == checkout / "easyeditor"
    editors.check("easyeditor:AlphaEdit", "any")
    with pytest.raises(
        InputError, match=r"^easyeditor:ROME is not in the EasyEdit of .*/EasyEdit/easyeditor: AlphaEdit$"
    ):
        editors.check("easyeditor:ROME", "any")
    monkeypatch.delenv("EASYEDITOR_VENV")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setattr(environment, "FOLDER", "of-the-release")  # none of this project's own
    monkeypatch.setattr(environment, "SOURCE_FOLDER", "of-the-checkout")
    for name in ("of-the-release", "of-the-checkout"):
        (tmp_path / name).mkdir()
        assert environment.find().python == tmp_path / name / "bin" / "python"


@pytest.mark.parametrize(
    ("method", "file", "said"),
    [
        (
            "AlphaEdit",
            {"nullspace_threshold": "2e-2", "L2": 1, "P_loc": "./P.pt"},
            {"nullspace_threshold": 0.02, "L2": 1.0},
        ),
        ("SPHERE", {"nullspace_threshold": 0.02, "suppression_strength": 0.8}, {"cumulative_ratio": 0.5}),
        ("EAMET", {"mom2_update_weight": [1.0, 2.0]}, {"mom2_update_weight": (1.0, 2.0), "tau": 0.07}),
        ("PMET", {"attn_module_tmp": "a.{}.o", "rewrite_module_tmps": ["b"]}, {"attn_module_tmp": "a.{}.o"}),
    ],
)
def test_files_of_newer_methods_load(tmp_path: Path, method: str, file: dict[str, Any], said: dict[str, Any]) -> None:
    whole = {**yaml.safe_load(GPT2_XL), "alg_name": method, "layers": [3, 4], "layer_selection": "all", **file}
    (tmp_path / "file.yaml").write_text(yaml.safe_dump(whole))
    read = editors.get(f"easyeditor:{method}").hparams_class.read(tmp_path / "file.yaml")
    assert {key: getattr(read, key) for key in said} == said
    for own in ("P_loc", "rewrite_module_tmps", "device"):
        assert not hasattr(read, own)


def test_ultraedit_edits_every_fact_or_none(llama: EditableModel) -> None:
    hparams = UltraEdit(batch_size_once=2)
    assert hparams.modules(llama) == ["model.layers.2.mlp.up_proj"]
    hparams.check_number(4)
    with pytest.raises(InputError, match="of 3 facts EasyEdit would leave out 1: give a divisor of their number"):
        hparams.check_number(3)
    with pytest.raises(InputError, match=r"inner_params: 'model.layers.9.mlp.up_proj' is not in .*llama: they"):
        UltraEdit(inner_params=("model.layers.9.mlp.up_proj",)).check(llama)


def test_its_own_file_loads(tmp_path: Path) -> None:
    (tmp_path / "gpt2-xl.yaml").write_text(GPT2_XL)
    read = hparams_of.Rome.read(tmp_path / "gpt2-xl.yaml")
    assert (read.layers, read.v_lr, read.v_loss_layer, read.mom2_adjustment) == ((17,), 0.5, 47, True)
    told = editors.declared("easyeditor:ROME", "gpt2", str(tmp_path / "gpt2-xl.yaml"), covariance={"from": "text"})
    assert told["covariance"] == {"from": "text"}
    assert told["prefixes"]["lengths"] == [[5, 10], [10, 10]]
    with pytest.raises(InputError, match="these are hyperparameters of ROME, not of FT"):
        hparams_of.Ft.read(tmp_path / "gpt2-xl.yaml")


@pytest.mark.parametrize(
    ("method", "values", "said"),
    [
        ("ROME", {"layers": [1], "rewrite_module_tmp": "transformer.h.{}.mlp.c_proj"}, "they are for another model"),
        ("FT", {"layers": [21]}, "layer 21 is not there"),
        ("LoRA", {"target_modules": ["c_attn"]}, "right would be 'down_proj, gate_proj"),
        ("MEND", {"inner_params": ["transformer.h.47.mlp.c_fc.weight"]}, "they are for another model"),
    ],
)
def test_hyperparameters_for_another_model_are_one_line(
    llama: EditableModel, method: str, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as error:
        editors.create(f"easyeditor:{method}", llama, values)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_seed_and_every_value_are_part_of_the_identity() -> None:
    told = [editors.declared("easyeditor:LoRA", "x", values) for values in ({}, {"seed": 1}, {"rank": 4}, {"new": 1})]
    assert len({str(one) for one in told}) == 4


@pytest.mark.parametrize("rank", [1, 5])
def test_a_difference_of_small_rank_comes_back_in_thin_factors(rank: int) -> None:
    generator = torch.Generator().manual_seed(rank)
    before = torch.randn(60, 90, generator=generator)
    left, right = torch.randn(60, rank, generator=generator), torch.randn(rank, 90, generator=generator)
    right[:, 7:80] = 0  # as KN leaves most columns alone
    found = difference(before, before + 0.1 * left @ right)
    assert isinstance(found, LowRank)
    assert found.rank == rank
    assert (found.dense() != 0).any(0).sum() == 17
    assert (found.dense() - 0.1 * left @ right).norm() < 1e-5 * (left @ right).norm()


def test_a_difference_without_a_small_rank_stays_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    before, delta = torch.randn(2, 40, 50, generator=generator)
    found = difference(before, before + 1e-4 * delta)
    assert isinstance(found, Dense)
    torch.testing.assert_close(found.matrix, 1e-4 * delta, atol=1e-6, rtol=0)
    bias = difference(before[0], before[0] + delta[0])
    assert bias.shape == (50,)


def test_a_target_without_a_space_before_it_is_refused() -> None:
    plain = Fact(subject="France", prompt="The capital of {} is", target="Rome")
    check_spaces([plain, plain.model_copy(update={"space": True})])
    for fact in (plain.model_copy(update={"space": False}), Fact(subject="法国", prompt="{}的首都是", target="罗马")):
        with pytest.raises(InputError, match=r"no space stands before the target .*, and EasyEdit would put one there"):
            check_spaces([plain, fact])
