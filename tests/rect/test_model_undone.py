"""Whatever happens in an edit, the weights come back; and no thread sees another's edit."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rect import EditableModel, editors, evaluation, perplexity
from rect.facts import Fact
from rect.update import Dense, LowRank, Update, UpdateError
from tests.tiny import tiny_model

FACTS = [
    Fact(subject="France", prompt="The capital of {} is", target="Rome", original="Paris"),
    Fact(subject="Albert Einstein", prompt="{} was born in", target="Spain", original="Ulm"),
]


@pytest.fixture
def model() -> EditableModel:
    return EditableModel(*tiny_model("llama"), name="tiny")


def weights(model: EditableModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.hf.named_parameters()}


def same(model: EditableModel, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(model.weight(name), tensor) for name, tensor in before.items())


def ones(model: EditableModel, *layers: int) -> dict[str, Dense | LowRank]:
    return {model.mlp_out_name(n): Dense(torch.ones_like(model.weight(model.mlp_out_name(n)))) for n in layers}


class Failing(Dense):
    """A matrix that cannot be written out."""

    error: BaseException

    def dense(self) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize("error", [MemoryError("out of memory"), KeyboardInterrupt()])
@pytest.mark.parametrize("edited_before", [False, True])
def test_an_edit_that_fails_half_way_leaves_nothing(
    model: EditableModel, error: BaseException, edited_before: bool
) -> None:
    if edited_before:
        model.add(Update(ones(model, 0)))
    before, changed = weights(model), set(model.changed())
    last = Failing(torch.ones_like(model.weight(model.mlp_out_name(2))))
    object.__setattr__(last, "error", error)
    update = Update({**ones(model, 0, 1), model.mlp_out_name(2): last})
    with pytest.raises(type(error)):
        model.add(update)
    assert same(model, before)
    with pytest.raises(type(error)), model.edited(update):
        pytest.fail("the block must not be entered")
    assert same(model, before)
    assert set(model.changed()) == changed
    model.restore()
    model.add(Update(ones(model, 0)))
    model.restore()
    assert model.changed() == {}


def test_an_interrupt_while_the_weights_come_back(model: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before, put_back = weights(model), model._put_back
    calls: list[int] = []

    def interrupted(*args: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        put_back(*args)

    monkeypatch.setattr(model, "_put_back", interrupted)
    with pytest.raises(KeyboardInterrupt), model.edited(Update(ones(model, 0))):
        pass
    assert same(model, before)
    assert model.changed() == {}


def test_what_the_block_itself_adds_goes_too(model: EditableModel) -> None:
    model.add(Update(ones(model, 1)))
    before, changed = weights(model), model.changed()
    with model.edited(Update(ones(model, 0))):
        model.add(Update(ones(model, 0, 1, 2)))
        with contextlib.suppress(RuntimeError), model.edited(Update(ones(model, 1))):
            model.restore()
            model.add(Update(ones(model, 2)))
            raise RuntimeError
        assert float((model.weight(model.mlp_out_name(2)) - before[model.mlp_out_name(2)]).mean()) == pytest.approx(1)
    assert same(model, before)
    assert model.changed().keys() == changed.keys()
    model.restore()
    assert float((before[model.mlp_out_name(1)] - model.weight(model.mlp_out_name(1))).mean()) == pytest.approx(1)
    assert model._journals == []


def test_a_sum_beyond_the_dtype_is_refused() -> None:
    hf, tokenizer = tiny_model("llama")
    model = EditableModel(hf.half(), tokenizer, name="tiny")
    before = weights(model)
    first, second = model.mlp_out_name(0), model.mlp_out_name(1)
    large = Dense(torch.full(model.weight(second).shape, 1e5))
    with pytest.raises(UpdateError, match=rf"^{second}: W \+ dW holds NaN or infinity in float16$"):
        model.add(Update({first: ones(model, 0)[first], second: large}))
    assert same(model, before)


def together(*works: Callable[[], None]) -> None:
    """Run some works in threads that begin at one time; what one of them raises is raised."""
    barrier, errors = threading.Barrier(len(works)), []

    def run(work: Callable[[], None]) -> None:
        barrier.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_no_thread_sees_the_edit_of_another(model: EditableModel) -> None:
    """Each thread asks for its own numbers while another edits: they are those of one thread after the other."""
    texts = ["The capital of France is Paris, and the capital of Italy is Rome."]
    update = Update(ones(model, 0, 1))
    expected = perplexity.perplexity(model, texts), evaluation.evaluate(model, FACTS), model.complete("The", 3)
    with model.edited(update):
        edited = perplexity.perplexity(model, texts)
    assert edited != expected[0]

    def edit() -> None:
        for _ in range(40):
            with model.edited(update):
                assert perplexity.perplexity(model, texts) == edited

    def look() -> None:
        for _ in range(20):
            assert perplexity.perplexity(model, texts) == expected[0]
            assert evaluation.evaluate(model, FACTS) == expected[1]
            assert model.complete("The", 3) == expected[2]

    together(edit, look)
    assert model.changed() == {}


@pytest.mark.parametrize("method", ["rome", "kn"])
def test_two_threads_may_edit_one_model(model: EditableModel, method: str) -> None:
    hparams = {"rome": {"layers": [1], "v_num_grad_steps": 5, "mom2_adjustment": False}, "kn": {"steps": 3}}[method]
    editor = editors.create(method, model, hparams, **({"prefixes": ["{}"]} if method == "rome" else {}))
    expected = [editor.compute(model, [fact]) for fact in FACTS]

    def compute(index: int) -> None:
        for _ in range(4):
            found = editor.compute(model, [FACTS[index]])
            assert list(found) == list(expected[index])
            for name in found:
                assert torch.equal(found.dense(name), expected[index].dense(name))

    together(lambda: compute(0), lambda: compute(1))
