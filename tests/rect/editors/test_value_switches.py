"""Where z comes from and how its residual is spread, on tiny models of both ways to store a weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modelfolder.errors import InputError
from rect import editors
from rect.facts import Fact
from rect.history import History
from rect.model import EditableModel
from rect.prompts import edit_rows
from tests.rect.editors.field import FACTS, FAMILIES, LAYERS, editor, inputs, keys, tiny


def at_subject(model: EditableModel, fact: Fact, layer: int) -> torch.Tensor:
    """Output of a block at the subject's last token of the bare prompt, by a pass of the whole model, (hidden,)."""
    (row,) = edit_rows(model.tokenizer, fact, ["{}"])
    seen: list[torch.Tensor] = []

    def note(_m: Any, _i: Any, output: Any) -> None:
        seen.append((output[0] if isinstance(output, tuple) else output)[0, row.lookup])

    handle = model.block(layer).register_forward_hook(note)
    with torch.no_grad():
        model.hf(torch.tensor([row.ids]))
    handle.remove()
    return seen[0].double()


class TestSwitches:
    """Where z comes from and how it is spread, against the formula with full passes of the model."""

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("name", ["memit", "memit-history", "alphaedit"])
    def test_values_of_the_unedited_model(self, family: str, name: str) -> None:
        """z does not know of the first operation, the residual does."""
        model = tiny(family)
        method = editor(name, model, values="unedited")
        first = method.compute(model, FACTS[:2], History())
        z = torch.stack([value.target for value in method.values(model, FACTS[2:])]).double()  # nothing is edited
        matrix = model.mlp_out_name(0)
        with model.edited(first):
            before = {key: tensor.clone() for key, tensor in model.hf.state_dict().items()}
            second = method.compute(model, FACTS[2:], History().after(first))
            assert all(torch.equal(tensor, before[key]) for key, tensor in model.hf.state_dict().items())
            current = torch.stack([at_subject(model, fact, 1) for fact in FACTS[2:]])
            apart = torch.stack([value.target for value in method.values(model, FACTS[2:])]).double() - z
        right = method.adjusted(0, matrix, keys(second, matrix), History().after(first))
        expected = ((z - current).T / 2) @ right.T
        dense = inputs(second, model, matrix)
        assert torch.allclose(dense, expected, rtol=0, atol=1e-3 * float(expected.abs().max()))
        assert apart.norm() > 1e-2 * z.norm()  # on the edited model other vectors are found

    def test_before_the_first_edit_there_is_no_difference(self) -> None:
        model = tiny()
        one, other = (editor("memit", model, values=how).compute(model, FACTS[:2]) for how in ("each", "unedited"))
        assert all(torch.equal(one.dense(name), other.dense(name)) for name in one)

    def test_they_are_asked_of_a_keeper_once(self) -> None:
        model = tiny()
        method = editor("memit", model, values="unedited")
        kept: dict[str, Any] = {}
        asked = []

        def keep(about: Any, facts: Any, find: Any) -> Any:
            asked.append(about)
            name = facts[0].subject
            kept[name] = kept.get(name) or find()
            return kept[name]

        method.keep = keep
        first = method.compute(model, FACTS[:1])
        kept["France"] = kept["Albert Einstein"]  # what a keeper gives is taken
        assert method.compute(model, FACTS[1:2]).provenance["losses"] == first.provenance["losses"]
        assert asked[0] == asked[1]
        assert editor("alphaedit", model, values="unedited").search(model, 1) == asked[0]
        assert editor("alphaedit", model, v_lr=0.1).search(model, 1) != asked[0]

    def test_pmet_divides_by_the_root(self) -> None:
        """The lowest of two layers takes 1/sqrt(2) in place of a half, the last all that is left."""
        model = tiny()
        half, root = (editor("memit", model, spread=how).compute(model, FACTS[:2]) for how in ("linear", "sqrt"))
        name = model.mlp_out_name(0)
        wanted = half.dense(name) * 2**0.5
        assert torch.allclose(root.dense(name), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))

    @pytest.mark.parametrize("name", ["memit", "alphaedit"])
    def test_blue_edits_each_layer_as_if_alone(self, name: str) -> None:
        """Its own z, the whole residual: two edits at one layer each, the second on the model that the first left."""
        model = tiny()
        both = editor(name, model, blue=True).compute(model, FACTS[:2], History())
        low, high = (editor(name, model, layers=[layer]) for layer in LAYERS)
        first = low.compute(model, FACTS[:2], History())
        with model.edited(first):
            second = high.compute(model, FACTS[:2], History())
        for part in (first, second):
            for matrix in part:
                assert torch.equal(part.dense(matrix), both.dense(matrix))
                assert torch.equal(part.memory[matrix]["keys"], both.memory[matrix]["keys"])
        with pytest.raises(
            InputError,
            match=r"^memit hyperparameters: blue leaves each layer the whole residual",
        ):
            editor("memit", model, blue=True, spread="sqrt")

    def test_ids_name_a_switch_only_where_it_is_used(self) -> None:
        usual = editors.declared("alphaedit", "smollm2-135m")
        for key, plain, other in (("values", "each", "unedited"), ("spread", "linear", "sqrt"), ("blue", False, True)):
            assert usual == editors.declared("alphaedit", "smollm2-135m", {key: plain})
            assert key not in usual["hparams"]
            found = editors.declared("alphaedit", "smollm2-135m", {key: other})
            assert found["hparams"] == usual["hparams"] | {key: other}
