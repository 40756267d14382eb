"""Covariance of keys against a brute force, one token at a time; merging; the cache."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import pytest
import torch

from modelfolder.errors import InputError
from rect import covariance
from rect.corpus import Corpus, batches, windows
from rect.covariance import Covariance, Recipe, Sums
from rect.model import EditableModel
from tests.tiny import FAMILIES, SENTENCES, tiny_model


def tiny(family: str, **overrides: object) -> EditableModel:
    return EditableModel(*tiny_model(family, **overrides), name=f"tiny-{family}")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(SENTENCES * 3))
    return Corpus(str(path))


def recipe(corpus: Corpus, **changes: object) -> Recipe:
    return Recipe(**{"model": "tiny", "corpus": corpus, "tokens": "all", "window": 16, "cap": 64, **changes})


def brute_force(model: EditableModel, layer: int, rows: list[list[int]]) -> torch.Tensor:
    """Mean of k k^T, one whole forward pass per window, one outer product per token."""
    seen: list[torch.Tensor] = []
    module = model.module(model.path(model.architecture.mlp_out, layer))
    handle = module.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0].detach()))
    for row in rows:
        model.hf(torch.tensor([row]))
    handle.remove()
    keys = torch.cat([k[0] for k in seen]).double()
    return sum(torch.outer(k, k) for k in keys) / len(keys)


@pytest.mark.parametrize("tokenizer", ["byte-level", "metaspace"])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_a_brute_force(family: str, tokenizer: str, corpus: Corpus) -> None:
    model = tiny(family, tokenizer=tokenizer)
    found = covariance.collect(model, recipe(corpus), [0, 2])
    rows = list(windows(model.tokenizer, corpus.texts(), 16))
    assert found.layers == (0, 2)
    assert found.tokens == sum(map(len, rows)) > 300
    for layer in found.layers:
        expected = brute_force(model, layer, rows)
        assert torch.allclose(found.matrix(layer), expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.hf.modules())


def test_windows_hold_every_token_once_and_begin_as_the_tokenizer_begins() -> None:
    model = tiny("llama", tokenizer="metaspace")
    rows = list(windows(model.tokenizer, SENTENCES, 16))
    assert {len(row) for row in rows[:-1]} == {16}
    bos = model.tokenizer.bos_token_id
    assert all(row[0] == bos and bos not in row[1:] for row in rows)
    whole = [i for s in SENTENCES for i in model.tokenizer(s + "\n\n", add_special_tokens=False)["input_ids"]]
    assert [i for row in rows for i in row[1:]] == whole
    assert sum(map(len, windows(model.tokenizer, SENTENCES, 16, limit=33))) == 48


def test_only_layers_up_to_the_last_one_are_run(corpus: Corpus) -> None:
    model = tiny("llama")
    ran = []
    for layer in range(model.n_layers):
        model.block(layer).register_forward_pre_hook(lambda *_, layer=layer: ran.append(layer))
    covariance.collect(model, recipe(corpus, tokens=64), [0, 1])
    assert set(ran) == {0, 1}


def test_any_order_and_grouping_of_workers_gives_the_same_bits(corpus: Corpus) -> None:
    model = tiny("gpt2")
    todo = recipe(corpus)
    whole = covariance.accumulate(model, [1], todo.batches(model, 256))

    def share(i: int, n: int) -> Sums:
        return covariance.accumulate(model, [1], itertools.islice(todo.batches(model, 256), i, None, n))

    a, b, c = (share(i, 3) for i in range(3))
    nothing = Sums(0, {1: torch.zeros_like(a.layers[1])})
    for merged in ((a + b) + c, a + (b + c), c + (nothing + b) + a):
        assert merged.tokens == whole.tokens
        assert torch.equal(merged.layers[1], whole.layers[1])
    assert not torch.equal(a.layers[1], b.layers[1])


def test_stops_at_ten_tokens_per_dimension_unless_told_otherwise(corpus: Corpus) -> None:
    model = tiny("llama")  # 160 dimensions
    assert recipe(corpus, tokens=None).wanted(160) == 1600
    assert recipe(corpus, tokens="all").wanted(160) is None
    assert covariance.collect(model, recipe(corpus, tokens=100), [0]).tokens == 112  # whole windows


def test_samples_are_drawn_with_a_seed_not_taken_from_the_head(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(f"Text {i}." for i in range(100)))
    everything = [f"Text {i}." for i in range(100)]
    drawn = {seed: list(Corpus(str(path), samples=10, seed=seed).texts()) for seed in range(20)}
    for seed, texts in drawn.items():
        assert len(set(texts)) == 10 == len(texts)
        assert texts == list(Corpus(str(path), seed=seed).texts())[:10]  # a prefix of one order of all of them
    assert sorted(Corpus(str(path), seed=3).texts()) == sorted(everything)
    assert len({tuple(texts) for texts in drawn.values()}) == 20
    late = [text for texts in drawn.values() for text in texts if everything.index(text) >= 50]
    assert 70 < len(late) < 130  # of 200; of the head there would be none
    identities = [Corpus(str(path), samples=n, seed=seed).identity for n, seed in ((4, 0), (5, 0), (4, 1))]
    assert identities[0] not in identities[1:]


def test_a_data_set_of_the_hub_is_shuffled_with_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = [{"text": f"Text {i}."} for i in range(200)]
    stream = datasets.IterableDataset.from_generator(lambda: iter(rows))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: stream)  # no hub here; the stream is a real one
    first, again, other = (list(Corpus("some/texts", "0" * 40, 20, seed).texts()) for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(first)) == 20
    assert any(int(text[5:-1]) >= 100 for text in first)


def test_samples_without_tokens_are_read_to_their_end(corpus: Corpus) -> None:
    few = Corpus(corpus.source, samples=4)
    assert recipe(few, tokens=None).wanted(160) is None
    assert recipe(few, tokens=50).wanted(160) == 50
    found = covariance.collect(tiny("llama"), recipe(few, tokens=None), [0])
    assert found.tokens == sum(map(len, windows(tiny("llama").tokenizer, few.texts(), 16)))


def test_precision_is_that_of_keys_and_products(corpus: Corpus) -> None:
    """In float64 the sum is the exact one rounded once a batch; in float32 products carry their own rounding."""
    model = tiny("llama")
    rows = list(recipe(corpus).batches(model, 160))
    seen: list[torch.Tensor] = []
    module = model.module(model.path(model.architecture.mlp_out, 1))
    handle = module.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0].detach().flatten(0, 1).double()))
    wide = covariance.accumulate(model, [1], rows, precision="float64").layers[1]
    keys = torch.cat(seen)
    handle.remove()
    narrow = covariance.accumulate(model, [1], rows, precision="float32").layers[1]
    exact = keys.T @ keys
    assert (wide - exact).abs().max() <= len(rows) * covariance.QUANTUM
    assert (narrow - exact).abs().max() > 2 * len(rows) * covariance.QUANTUM
    assert recipe(corpus).folder() != recipe(corpus, precision="float64").folder()
    with pytest.raises(InputError, match="precision must be float32 or float64, not 'float16'"):
        recipe(corpus, precision="float16")


def test_cache_is_announced_when_missed_and_found_again(
    corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny("llama")
    first = covariance.ensure(model, recipe(corpus), [0, 1], tmp_path)
    assert "not in" in caplog.text
    assert "tokens a second" in caplog.text
    caplog.clear()
    again = covariance.ensure(model, recipe(corpus), [1], tmp_path)
    assert caplog.text == ""
    assert torch.equal(first.matrix(1), again.matrix(1))
    assert (again.tokens, again.identity) == (first.tokens, first.identity)
    ran = []
    model.block(1).register_forward_pre_hook(lambda *_: ran.append(1))
    covariance.ensure(model, recipe(corpus, tokens=32), [0], tmp_path)
    assert not ran  # only what is missing was computed, and only so deep
    assert len(list(tmp_path.glob("*/layer-*.safetensors"))) == 3


@pytest.mark.parametrize(
    "change",
    [{"model": "other"}, {"revision": "main"}, {"tokens": 5}, {"window": 8}, {"cap": 32}, {"dtype": "bfloat16"}],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_the_recipe_is_in_the_key(corpus: Corpus, tmp_path: Path, change: dict[str, object]) -> None:
    assert recipe(corpus).folder(tmp_path) != recipe(corpus, **change).folder(tmp_path)


def test_the_corpus_content_is_in_the_key(corpus: Corpus, tmp_path: Path) -> None:
    before = recipe(corpus).folder(tmp_path)
    with open(corpus.source, "a") as file:
        file.write("More text.")
    assert recipe(corpus).folder(tmp_path) != before


def test_expected_time_is_said(corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    covariance.ensure(tiny("llama"), recipe(corpus, tokens=100), [0], tmp_path)
    assert "100 tokens, about" in caplog.text


def test_solve_is_the_inverse_and_says_when_there_is_none(corpus: Corpus) -> None:
    model = tiny("llama")
    found = covariance.collect(model, recipe(corpus), [1])
    right = torch.randn(160, 2, dtype=torch.float64)
    assert torch.allclose(found.matrix(1) @ found.of(1).solve(right), right, atol=1e-6)
    poor = covariance.collect(model, recipe(corpus, tokens=32), [1])
    with pytest.raises(InputError, match="layer 1 is singular: 32 tokens are too few for 160 dimensions"):
        poor.of(1).solve(right)


def test_an_edited_model_has_no_covariance_of_its_own(corpus: Corpus, tmp_path: Path) -> None:
    from rect.update import Dense, Update

    model = tiny("llama")
    name = model.mlp_out_name(0)
    model.add(Update({name: Dense(torch.ones_like(model.weight(name)))}))
    with pytest.raises(ValueError, match="unedited"):
        covariance.ensure(model, recipe(corpus), [0], tmp_path)


def test_bad_input_is_named(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the text"):
        list(Corpus(str(tmp_path / "none.txt")).texts())
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "a"}\n{"txt": "b"}\n')
    with pytest.raises(InputError, match=r"broken.jsonl:2: not a JSON object with a 'text'"):
        list(Corpus(str(broken)).texts())
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n \n")
    with pytest.raises(InputError, match="no text in it"):
        covariance.collect(tiny("llama"), recipe(Corpus(str(empty))), [0])
    with pytest.raises(InputError, match="tokens must be"):
        recipe(corpus, tokens="some")
    with pytest.raises(InputError, match="does not fit under the cap"):
        recipe(corpus, window=128)
    with pytest.raises(InputError, match="no covariance of layer 9"):
        Covariance.load(tmp_path, [9])


def test_batches_hold_rows_of_one_length_and_at_most_the_cap() -> None:
    rows = [[1] * 16] * 9 + [[1] * 5]
    assert [len(b) for b in batches(rows, 64)] == [4, 4, 1, 1]
    assert [len(b) for b in batches(rows, 8)] == [1] * 10


def test_models_of_one_name_share_nothing(tmp_path: Path, corpus: Corpus) -> None:
    one, other = tiny("llama"), tiny("llama", seed=1)
    about = recipe(corpus, model=one.name)
    first = covariance.ensure(one, about, [1], tmp_path / "cache")
    second = covariance.ensure(other, about, [1], tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert torch.equal(second.matrix(1), covariance.collect(other, about, [1]).matrix(1).float())
    first.check(one)
    with pytest.raises(InputError, match="of another model than tiny-llama"):
        first.check(other)
    with pytest.raises(InputError, match="is not what it was when this was planned"):
        covariance.ensure(other, about.on(one), [1], tmp_path)
    Covariance({1: torch.eye(2)}, 1, {}).check(other)  # made by hand: nothing is known of it


def test_an_editor_refuses_the_covariance_of_another_model(corpus: Corpus) -> None:
    from rect import editors

    one, other = tiny("llama"), tiny("llama", seed=1)
    found = covariance.collect(one, recipe(corpus), [1])
    hparams = {"layers": [1], "mom2_adjustment": True}
    editors.create("rome", one, hparams, ["{}"], found)
    for method in ("rome", "memit"):
        with pytest.raises(InputError, match="of another model"):
            editors.create(method, other, hparams, ["{}"], found)


def test_a_folder_of_one_name_elsewhere_has_its_own(tmp_path: Path, corpus: Corpus, monkeypatch) -> None:
    from tests.tiny import save_tiny

    for name, seed in (("a", 0), ("b", 1)):
        save_tiny("llama", tmp_path / name / "model", seed=seed)
        monkeypatch.chdir(tmp_path / name)
        model = EditableModel.load("./model")
        about = recipe(corpus, model="./model")
        used = covariance.ensure(model, about, [1], tmp_path / "cache")
        assert torch.allclose(used.matrix(1), covariance.collect(model, about, [1]).matrix(1).float())


@pytest.mark.parametrize("revision", [None, "main", "v1"])
def test_a_data_set_of_the_hub_is_known_by_its_commit(revision: str | None) -> None:
    with pytest.raises(InputError, match=r"corpus some/texts: .* name the commit that is meant as revision"):
        Corpus("some/texts", revision)
    assert Corpus("some/texts", "0" * 40).identity["revision"] == "0" * 40
    assert len(Corpus("wikipedia").identity["revision"]) == 40
