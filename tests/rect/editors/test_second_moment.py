"""`mom2_dataset`, `mom2_n_samples` and `mom2_dtype` say what the covariance is of; what is set beside them wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelfolder.errors import InputError
from rect import editors
from rect.editors import hyperparameters, second_moment
from rect.editors.second_moment import Given
from sweeps.config.config import validate
from sweeps.plan.identity import covariance_notes, make_plan
from tests.rect.editors.test_easyeditor import GPT2_XL

METHODS = ("rome", "memit", "easyeditor:ROME", "easyeditor:MEMIT")


def of(method: str, hparams: Any, model: str = "nobody", **given: Any) -> tuple[Any, ...]:
    cls = editors.EDITORS[method].hparams_class
    found = second_moment.recipe(cls, hyperparameters.declared(cls, hparams, model), model, Given(**given))
    return found.corpus.source, found.corpus.samples, found.tokens, found.precision


@pytest.mark.parametrize("method", METHODS)
def test_every_key_has_its_effect(method: str) -> None:
    assert of(method, None) == ("self", None, None, "float32")
    assert of(method, {"mom2_dataset": "wikitext"}) == ("wikitext", None, None, "float32")
    both = {"mom2_dataset": "wikitext", "mom2_n_samples": 7, "mom2_dtype": "float64"}
    assert of(method, both) == ("wikitext", 7, None, "float64")
    assert of(method, both, corpus="wikipedia") == ("wikipedia", 7, None, "float64")
    assert of(method, both, samples=9, tokens=500) == ("wikitext", 9, 500, "float64")
    assert of(method, both, corpus="self") == ("self", None, None, "float64")
    with pytest.raises(InputError, match=r"corpus self: .* it has no samples"):
        of(method, {"mom2_n_samples": 7})
    with pytest.raises(InputError, match="mom2_dtype"):
        of(method, {"mom2_dtype": "float16"})


def test_a_file_of_easyedit_says_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "gpt2-xl.yaml").write_text(GPT2_XL)
    path = str(tmp_path / "gpt2-xl.yaml")
    assert of("easyeditor:ROME", path) == ("wikipedia", 100_000, None, "float32")
    assert of("rome", path) == ("wikipedia", 100_000, None, "float32")


@pytest.mark.parametrize("model", ["gpt2-xl", "llama-7b", "llama-13b", "gpt-j-6b", "mistralai/Mistral-7B-v0.1"])
def test_released_values_stay_what_they_are(model: str) -> None:
    assert of("memit", None, model) == ("wikipedia", 100_000, None, "float32")
    assert hyperparameters.declared(editors.EDITORS["rome"].hparams_class, None, model)["mom2_adjustment"] is False
    assert editors.declared("rome", model, covariance={"some": "text"})["covariance"] is None
    assert of("memit", None, "smollm2-135m") == ("wikipedia", None, None, "float32")


def test_what_has_no_effect_is_not_recorded() -> None:
    kinds = [editors.declared("rome", "gpt2-xl", given) for given in (None, {"mom2_n_samples": 7})]
    assert kinds[0] == kinds[1]
    assert not set(kinds[0]["hparams"]) & set(second_moment.KEYS)


def notes(method: dict[str, Any], model: str = "gpt2-xl") -> list[str]:
    sweep: dict[str, Any] = {"name": "n", "models": [model], "methods": [method], "engine": {"name": "transformers"}}
    sweep["settings"] = [{"kind": "instance-sequential", "edits": 1}]
    return covariance_notes(make_plan(validate(sweep, "n")))


def test_contradictions_are_said() -> None:
    asks = {"name": "rome", "hparams": {"mom2_adjustment": True}}
    assert notes({"name": "rome"}) == notes(asks) == []
    (unused,) = notes({"name": "rome", "covariance": {"corpus": "self"}})
    assert "it has no effect" in unused
    found = notes({**asks, "covariance": {"corpus": "self"}})
    assert found == [
        "rome on gpt2-xl: covariance: corpus self is taken in place of mom2_dataset wikipedia",
        "rome on gpt2-xl: covariance: mom2_n_samples 100000 is not applied: text that the model samples has no samples",
    ]
    (samples,) = notes({**asks, "covariance": {"samples": 5}})
    assert samples.endswith("samples 5 is taken in place of mom2_n_samples 100000")
    (tokens,) = notes({**asks, "covariance": {"tokens": 5}})
    assert tokens.endswith("tokens 5 may end before the texts of mom2_n_samples 100000 do")
