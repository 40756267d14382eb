"""What is too long for a model, or has not the tokens that it should have, is found before anything is computed."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import normalizers

from modelfolder.errors import InputError
from rect import editors, evaluation, fact_files, facts, lengths, perplexity
from rect.corpus import Corpus
from rect.covariance import Recipe, accumulate
from rect.facts import Fact
from rect.model import EditableModel
from rect.prefixes import Prefixes
from tests.tiny import SENTENCES, tiny_config, tiny_model

CONTEXT = 64
LONG = " ".join(SENTENCES)
FACT = Fact(subject="France", prompt="The capital of {} is", target="Rome", original="Paris")
STEPS = {"mom2_adjustment": False, "layers": [1], "v_num_grad_steps": 2}
HPARAMS = {"rome": STEPS, "memit": STEPS, "kn": {"steps": 2}}


def changed(**values: Any) -> Fact:
    return Fact(**{**FACT.model_dump(), **values})


@pytest.fixture(scope="module", params=["gpt2", "llama", "mistral"])
def model(request: pytest.FixtureRequest) -> EditableModel:
    """Learned positions, rotary ones, and a sliding window, which is no limit."""
    family = request.param
    window = {"sliding_window": 16} if family == "mistral" else {}
    limit = {"n_positions" if family == "gpt2" else "max_position_embeddings": CONTEXT}
    return EditableModel(*tiny_model(family, **limit, **window))


@pytest.mark.parametrize("method", HPARAMS)
def test_no_editor_computes_anything_for_a_prompt_that_is_too_long(model: EditableModel, method: str) -> None:
    editor = editors.create(method, model, HPARAMS[method], ["{}"])
    seen: list[Any] = []
    hook = model.hf.register_forward_pre_hook(lambda *_: seen.append(1))
    told = rf"^fact 'The capital of France.*': the edit prompt with the target has \d+ tokens, .* context {CONTEXT}$"
    try:
        for fact in (changed(prompt="The capital of {} " + LONG), changed(target=LONG)):
            with pytest.raises(InputError, match=told):
                editor.compute(model, [fact])
    finally:
        hook.remove()
    assert not seen
    assert len(editor.compute(model, [FACT])) >= 0


def test_a_prefix_that_leaves_no_room_is_named(model: EditableModel) -> None:
    editor = editors.create("rome", model, STEPS, ["{}", LONG + ". {}"])
    with pytest.raises(InputError, match=r"the edit prompt behind the context prefix 'The capital.*' with the target"):
        editor.compute(model, [FACT])


def test_kn_asks_with_the_old_answer_and_rephrasings_too(model: EditableModel) -> None:
    for hparams, fact in (
        ({"steps": 2}, changed(original=LONG)),
        ({"steps": 2, "refine": True}, changed(rephrasings=(LONG,))),
    ):
        with pytest.raises(InputError, match=r"^fact 'The capital of France is': .* with the answer has \d+ tokens"):
            editors.create("kn", model, hparams).compute(model, [fact])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"prompt": LONG + "{} is"}, "edit prompt 1"),
        ({"original": LONG}, "edit prompt 1"),
        ({"rephrasings": ("Of France the capital is", LONG)}, "rephrasing 2"),
    ],
)
def test_evaluation_names_fact_and_prompt(model: EditableModel, values: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=rf"^fact '.*': {told} has \d+ tokens, the model's context {CONTEXT}$"):
        evaluation.evaluate(model, [FACT, changed(**values)])


def test_the_baseline_names_fact_and_prompt(model: EditableModel) -> None:
    fact = changed(locality=({"prompt": "Water boils at"}, {"prompt": LONG, "answer": "no"}))
    for call in (evaluation.locality_baseline, lambda m, f: evaluation.evaluate(m, f, evaluation.Baseline(((),)))):
        with pytest.raises(InputError, match=r"locality prompt 2 has \d+ tokens"):
            call(model, [fact])


def test_texts_windows_and_prefixes(model: EditableModel) -> None:
    assert perplexity.perplexity(model, [LONG])[1] > CONTEXT  # windows of the model's context
    calls: list[Callable[[], Any]] = [
        lambda: perplexity.perplexity(model, [LONG], window=CONTEXT + 1),
        lambda: perplexity.next_token_log_probabilities(model, ["Short", LONG]),
        lambda: Prefixes.sample(model, lengths=[(CONTEXT + 1, 1)]),
    ]
    for call in calls:
        with pytest.raises(InputError, match=rf"has \d+ tokens, the model's context {CONTEXT}$"):
            call()
    with pytest.raises(InputError, match="prompt '' has no tokens"):
        perplexity.next_token_log_probabilities(model, [""])


def test_the_covariance_reads_windows_of_the_context(model: EditableModel, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(SENTENCES * 3))
    rows = [row for batch in Recipe("m", Corpus(str(path)), "all").batches(model, 10) for row in batch]
    assert max(map(len, rows)) == CONTEXT
    assert accumulate(model, [1], itertools.islice([[row] for row in rows], 2)).tokens == 2 * CONTEXT


def test_what_just_fits_is_computed(model: EditableModel) -> None:
    tokens = len(model.tokenizer(FACT.filled + " Rome")["input_ids"]) - 1
    assert lengths.trouble(model.tokenizer, tokens, FACT) is None
    assert "tokens, the model's context" in str(lengths.trouble(model.tokenizer, tokens - 1, FACT))
    assert lengths.trouble(model.tokenizer, tokens, FACT, room=1) is not None
    assert lengths.trouble(model.tokenizer, None, changed(prompt=LONG + "{}")) is None


def test_tokens_that_are_lost() -> None:
    """A tokenizer whose normalizer drops a character, as those of SentencePiece drop some."""
    tokenizer = copy.deepcopy(tiny_model("gpt2")[1])
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("€", "")
    model = EditableModel(tiny_model("gpt2")[0], tokenizer)
    for values, told in (
        ({"subject": "€"}, "the subject '€' has no tokens of its own"),
        ({"target": "€"}, "the target '€' has no tokens"),
    ):
        with pytest.raises(InputError, match=told):
            editors.create("rome", model, STEPS, ["{}"]).compute(model, [changed(**values)])
    assert lengths.trouble(tokenizer, 64, changed(subject="€uro")) is None


def test_what_is_no_fact_is_said(model: EditableModel) -> None:
    given: Any = [FACT.model_dump()]
    with pytest.raises(InputError, match=r"a rect\.Fact is wanted to edit, not dict"):
        editors.create("rome", model, STEPS, ["{}"]).compute(model, given)


def test_a_fact_knows_its_line_and_is_no_other_for_it(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text("\n" + FACT.model_dump_json(exclude_none=True) + "\n")
    (read,) = fact_files.load(path)
    assert read.shown == f"{path}, line 2"
    assert FACT.shown == "fact 'The capital of France is'"
    assert (read, hash(read), facts.digest([read])) == (FACT, hash(FACT), facts.digest([FACT]))
    assert copy.deepcopy(read).shown == read.shown
    assert read != changed(target="Oslo")


def test_draws_pass_over_what_does_not_fit() -> None:
    many = [changed(target=str(i)) for i in range(6)]
    whole = facts.draw(many, 3, 6)
    gone = {many.index(whole[1]), many.index(whole[2])}
    assert facts.draw(many, 3, 4, gone) == [whole[0], *whole[3:]]
    assert facts.draw(many, 3, 5, gone)[4] == whole[0]
    with pytest.raises(InputError, match="the edit set is empty"):
        facts.draw(many, 3, 1, range(6))


def test_the_context_is_what_the_config_says() -> None:
    assert lengths.context(tiny_config("gpt2", n_positions=77)) == 77
    assert lengths.context(tiny_config("mistral", sliding_window=8)) == 256
