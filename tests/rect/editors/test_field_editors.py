"""Methods with a history, a null space or an earlier stop, on tiny models of both ways to store a weight."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml

from modelfolder import yaml_files
from modelfolder.errors import InputError
from rect import editors, regularizers
from rect.editors import hyperparameters
from rect.editors.alphaedit import AlphaEditHparams
from rect.editors.betaedit import refreshed
from rect.editors.value_search import search as values
from rect.facts import Fact
from rect.history import History
from rect.model import EditableModel
from rect.prompts import edit_rows
from rect.update import Update
from tests.rect.editors.field import (
    FACTS,
    FAMILIES,
    LAYERS,
    REMEMBER,
    SETTINGS,
    TEMPLATES,
    covariance,
    editor,
    inputs,
    keys,
    tiny,
    width,
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_second_operation_equals_the_formula(family: str, name: str) -> None:
    """dW of the lowest layer, whose keys and residual depend on nothing else, from the keys that updates carry."""
    model, c = tiny(family), covariance(tiny(family))
    method = editor(name, model)
    first = method.compute(model, FACTS[:2], History())
    matrix = model.mlp_out_name(0)
    with model.edited(first):
        second = method.compute(model, FACTS[2:], History().after(first))
        found = method.values(model, FACTS[2:])
    residual = torch.stack([value.delta for value in found]).T.double() / len(LAYERS)  # nothing is edited below
    k, past, n = keys(second, matrix), keys(first, matrix), width(model)
    eye, cov = torch.eye(n, dtype=torch.float64), c.matrix(0)
    p, h, weight, mu = eye, past @ past.T, 2.0, 0.0
    if name in ("alphaedit", "betaedit", "evoedit"):
        seen = (h / 2 + weight * cov) / (weight + 1) if name == "betaedit" else cov  # its two facts are due
        _, vectors = torch.linalg.eigh(seen)
        u = vectors[:, : round(0.6 * n)]
        p, mu = u @ u.T, 1.0
    if name in ("alphaedit", "evoedit"):
        weight = 0.0
    if name == "evoedit":
        p = p - p @ past @ torch.linalg.inv(past.T @ p @ past) @ past.T @ p
    if name == "encore":
        mu = 1.0
    if name in ("memit", "emmet", "evoedit"):
        h = 0 * h
    expected = residual @ torch.linalg.solve(p @ (k @ k.T + h + weight * cov) + mu * eye, p @ k).T
    dense = inputs(second, model, matrix)
    assert torch.allclose(dense, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    assert (dense @ (eye - p)).norm() < 1e-6 * dense.norm()
    if name == "evoedit":
        assert (dense @ past).norm() < 1e-5 * dense.norm() * past.norm()  # earlier keys are not touched


def test_memit_is_what_it_was_to_the_bit_and_ignores_a_history() -> None:
    """The first operation of MEMIT with history is MEMIT's, and MEMIT's second one does not look back."""
    model = tiny()
    plain, remembering = editor("memit", model), editor("memit-history", model)
    first, same = plain.compute(model, FACTS[:2]), remembering.compute(model, FACTS[:2])
    assert first.to_bytes()[-4096:] == same.to_bytes()[-4096:]
    with model.edited(first):
        alone = plain.compute(model, FACTS[2:])
        after = plain.compute(model, FACTS[2:], History().after(first))
        other = remembering.compute(model, FACTS[2:], History().after(first))
    for name in alone:
        assert torch.equal(alone.dense(name), after.dense(name))
        assert not torch.equal(alone.dense(name), other.dense(name))


def test_encore_without_its_bound_and_its_stop_is_memit_with_a_history() -> None:
    """To the bit, in the second operation too; with mu alone it is another, and smaller."""
    model = tiny()
    bare = {"update_norm_lambda": 0.0, "stop_when_most_probable": None}

    def two(name: str, **more: Any) -> tuple[Update, Update]:
        method = editor(name, model, **more)
        first = method.compute(model, FACTS[:2], History())
        with model.edited(first):
            return first, method.compute(model, FACTS[2:], History().after(first))

    plain, same, bound = (
        two("memit-history"),
        two("encore", **bare),
        two("encore", **bare | {"update_norm_lambda": 5.0}),
    )
    for name in plain[0]:
        assert all(torch.equal(one.dense(name), other.dense(name)) for one, other in zip(plain, same, strict=True))
        assert bound[0].dense(name).norm() < plain[0].dense(name).norm()


def test_a_history_from_stored_updates_gives_the_same_bits(tmp_path: Path) -> None:
    """And regularizers hand it on: RECT cuts the lower layer, and what is remembered are the keys of the solve."""
    model = tiny()
    method = editor("alphaedit", model)
    raw = method.compute(model, FACTS[:2], History())
    raw.save(tmp_path / "raw")
    stored = Update.load(tmp_path / "raw")
    cut = [regularizers.rect(update, model, k=20) for update in (raw, stored)]
    with model.edited(cut[0]):
        one, two = (method.compute(model, FACTS[2:], History().after(update)) for update in cut)
    assert one.to_bytes() == two.to_bytes()
    for name in raw:
        assert torch.equal(cut[1].memory[name]["keys"], raw.memory[name]["keys"])


@pytest.mark.parametrize("name", REMEMBER)
def test_an_edited_model_without_its_history_is_refused(name: str) -> None:
    model = tiny()
    method = editor(name, model)
    first = method.compute(model, FACTS[:2])
    with (
        model.edited(first),
        pytest.raises(InputError, match=rf"{name}: tiny-llama was edited before: pass the history"),
    ):
        method.compute(model, FACTS[2:])
    rome = editors.create("rome", model, {"layers": [1], "mom2_adjustment": False}, TEMPLATES)
    after = History().after(rome.compute(model, FACTS[:1]))  # of layer 1 alone
    with pytest.raises(InputError, match=r"layers.0.mlp.down_proj.weight: of 1 earlier operations 1 left no keys"):
        method.compute(model, FACTS[2:], after)
    with pytest.raises(InputError, match="mom2_adjustment: must be true"):
        editor(name, model, mom2_adjustment=False)


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize("sizes", [[], [1] * 9, [3] * 5, [2, 5, 1, 1, 4], [10]])
def test_betaedit_refreshes_when_so_many_facts_are_new(every: int, sizes: list[int]) -> None:
    """Against a walk through the facts, one by one, that asks before each operation."""
    edited = known = 0
    for size in [*sizes, 0]:
        known = edited if edited - known >= every else known
        for _ in range(size):
            edited += 1
    assert refreshed(sizes, every) == known


def test_betaedit_before_it_refreshes_is_alphaedit_with_c_in_the_solve() -> None:
    model = tiny()
    late, now = (editor("betaedit", model, refresh_every=every) for every in (3, 2))
    first = late.compute(model, FACTS[:2], History())
    same = now.compute(model, FACTS[:2], History())
    name, after = model.mlp_out_name(0), History().after(first)
    assert torch.equal(first.dense(name), same.dense(name))  # nothing was edited yet
    k = keys(first, name)
    assert not torch.equal(late.adjusted(0, name, k, after), now.adjusted(0, name, k, after))
    c = late.covariance
    u = c.of(0).null_space(share=60)[1]
    p, h = u @ u.T, k @ k.T
    wanted = torch.linalg.solve(p @ (k @ k.T + h + 2.0 * c.matrix(0)) + torch.eye(len(p)), p @ k)
    assert torch.allclose(late.adjusted(0, name, k, after), wanted, rtol=0, atol=1e-8 * float(wanted.abs().max()))


def test_betaedits_threshold_is_one_of_the_mixed_matrix() -> None:
    """After a refreshing it is held against (H / facts + lambda C) / (lambda + 1), and against no multiple of that."""
    model = tiny()
    by_share = editor("betaedit", model)
    after = History().after(first := by_share.compute(model, FACTS[:2], History()))
    name, c = model.mlp_out_name(0), by_share.covariance.matrix(0).double()
    k = keys(first, name)
    values = torch.linalg.eigvalsh((k @ k.T / 2 + 2.0 * c) / 3)
    taken = round(0.6 * len(c))
    between = float(values[taken - 1 : taken + 1].mean())
    by_value = editor("betaedit", model, nullspace_share=None, nullspace_threshold=between)
    found = by_value.adjusted(0, name, k, after)
    assert torch.allclose(found, by_share.adjusted(0, name, k, after), rtol=0, atol=1e-8 * float(found.abs().max()))


class TestNullSpace:
    def test_too_few_tokens(self) -> None:
        model = tiny()
        hparams = {"layers": LAYERS, **SETTINGS["alphaedit"]}
        with pytest.raises(InputError, match=r"layer 0 needs at least 10 tokens per dimension, 1,600, .* on 1,599"):
            editors.create("alphaedit", model, hparams, TEMPLATES, covariance(model, 9.9999))

    @pytest.mark.parametrize(("threshold", "taken"), [(1e-9, 0), (1e9, 160)])
    def test_a_threshold_that_does_not_carry_over(self, threshold: float, taken: int) -> None:
        said = rf"nullspace_threshold 1e[-+]09 takes {taken} of 160 directions at layer 0, where eigenvalues go from"
        with pytest.raises(InputError, match=said):
            editor("alphaedit", tiny(), nullspace_share=None, nullspace_threshold=threshold)

    def test_threshold_and_share_are_two_ways_to_say_the_same(self) -> None:
        model = tiny()
        spectrum = covariance(model).of(0).spectrum[0], covariance(model).of(1).spectrum[0]
        between = [float((values[47] + values[48]) / 2) for values in spectrum]
        for layer in LAYERS:
            by_share = editor("alphaedit", model, layers=[layer], nullspace_share=30)
            by_value = editor(
                "alphaedit", model, layers=[layer], nullspace_share=None, nullspace_threshold=between[layer]
            )
            one, two = (method.compute(model, FACTS[:2]) for method in (by_share, by_value))
            assert torch.equal(one.dense(model.mlp_out_name(layer)), two.dense(model.mlp_out_name(layer)))

    def test_files_of_others_load(self, tmp_path: Path) -> None:
        given = {
            "alg_name": "AlphaEdit",
            "P_loc": "./null_space_project.pt",
            "layers": [4],
            "nullspace_threshold": 0.02,
        }
        given |= {"L2": 1, "mom2_update_weight": 15000, "fact_token": "subject_last", "model_name": "x", "device": 0}
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(given))
        read = AlphaEditHparams.read(tmp_path / "a.yaml")
        assert (read.L2, read.nullspace_threshold, read.nullspace_share) == (1, 0.02, None)
        with pytest.raises(InputError, match="give either nullspace_share or nullspace_threshold"):
            AlphaEditHparams.parse({"layers": [4]}, "here")


class TestStopWhenMostProbable:
    EASY: ClassVar[dict[str, Any]] = {"v_num_grad_steps": 40, "v_lr": 1.0, "clamp_norm_factor": 30.0, "kl_factor": 0.0}
    FACTS = (
        Fact(subject="France", prompt="The capital city of {}", target="is"),
        Fact(subject="Albert", prompt="The mother tongue of {}", target="was"),
        Fact(subject="the Moon", prompt="A month of {}", target="or"),
    )

    def on_top(self, model: EditableModel, fact: Fact, layer: int, delta: torch.Tensor) -> bool:
        """By a pass of the whole model: is every target token the most likely one in every context?"""
        for row in edit_rows(model.tokenizer, fact, TEMPLATES):

            def add(_m: Any, _i: Any, output: Any, at: int = row.lookup) -> Any:
                hidden = output[0] if isinstance(output, tuple) else output
                hidden = hidden.clone()
                hidden[:, at] += delta
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            handle = model.block(layer).register_forward_hook(add)
            logits = model.hf(torch.tensor([row.ids])).logits[0, -len(row.targets) :]
            handle.remove()
            if logits.argmax(-1).tolist() != list(row.targets):
                return False
        return True

    @pytest.mark.parametrize("family", FAMILIES)
    def test_it_ends_in_the_nth_iteration_with_all_targets_on_top(self, family: str) -> None:
        model = tiny(family)
        plain = editor("memit", model, **self.EASY)
        without = values.optimize(model, self.FACTS, TEMPLATES, plain.hparams, 1, 2, from_mlp=False)
        ended = {}
        for c in (1, 2, 3):
            hparams = plain.hparams.model_copy(update={"stop_when_most_probable": c})
            found = values.optimize(model, self.FACTS, TEMPLATES, hparams, 1, 2, from_mlp=False)
            for i, (one, other) in enumerate(zip(found, without, strict=True)):
                assert len(one.losses) <= len(other.losses)  # never more steps
                assert one.losses == pytest.approx(other.losses[: len(one.losses)], rel=1e-3, abs=1e-4)
                if len(one.losses) < len(other.losses):
                    assert self.on_top(model, self.FACTS[i], 1, one.delta)
                    ended[i, c] = len(one.losses)
        earlier = [i for i in range(len(self.FACTS)) if (i, 1) in ended]
        assert earlier  # of some facts the search did end sooner
        for i in earlier:
            stopped = plain.hparams.model_copy(update={"v_num_grad_steps": ended[i, 1] - 1})
            (before,) = values.optimize(model, [self.FACTS[i]], TEMPLATES, stopped, 1, 2, from_mlp=False)
            assert not self.on_top(model, self.FACTS[i], 1, before.delta)  # the last iteration made no step
            assert all(ended[i, c] > ended[i, c - 1] for c in (2, 3) if (i, c) in ended)

    def test_rome_takes_it_too(self) -> None:
        model = tiny()
        hparams = {"layers": [1], "mom2_adjustment": False, **self.EASY}
        plain, early = (
            editors.create("rome", model, hparams | more, TEMPLATES).compute(model, self.FACTS[:1])
            for more in ({}, {"stop_when_most_probable": 1})
        )
        assert len(early.provenance["losses"][0]) < len(plain.provenance["losses"][0])

    def test_ids_name_it_only_where_it_is_used(self) -> None:
        """What was edited before there were such switches keeps its id."""
        for method in ("rome", "memit"):
            usual = editors.declared(method, "smollm2-135m")
            assert usual == editors.declared(method, "smollm2-135m", {"stop_when_most_probable": None})
            assert not {"stop_when_most_probable", "r_rome"} & set(usual["hparams"])
            other = editors.declared(method, "smollm2-135m", {"stop_when_most_probable": 2})
            assert other["hparams"] == usual["hparams"] | {"stop_when_most_probable": 2}
        assert editors.declared("encore", "smollm2-135m")["hparams"]["stop_when_most_probable"] is not None


class TestRRome:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("given", [True, False])
    def test_it_moves_the_mean_key_s_output_by_what_was_found(self, family: str, given: bool) -> None:
        """dW k* = v* - W k*: delta as published; as released counted from the output at the bare prompt."""
        model = tiny(family)
        hparams = {"layers": [1], "v_num_grad_steps": 6, "mom2_adjustment": given}
        name = model.mlp_out_name(1)
        c = covariance(model) if given else None
        rome = editors.create("rome", model, hparams, TEMPLATES, c)
        (value,) = values.optimize(model, FACTS[:1], TEMPLATES, rome.hparams, 1, 2, from_mlp=True)
        mean, bare = value.keys.mean(0).double(), value.keys[0].double()
        weight = model.weight(name).double()
        weight = weight.T if family == "gpt2" else weight
        wanted = {None: None, "published": value.delta, "released": value.delta + weight @ (bare - mean)}
        for switch, moved in wanted.items():
            update = editors.create("rome", model, hparams | {"r_rome": switch}, TEMPLATES, c).compute(model, FACTS[:1])
            dense = inputs(update, model, name)
            at, by = (bare, value.delta) if moved is None else (mean, moved)
            assert torch.allclose(dense @ at, by.double(), rtol=0, atol=1e-4 * float(by.abs().max()))
            assert torch.allclose(keys(update, name)[:, 0], mean, atol=1e-6)

    def test_its_name_is_the_published_form(self) -> None:
        model = tiny()
        hparams = {"layers": [1], "v_num_grad_steps": 4, "mom2_adjustment": False}
        named = editors.create("r-rome", model, hparams, TEMPLATES).compute(model, FACTS[:1])
        switched = editors.create("rome", model, hparams | {"r_rome": "published"}, TEMPLATES).compute(model, FACTS[:1])
        name = model.mlp_out_name(1)
        assert torch.equal(named.dense(name), switched.dense(name))
        assert editors.declared("r-rome", "gpt2-xl")["name"] == "r-rome"


@pytest.mark.parametrize("method", ["alphaedit", "encore", "emmet", "memit-history", "r-rome", "ultraedit"])
def test_every_file_of_values_is_read(method: str) -> None:
    hparams = editors.get(method).hparams_class
    files = sorted((hyperparameters.FOLDER / hparams.shelf()).glob("*.yaml"))
    assert files
    for file in files:
        given = yaml_files.mapping(file)
        said = {key: value for key, value in given.items() if "layers" in key}
        read = editors.declared(method, given["models"][0])["hparams"]
        assert said
        assert {key: read[key] for key in said} == said
    unknown = editors.declared(method, "nobody/knows")
    assert unknown["hparams"]["default"] == "by depth"
    assert not math.isnan(len(editors.remark(method, "nobody/knows", n_layers=30)))
