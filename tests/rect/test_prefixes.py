"""Context prefixes: drawn with a seed, saved, the same again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modelfolder.errors import InputError
from rect import editors, prefixes
from rect.model import EditableModel
from rect.prefixes import Prefixes
from rect.update import Dense, Update
from tests.tiny import save_tiny, tiny_model


@pytest.fixture(scope="module", params=["byte-level", "metaspace"])
def model(request: pytest.FixtureRequest) -> EditableModel:
    return EditableModel(*tiny_model("llama", tokenizer=request.param))


def test_twenty_and_the_empty_one(model: EditableModel) -> None:
    drawn = Prefixes.sample(model, seed=1)
    assert len(drawn) == 21
    assert drawn.templates[0] == "{}"
    assert all(t.endswith(". {}") and t.count("{}") == 1 for t in drawn.templates[1:])
    assert len(set(drawn.templates)) > 15
    starts = [t.split("{}")[0] for t in drawn.templates[1:]]
    assert all(any(s.startswith(word) for word in prefixes.STARTS) for s in starts)
    assert all(word != " " for s in starts for word in s.split("  "))


def test_lengths_in_tokens(model: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    decode = model.tokenizer.batch_decode

    def look(ids: torch.Tensor, **kwargs: object) -> list[str]:
        special = len(model.tokenizer("")["input_ids"])
        given.extend(len(row) - special for row in ids)
        return decode(ids, **kwargs)

    monkeypatch.setattr(model.tokenizer, "batch_decode", look)
    Prefixes.sample(model, lengths=((12, 5), (14, 5)))
    assert given == [12] * 5 + [14] * 5


def test_each_token_is_one_of_the_likeliest(model: EditableModel) -> None:
    found = prefixes._texts(model, ["The"] * 40, 3, torch.Generator().manual_seed(0))
    first = model.tokenizer("The")["input_ids"]
    logits = model.hf(torch.tensor([first])).logits[0, -1]
    logits[model.tokenizer.all_special_ids] = -torch.inf
    likely = {model.tokenizer.decode([*first, int(i)], skip_special_tokens=True) for i in logits.topk(5).indices}
    clean = {prefixes._one_line(text) for text in likely}
    assert all(any(text.startswith(begun) for begun in clean) for text in found)


def test_the_seed_decides(model: EditableModel) -> None:
    torch.manual_seed(5)
    a = Prefixes.sample(model, seed=3)
    torch.manual_seed(6)
    b = Prefixes.sample(model, seed=3)
    assert a == b
    assert a.digest == b.digest
    assert a != Prefixes.sample(model, seed=4)
    assert a.identity == Prefixes.recipe(3) != Prefixes.recipe(4)


def test_saved_and_loaded(model: EditableModel, tmp_path: Path) -> None:
    drawn = Prefixes.sample(model)
    drawn.save(tmp_path / "prefixes.json")
    again = Prefixes.load(tmp_path / "prefixes.json")
    assert again == drawn
    assert again.identity == drawn.identity
    (tmp_path / "list.json").write_text('["Yes. {}"]')
    assert Prefixes.load(tmp_path / "list.json").templates == ("{}", "Yes. {}")


def test_given_ones_are_known_by_their_text() -> None:
    mine = Prefixes(["Yes. {}", "{}"])
    assert mine.templates == ("{}", "Yes. {}")
    assert mine.identity == {"digest": mine.digest}
    assert mine.digest != Prefixes(["No. {}"]).digest


def test_bad_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"context prefix 'Yes': needs \{\} exactly once"):
        Prefixes(["Yes"])
    with pytest.raises(InputError, match="exactly once"):
        Prefixes(["{} {}"])
    (tmp_path / "bad.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="not context prefixes"):
        Prefixes.load(tmp_path / "bad.json")
    with pytest.raises(InputError, match="cannot read"):
        Prefixes.load(tmp_path / "none.json")


def test_an_edited_model_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    model = EditableModel(*tiny_model("gpt2"))
    name = model.mlp_out_name(0)
    with model.edited(Update({name: Dense(torch.ones_like(model.weight(name)))})):
        Prefixes.sample(model, lengths=((3, 1),))
    assert "edited model" in caplog.text


def test_those_of_another_model_are_refused(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        save_tiny("llama", tmp_path / name, seed=seed)
    one, other = (EditableModel.load(str(tmp_path / name)) for name in "ab")
    Prefixes.sample(one, lengths=[(6, 2)]).save(tmp_path / "prefixes.json")
    drawn = Prefixes.load(tmp_path / "prefixes.json")
    assert drawn.identity == Prefixes.recipe(0, [(6, 2)])
    hparams = {"layers": [1], "mom2_adjustment": False}
    editors.create("rome", one, hparams, drawn)
    with pytest.raises(InputError, match=r"drawn from another model than .*b: from sha256:"):
        editors.create("rome", other, hparams, drawn)
    editors.create("rome", other, hparams, list(drawn.templates))
