"""Training MEND: it learns, it resumes, and it says no to what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from modelfolder import whole_files
from modelfolder.errors import InputError
from rect.editors.mend import files, saved
from rect.editors.mend.data import Examples, Split
from rect.editors.mend.settings import MendSettings
from rect.editors.mend.training import RESUME, Share, Trainer
from rect.editors.mend.upper import Upper
from rect.model import EditableModel
from rect.order import permutation
from rect.update import Dense, Update
from tests.rect.editors.mend_facts import facts
from tests.tiny import tiny_model

SMALL: dict[str, Any] = {
    "rank": 8,
    "blocks": 2,
    "lr": 1e-3,
    "lr_lr": 1e-3,
    "edit_lr": 1e-3,
    "accumulate": 2,
    "iterations": 12,
    "validate_every": 4,
    "validation": 4,
    "held_out": 4,
    "save_every": 4,
    "normalize_over": 8,
}


def settings(**values: Any) -> MendSettings:
    return MendSettings.model_validate({**SMALL, **values})


def tiny(family: str = "llama", seed: int = 0) -> EditableModel:
    return EditableModel(*tiny_model(family, seed=seed), name=f"tiny-{family}-{seed}")


def run(trainer: Trainer, until: int | None = None) -> list[dict[str, float]]:
    return list(trainer.train(until))


@pytest.mark.parametrize(("family", "asked", "rephrased"), [("llama", 0.3, 0.15), ("gpt2", 0.15, 0.0)])
def test_training_raises_the_success_on_facts_it_never_saw(family: str, asked: float, rephrased: float) -> None:
    """Stated margins: of the target tokens on edit prompts and on rephrasings the given ones, 0.15 of locality lost."""
    model = tiny(family)
    before = {name: p.clone() for name, p in model.hf.named_parameters()}
    long = settings(
        blocks=3, rank=32, accumulate=5, iterations=250, validate_every=50, save_every=250, held_out=12, cloc=2.0
    )
    trainer = Trainer(model, facts(), long)
    start = trainer.evaluate(trainer.split.held_out)
    run(trainer)
    trainer.take_best()
    end = trainer.evaluate(trainer.split.held_out)
    assert end["reliability"] >= start["reliability"] + asked
    assert end["generalization"] >= start["generalization"] + rephrased
    assert end["locality"] >= start["locality"] - 0.15
    assert end["loss"] < start["loss"]
    assert all(torch.equal(p, before[name]) for name, p in model.hf.named_parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())


@pytest.mark.parametrize("stop", [4, 8])
def test_killed_and_resumed_is_as_uninterrupted(tmp_path: Path, stop: int) -> None:
    whole = Trainer(tiny(), facts(), settings(), tmp_path / "whole")
    steps = run(whole)

    killed = Trainer(tiny(), facts(), settings(), tmp_path / "killed")
    first = run(killed, until=stop + 2)  # the last step is lost: it comes after the last save
    resumed = Trainer(tiny(), facts(), settings(), tmp_path / "killed")
    assert resumed.edits == stop
    rest = run(resumed)
    assert first[: stop // 2] + rest == steps
    assert resumed.losses == whole.losses
    assert resumed.best == whole.best
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor), name
    ours, theirs = (saved.load(tmp_path / d / files.FILE) for d in ("killed", "whole"))
    assert ours.header == theirs.header


def test_what_is_remembered_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = Upper.read
    monkeypatch.setattr(Upper, "read", lambda self, ids: reads.append(1) or read(self, ids))
    losses, counts = [], []
    for mib in (0, 512):
        reads.clear()
        trainer = Trainer(tiny(), facts()[:14], settings(remember_mib=mib, iterations=40, validate_every=40))
        run(trainer)
        losses.append(trainer.losses)
        counts.append(len(reads))
    assert losses[0] == losses[1]
    assert counts[1] <= counts[0] - 30  # six facts, 40 edits


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    run(Trainer(tiny(), facts(), settings(), tmp_path))
    again = Trainer(tiny(), facts(), settings(), tmp_path)
    assert again.edits == 12
    assert run(again) == []
    longer = Trainer(tiny(), facts(), settings(iterations=14), tmp_path)
    assert [step["edits"] for step in run(longer)] == [14]


def test_a_write_that_fails_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(tiny(), facts(), settings(), tmp_path)
    run(trainer, until=4)
    content = (tmp_path / RESUME).read_bytes()

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(whole_files.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        run(trainer)
    assert (tmp_path / RESUME).read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} <= {RESUME, files.FILE}


@pytest.mark.parametrize(
    ("values", "reason"), [({"rank": 4}, "rank"), ({"lr": 0.1}, "lr"), ({"seed": 1}, "seed"), ({"cloc": 3}, "cloc")]
)
def test_another_training_is_not_resumed(tmp_path: Path, values: dict[str, Any], reason: str) -> None:
    run(Trainer(tiny(), facts(), settings(), tmp_path), until=4)
    with pytest.raises(InputError, match=f"another {reason}"):
        Trainer(tiny(), facts(), settings(**values), tmp_path)


def test_other_facts_and_another_model_are_not_resumed(tmp_path: Path) -> None:
    run(Trainer(tiny(), facts(), settings(), tmp_path), until=4)
    with pytest.raises(InputError, match="another facts"):
        Trainer(tiny(), facts()[:40], settings(), tmp_path)
    with pytest.raises(InputError, match="trained for tiny-llama-0, not for tiny-llama-1"):
        Trainer(tiny(seed=1), facts(), settings(), tmp_path)


def test_it_stops_early_and_keeps_the_best(tmp_path: Path) -> None:
    wild = settings(lr=0.3, lr_lr=0.1, iterations=100, patience=8)  # steps so large that it only becomes worse
    trainer = Trainer(tiny(), facts(), wild, tmp_path)
    steps = run(trainer)
    validated = [step for step in steps if "validation_loss" in step]
    best = min(validated, key=lambda step: step["validation_loss"])
    assert trainer.edits < 100
    assert trainer.edits == best["edits"] + 8
    assert trainer.best["edits"] == best["edits"]
    trainer.take_best()
    assert trainer.evaluate(trainer.split.validation)["loss"] == pytest.approx(best["validation_loss"])
    header = files.read_header(tmp_path / files.FILE)
    assert header["metrics"]["loss"] == best["validation_loss"]
    assert header["edits"] == best["edits"]
    again = Trainer(tiny(), facts(), wild, tmp_path)
    assert run(again) == []
    again.take_best()
    assert again.evaluate(again.split.validation)["loss"] == pytest.approx(best["validation_loss"])


def test_several_workers_compute_what_one_does() -> None:
    """Each worker takes its share of a step's edits; the sum of their gradients is the gradient."""
    grads: list[list[torch.Tensor]] = []
    for rank in (0, 1):
        own: list[list[torch.Tensor]] = []
        add = lambda tensors, own=own: own.append([t.clone() for t in tensors])  # noqa: E731
        run(Trainer(tiny(), facts(), settings(), share=Share(rank, 2, add)), until=2)
        grads.append(own[0])
    whole: list[list[torch.Tensor]] = []
    keep = Share(0, 1, lambda tensors: whole.append([t.clone() for t in tensors]))
    run(Trainer(tiny(), facts(), settings(), share=keep), until=2)
    for one, two, both in zip(*grads, whole[0], strict=True):
        assert torch.allclose(one + two, both, atol=1e-6)
    assert any(bool(t.any()) for t in grads[0])
    assert any(bool(t.any()) for t in grads[1])
    with pytest.raises(InputError, match="not divisible"):
        Trainer(tiny(), facts(), settings(), share=Share(0, 3))


