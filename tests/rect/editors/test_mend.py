"""The MEND editor: what it computes, which models it takes, and what it says when something is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from modelfolder.errors import InputError
from rect.editors import check, create, declared
from rect.editors.base import Editor
from rect.editors.mend import files
from rect.editors.mend.editor import CONFIGURED, Mend, MendHparams
from rect.editors.mend.settings import MendSettings
from rect.editors.mend.training import Trainer
from rect.facts import Fact
from rect.model import EditableModel
from rect.update import Dense, LowRank, Update
from tests.rect.editors.mend_facts import facts
from tests.tiny import tiny_model

FAMILIES = ("llama", "gpt2", "gpt_neox", "qwen3")


def tiny(family: str = "llama", seed: int = 0, **overrides: Any) -> EditableModel:
    return EditableModel(*tiny_model(family, seed=seed, **overrides), name=f"tiny-{family}")


def trained(folder: Path, family: str = "llama", **values: Any) -> Trainer:
    given = {"rank": 8, "blocks": 2, "accumulate": 2, "iterations": 4, "validate_every": 2, "save_every": 2}
    rates = {"lr": 1e-3, "lr_lr": 1e-3, "edit_lr": 1e-2}
    settings = MendSettings.model_validate(
        {**given, **rates, "validation": 4, "held_out": 4, "normalize_over": 8, **values}
    )
    trainer = Trainer(tiny(family), facts(), settings, folder)
    list(trainer.train())
    return trainer


def editor(model: EditableModel, folder: Path, **values: Any) -> Editor:
    return Mend.build(model, MendHparams(checkpoint=str(folder), **values), None, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("mend")
    trained(where)
    return where


@pytest.mark.parametrize("family", FAMILIES)
def test_an_update_is_what_training_saw(family: str, tmp_path: Path) -> None:
    trainer = trained(tmp_path, family)
    trainer.take_best()
    model, fact = tiny(family), trainer.split.held_out[0]
    before = {name: p.clone() for name, p in model.hf.named_parameters()}
    update = editor(model, tmp_path).compute(model, [fact])
    assert all(torch.equal(p, before[name]) for name, p in model.hf.named_parameters())
    assert not any(p.requires_grad for p in model.hf.parameters())

    example = trainer.examples([fact]).example([fact], 0)
    with torch.no_grad():
        outcome = trainer.editing.step(example)
        with model.edited(update):
            logits = model.hf(example.edit.ids, use_cache=False).logits[example.edit.targets != -100]
    targets = example.edit.targets[example.edit.targets != -100]
    assert set(update) == set(trainer.network.matrices)
    assert float((logits.argmax(-1) == targets).float().mean()) == outcome.reliability
    before_logits = model.hf(example.edit.ids, use_cache=False).logits[example.edit.targets != -100]
    assert float((logits - before_logits).abs().max()) > 0.1


def test_several_facts_are_the_sum_of_each(folder: Path) -> None:
    model = tiny()
    mend = editor(model, folder)
    chosen = facts()[:3]
    together = mend.compute(model, chosen)
    alone = [mend.compute(model, [fact]) for fact in chosen]
    for name in together:
        total = sum(one.dense(name) for one in alone)
        assert torch.allclose(together.dense(name), total, rtol=1e-3, atol=1e-5)


def test_the_rank_is_the_number_of_tokens_while_that_is_smaller(folder: Path) -> None:
    model = tiny()
    mend = editor(model, folder)
    one, many = mend.compute(model, facts()[:1]), mend.compute(model, facts()[:20])
    tokens = len(model.tokenizer(f"{facts()[0].filled} {facts()[0].target}")["input_ids"]) - 1
    first = model.mlp_in_names(model.n_layers - 2)[0]
    assert isinstance(one[first], LowRank)
    assert one[first].rank == tokens
    assert isinstance(many[first], Dense)
    assert many[first].shape == tuple(model.weight(first).shape)


def test_the_matrices_are_the_mlps_of_the_last_blocks(folder: Path) -> None:
    names = list(editor(tiny(), folder).compute(tiny(), facts()[:1]))
    assert names == [f"model.layers.{i}.mlp.{part}_proj.weight" for i in (1, 2) for part in ("gate", "up", "down")]


def test_lr_scale_scales(folder: Path) -> None:
    model = tiny()
    one, half = (editor(model, folder, lr_scale=s).compute(model, facts()[:1]) for s in (1.0, 0.5))
    for name in one:
        assert torch.allclose(half.dense(name), 0.5 * one.dense(name), atol=1e-7)


def test_it_edits_the_model_as_it_stands(folder: Path) -> None:
    model = tiny()
    mend = editor(model, folder)
    first = mend.compute(model, facts()[:1])
    with model.edited(first):
        second = mend.compute(model, facts()[:1])
        assert mend.build(model, mend.hparams, None, None)  # an edited model is still the model
    assert any(not torch.allclose(first.dense(n), second.dense(n)) for n in first)
    again = mend.compute(model, facts()[:1])
    assert all(torch.equal(first.dense(n), again.dense(n)) for n in first)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"family": "gpt2"}, "which has no model.layers"),
        ({"intermediate_size": 96}, "has another shape"),
        ({"seed": 1}, "has other values"),
    ],
)
def test_another_model_is_refused(folder: Path, other: dict[str, Any], reason: str) -> None:
    model = tiny(**other)
    model.name = "stranger"
    with pytest.raises(InputError, match=rf"trained for tiny-llama, not for stranger.*{reason}"):
        editor(model, folder)


def test_a_little_fine_tuning_makes_another_model_and_another_dtype_does_not(folder: Path) -> None:
    low = tiny()
    low.hf.to(torch.bfloat16)
    assert editor(low, folder)
    tuned = tiny()
    for name in tuned.names():
        tuned.weight(name).mul_(1.005)
    with pytest.raises(InputError, match="other values"):
        editor(tuned, folder)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("smollm2-135m", "configs/mend/smollm2-135m.yaml"),
        ("openai-community/gpt2-xl", "configs/mend/gpt2-xl.yaml"),
        ("huggyllama/llama-7b", "configs/mend/llama-7b.yaml --set model=huggyllama/llama-7b"),
        ("some/model", "configs/mend/llama-7b.yaml --set model=some/model"),
        ("./my-gpt2", "configs/mend/llama-7b.yaml --set model=./my-gpt2"),
    ],
)
def test_without_a_checkpoint_the_error_says_how_to_train_one(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tiny()
    model.name = name
    with pytest.raises(InputError, match=rf"trained for {name}.*run `sweeps train-mend {command}`") as caught:
        create("mend", model)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=f"run `sweeps train-mend {command}`"):
        check("mend", name)
    with pytest.raises(InputError, match="'elsewhere/too/far' is not there"):
        check("mend", name, {"checkpoint": "elsewhere/too/far"})
    commit = "0123456789" * 4
    check("mend", name, {"checkpoint": "org/on-the-hub", "revision": commit})  # nothing is asked of the hub
    with pytest.raises(InputError, match=r"name the commit that is meant as revision .*, not 'main'"):
        check("mend", name, {"checkpoint": "org/on-the-hub", "revision": "main"})


def test_what_training_left_in_its_usual_place_is_found(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "results" / "mend" / "tiny-llama"
    model = tiny()
    before = declared("mend", model.name)
    place.parent.mkdir(parents=True)
    place.symlink_to(folder)
    assert create("mend", model).compute(model, facts()[:1])
    found = declared("mend", model.name)
    assert before["trained"] is None
    assert found["trained"] == files.read_header(folder / files.FILE)["digest"]
    assert found == declared("mend", model.name, {"checkpoint": str(folder)})  # where it lies does not matter
    assert found != declared("mend", model.name, {"checkpoint": str(folder), "lr_scale": 0.5})


def test_the_commands_configurations_are_there() -> None:
    configs = Path(__file__).parents[3] / "configs" / "mend"
    assert {f"{name}.yaml" for name in CONFIGURED.values()} == {path.name for path in configs.iterdir()}
    for model, name in CONFIGURED.items():
        assert f"\nmodel: {model}\n" in (configs / f"{name}.yaml").read_text()


def test_files_that_are_no_checkpoint_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        files.find(str(tmp_path / "nowhere.safetensors"))
    text = tmp_path / "mend.safetensors"
    text.write_text("hello")
    with pytest.raises(InputError, match="not a MEND checkpoint"):
        editor(tiny(), text)
    Update({"a": Dense(torch.ones(2, 2))}).save(text)
    with pytest.raises(InputError, match="does not say format"):
        editor(tiny(), text)


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mend.safetensors does not exist"):
        files.find(str(tmp_path))


def test_the_identity_knows_a_training_from_another(folder: Path, tmp_path: Path) -> None:
    one = editor(tiny(), folder).identity()
    assert one["name"] == "mend"
    assert one["trained"] == files.read_header(folder / files.FILE)["digest"]
    trained(tmp_path, lr=2e-3)
    assert editor(tiny(), tmp_path).identity()["trained"] != one["trained"]
    assert Mend.describe({"checkpoint": "org/on-the-hub"})["trained"] is None
    assert Mend.describe({"checkpoint": None})["trained"] is None


def test_facts_of_the_training_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = tiny()
    mend = editor(model, folder)
    assert isinstance(mend, Mend)
    seen = mend.trained.seen(facts())
    unseen = [fact for fact in facts() if fact not in seen]
    assert len(unseen) == 8
    update = mend.compute(model, [unseen[0]])
    assert (caplog.text, update.provenance["seen_in_training"]) == ("", 0)
    update = mend.compute(model, [seen[0], unseen[0]])
    assert "1 of 2 facts were trained on" in caplog.text
    assert update.provenance["seen_in_training"] == 1


def test_easyedits_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "llama-7b.yaml"
    path.write_text(
        "archive: ./results/models/MEND/llama-2-7b\nalg_name: MEND\ndevice: 1\nmodel_name: ./llama-2-7b\n"
        "model_class: LlamaForCausalLM\ninner_params:\n- model.layers.29.mlp.gate_proj.weight\n"
        "alg: MEND\nlr: 1e-6\nedit_lr: 1e-4\nlr_scale: 1.0\nrank: 1920\nval_steps: 500\nbatch_size: 1\n"
    )
    assert MendHparams.read(path) == MendHparams(checkpoint="./results/models/MEND/llama-2-7b")
    with pytest.raises(InputError, match=r"checkpont.*checkpoint"):
        MendHparams.parse({"checkpont": "x"}, "here")


def test_strange_facts_are_edited_too(folder: Path) -> None:
    model = tiny()
    mend = editor(model, folder)
    for fact in (
        Fact(subject="Бай­кал", prompt="{} lies in {braces} of", target="Асия"),
        Fact(subject="x", prompt="{}", target="y"),
        Fact(subject="Spain", prompt="In {}, {} is", target="one two three four five six"),
    ):
        with model.edited(mend.compute(model, [fact])):
            pass
