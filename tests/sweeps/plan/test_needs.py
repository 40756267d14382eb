"""What methods and regularizers need is known before a model is loaded: here the tokens of a null space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rect.key_covariance import OfLayer
from sweeps.plan import needs
from sweeps.plan.identity import covariance_recipe, make_plan
from tests.sweeps.small import small_config
from tests.tiny import save_tiny

HPARAMS = {"layers": [0, 1]}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp(request.param) / "tiny")


def lacking(folder: Path, method: str, regularizers: Any = ("none",), **more: Any) -> list[str]:
    methods = [{"name": method, "hparams": HPARAMS if method != "kn" else None, **more}]
    settings = [{"kind": "instance-sequential", "edits": 1}]
    config = small_config(folder, methods=methods, regularizers=list(regularizers), settings=settings)
    return [reason for _, reason in needs.lacking(make_plan(config).cells)]


def dimension(folder: Path) -> int:
    return 160 if "llama" in str(folder) else 256


@pytest.mark.parametrize("method", ["alphaedit", "betaedit", "evoedit"])
def test_a_null_space_of_too_few_tokens(folder: Path, method: str) -> None:
    n = 10 * dimension(folder)
    (said,) = lacking(folder, method, covariance={"tokens": n - 1})
    assert said == (
        f"{method} on {folder}: a null space of keys needs at least 10 tokens per dimension, {n:,}, and the covariance "
        f"is asked to rest on {n - 1:,}: covariance: {{tokens: {n}}}"
    )
    assert lacking(folder, method, covariance={"tokens": n}) == []  # as a run would have it, see below
    with pytest.raises(ValueError, match="needs at least 10 tokens per dimension"):
        null_space(n - 1, dimension(folder))
    null_space(n, dimension(folder))


@pytest.mark.parametrize("name", ["AlphaEdit", "SPHERE"])
def test_easyedits_null_space_too(folder: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "EasyEdit" / "easyeditor" / "util" / "alg_dict.py"
    source.parent.mkdir(parents=True)
    source.write_text(f"ALG_DICT = {{'{name}': 1}}")
    (tmp_path / "venv").mkdir()
    monkeypatch.setenv("EASYEDITOR_VENV", str(tmp_path / "venv"))
    monkeypatch.setenv("EASYEDITOR_PATH", str(tmp_path / "EasyEdit"))
    n = 10 * dimension(folder)
    (said,) = lacking(folder, f"easyeditor:{name}", covariance={"tokens": n - 1})
    assert said.startswith(f"easyeditor:{name} on {folder}: a null space of keys needs at least 10 tokens")
    assert lacking(folder, f"easyeditor:{name}", covariance={"tokens": n}) == []


def null_space(tokens: int, n: int) -> None:
    import torch

    OfLayer(torch.eye(n), 0, tokens).null_space(share=50)


def test_as_a_regularizer(folder: Path) -> None:
    levels = ["none", {"name": "null-space", "k": [50]}]
    few = {"tokens": 100}
    assert lacking(folder, "memit", covariance=few) == []
    (said,) = lacking(folder, "memit", levels, covariance=few)
    assert "asked to rest on 100" in said
    (then,) = lacking(folder, "memit", ["none", {"name": "null-space", "k": 50, "when": "checkpoint"}], covariance=few)
    assert then == said
    assert lacking(folder, "memit", ["none", {"name": "null-space", "k": 100}], covariance=few) == []
    (said,) = lacking(folder, "kn", levels)
    assert said == "kn under null-space: it has no covariance of keys; take one with mom2_adjustment"


def test_the_default_is_too_little_for_a_wide_model(folder: Path, tmp_path: Path) -> None:
    """14,000 tokens are sampled: enough for 1,400 dimensions, not for the 1,536 of SmolLM2-135M."""
    wide = save_tiny("llama", tmp_path / "wide", intermediate_size=1536)
    assert lacking(folder, "alphaedit") == []
    (said,) = lacking(wide, "alphaedit")
    assert "15,360, and the covariance is asked to rest on 14,000: covariance: {tokens: 15360}" in said
    plan = make_plan(small_config(wide, methods=[{"name": "memit", "hparams": HPARAMS}]))
    assert covariance_recipe(plan.config.models[0], plan.config.methods[0]).wanted(1536) == 14_000


def test_what_is_not_at_hand_is_left_to_the_run(tmp_path: Path) -> None:
    assert lacking(Path("someone/not-here"), "alphaedit", covariance={"tokens": 5}) == []