def test_facts_are_split_without_overlap() -> None:
    every = facts()
    split = Split.of(every, 10, 5, seed=3)
    ids = [{fact.id for fact in part} for part in (split.train, split.validation, split.held_out)]
    assert [len(part) for part in ids] == [45, 10, 5]
    assert set.union(*ids) == {fact.id for fact in every}
    assert Split.of(every, 20, 5, seed=3).held_out == split.held_out
    assert Split.of(every, 10, 5, seed=4).held_out != split.held_out
    with pytest.raises(InputError, match="60 facts are too few"):
        Split.of(every, 50, 10, seed=0)


def test_an_epoch_takes_every_fact_once_and_the_next_another_order() -> None:
    tokenizer = tiny().tokenizer
    examples = Examples(tokenizer, facts()[:10], 1, seed=0, device=torch.device("cpu"))
    first, second = ([examples[i + start].edit.ids.tolist() for i in range(10)] for start in (0, 10))
    assert sorted(map(str, first)) == sorted(map(str, second))
    assert first != second
    assert permutation(10, 0, "epoch 0") != permutation(10, 0, "epoch 1")


def test_prompts_out_of_scope_come_from_the_facts() -> None:
    tokenizer, device = tiny().tokenizer, torch.device("cpu")

    def text(chosen: list[Any]) -> str:
        return tokenizer.decode(Examples(tokenizer, chosen, 1, 0, device).example([chosen[0]], 0).locality.ids[0])

    own, *others = facts()[:3]
    assert text([own, *others]) == f"{own.locality[0].prompt} {own.locality[0].answer}"
    bare = own.model_copy(update={"locality": ()})
    assert text([bare, others[0]]) == f"{others[0].locality[0].prompt} {others[0].locality[0].answer}"
    far = others[0].model_copy(update={"locality": ()})
    assert text([bare, far]) == f"{far.filled} {far.original}"
    with pytest.raises(InputError, match="out of scope"):
        text([bare])


def test_an_edited_model_is_not_trained_for() -> None:
    model = tiny()
    model.add(Update({model.names()[0]: Dense(torch.ones_like(model.weight(model.names()[0])))}))
    with pytest.raises(InputError, match="unedited"):
        Trainer(model, facts(), settings())


def test_the_first_worker_validates_and_all_stop_with_it() -> None:
    """Two processes in turns: what the first adds is what the second hears, also if it would have seen another loss."""
    said: list[torch.Tensor] = []
    first = Trainer(tiny(), facts(), settings(), share=Share(0, 2, lambda tensors: said.append(tensors[-1].clone())))
    run(first, until=4)

    def hear(tensors: list[torch.Tensor]) -> None:
        if tensors[-1].shape == said[-1].shape:  # of a validation; gradients stay as they are
            tensors[-1].add_(said[-1])

    second = Trainer(tiny(), facts(), settings(), share=Share(1, 2, hear))
    monitored = second.evaluate
    second.evaluate = lambda *_: pytest.fail(f"the second worker validated too: {monitored}")  # type: ignore[method-assign]
    run(second, until=4)
    assert second.best == first.best
