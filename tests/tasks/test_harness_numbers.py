"""The numbers of `lm_eval:` tasks are those of the harness' own model class on the same folder."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modelfolder.errors import InputError
from tasks.engines.transformers_engine import TransformersEngine
from tests.tiny import SENTENCES, save_tiny

pytest.importorskip("lm_eval", reason="the optional extra lm-eval is not installed: pip install lm-eval")

CONTEXT = 48  # tokens: long texts are cut
PIECES = st.one_of(
    st.sampled_from(
        [*SENTENCES[:3], " ", "\n", "\t", "  ", "A:", "Rome", "Ans", "wer", " the", "</s>", "é", "東京", "🙂"]
    ),
    st.sampled_from(["<|endoftext|>", "<s>", "\u2009", "\x0b", "12 3", "\u0301"]),
    st.text(max_size=6),
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)
KINDS = {"byte-level": "gpt2", "metaspace": "llama", "qwen2": "qwen2"}


@pytest.fixture(scope="module", params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """(theirs, ours) on one tiny model."""
    from lm_eval.models.huggingface import HFLM

    from tasks.harness_model import EngineLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    folder = tmp_path_factory.mktemp("model")
    save_tiny(KINDS[request.param], folder, tokenizer=request.param, **limited(KINDS[request.param]))
    theirs = HFLM(pretrained=str(folder), dtype="float32", device="cpu", batch_size=1)
    assert theirs.max_length == CONTEXT
    with TransformersEngine(folder) as engine:
        yield theirs, EngineLM(engine)


def limited(family: str) -> dict[str, int]:
    return {"n_positions" if family == "gpt2" else "max_position_embeddings": CONTEXT}


def request(kind: str, *arguments: Any) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(request_type=kind, doc={}, arguments=arguments, idx=0, metadata=("t", 7, 1))]


def theirs_or_none(model: Any, kind: str, *arguments: Any) -> Any:
    """The harness's answer; None where it fails, as for a continuation without tokens."""
    with contextlib.suppress(AssertionError, IndexError, RuntimeError):
        return getattr(model, kind)(request(kind, *arguments), disable_tqdm=True)[0]
    return None


MANY = settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))


@MANY
@given(context=TEXTS, continuation=TEXTS)
@example("Q: The capital?\nA:\n", "Rome")
@example("Q: The capital?\t", "Rome")
@example("The answer is  ", "Rome")
@example("capit", "al")
@example("The capit", "al of France is Paris")
@example("The answer is", "")
@example("", "")
@example("", "Rome")
@example("", "<s>")
@example("\n", "Rome")
@example("<s>The answer is", " no")
@example(" ".join(SENTENCES), " no")
@example("The answer is", " no" * CONTEXT)
@example("x", " ".join(SENTENCES))
def test_log_likelihoods(both: tuple[Any, Any], context: str, continuation: str) -> None:
    theirs, ours = both
    expected = theirs_or_none(theirs, "loglikelihood", context, continuation)
    if expected is None:
        with pytest.raises(InputError, match=r"lm_eval:t, example 7: .*(tokens|fit)") as told:
            ours.loglikelihood(request("loglikelihood", context, continuation))
        assert "\n" not in str(told.value)
    else:
        found = ours.loglikelihood(request("loglikelihood", context, continuation))[0]
        assert found == (pytest.approx(expected[0], abs=1e-3), expected[1])


@MANY
@given(text=TEXTS)
@example("")
@example("<s>The answer is")
@example(" ".join(SENTENCES))
def test_log_likelihoods_of_texts(both: tuple[Any, Any], text: str) -> None:
    theirs, ours = both
    expected = theirs.loglikelihood_rolling(request("loglikelihood_rolling", text), disable_tqdm=True)[0]
    found = ours.loglikelihood_rolling(request("loglikelihood_rolling", text))[0]
    assert found == pytest.approx(expected, abs=2e-3)


@settings(MANY, max_examples=20)
@given(
    prompt=TEXTS,
    until=st.lists(st.sampled_from(["e", " ", "\n", "the", "a", " the ", ".", "ab", "ba", ""]), max_size=3),
    budget=st.integers(1, CONTEXT - 1),
)
@example(SENTENCES[0], ["e"], 20)
@example(" ".join(SENTENCES), [], 40)
def test_generated_texts(both: tuple[Any, Any], prompt: str, until: list[str], budget: int) -> None:
    theirs, ours = both
    wishes = {"until": until, "max_gen_toks": budget, "do_sample": False}
    expected = theirs_or_none(theirs, "generate_until", prompt, wishes)
    if expected is not None:  # an empty prompt without BOS
        assert ours.generate_until(request("generate_until", prompt, wishes)) == [expected]


def test_what_was_cut_or_halved_is_said(both: tuple[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    from tasks.harness_model import EngineLM

    ours = EngineLM(both[1].engine)
    long = " ".join(SENTENCES)
    ours.loglikelihood(request("loglikelihood", "The answer is", " no"))
    ours.generate_until(request("generate_until", "The", {"max_gen_toks": CONTEXT // 2 + 4}))
    assert (ours.cut, ours.halved, caplog.text) == (set(), 0, "")
    ours.loglikelihood(request("loglikelihood", long, " no"))
    assert ours.cut == {("t", 7)}
    ours.generate_until(request("generate_until", "The", {}))
    assert ours.halved == 1
    assert f"lm_eval:t asks for up to 256 new tokens, the context has {CONTEXT}: 1 of 1 texts get half" in caplog.text


def test_other_decoding_than_greedy_is_refused(both: tuple[Any, Any]) -> None:
    for wishes, told in (
        ({"do_sample": True}, "sampling"),
        ({"temperature": 0.7}, "sampling"),
        ({"num_beams": 4}, "num_beams=4"),
        ({"repetition_penalty": 1.2}, "repetition_penalty=1.2"),
    ):
        with pytest.raises(InputError, match=f"lm_eval:t wants {told}: engines here decode greedily"):
            both[1].generate_until(request("generate_until", "The", wishes))
    both[1].generate_until(request("generate_until", "The", {"repetition_penalty": 1.0, "max_gen_toks": 3}))
