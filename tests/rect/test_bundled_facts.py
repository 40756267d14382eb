"""The bundled facts: well-formed, subject in and answers out of the prompts, known to the default model."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import rect
from rect import fact_files
from rect.facts import Fact

FILE = Path(rect.__file__).parent / "data" / "facts.jsonl"
KEYS = {"id", "subject", "prompt", "target", "original", "rephrasings", "locality"}


def records() -> list[dict[str, Any]]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def names(text: str, words: str) -> bool:
    """Whether the words stand in the text, case folded, with no letter or digit next to them."""
    return re.search(rf"(?<!\w){re.escape(words.casefold())}(?!\w)", text.casefold()) is not None


def test_reader_returns_every_line() -> None:
    facts = fact_files.bundled()
    assert len(facts) == len(records()) >= 72
    assert all(isinstance(fact, Fact) for fact in facts)
    assert [fact.id for fact in facts] == [record["id"] for record in records()]


def test_records_have_the_documented_shape() -> None:
    for record in records():
        assert set(record) == KEYS, record["id"]
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", record["id"]), record["id"]
        assert record["prompt"].count("{}") == 1, record["id"]
        assert len(record["rephrasings"]) == len(record["locality"]) == 2, record["id"]
        assert all(set(place) == {"prompt", "answer"} for place in record["locality"]), record["id"]
        places = [text for place in record["locality"] for text in place.values()]
        for text in [*(record[key] for key in ("subject", "prompt", "target", "original")), *record["rephrasings"]]:
            assert text == " ".join(text.split()) != "", (record["id"], text)
        assert all(text == " ".join(text.split()) != "" for text in places), record["id"]


def test_prompts_hold_the_subject_and_no_answer() -> None:
    for record in records():
        filled = record["prompt"].replace("{}", record["subject"])
        prompts = [filled, *record["rephrasings"]]
        assert len(set(prompts)) == 3, record["id"]
        assert record["target"].casefold() != record["original"].casefold(), record["id"]
        for prompt in prompts:
            assert record["subject"] in prompt, (record["id"], prompt)
            assert not names(prompt, record["target"]), (record["id"], prompt)
            assert not names(prompt, record["original"]), (record["id"], prompt)
            assert prompt[-1].isalpha() or prompt.endswith(","), f"{record['id']}: must end right before the answer"


def test_locality_is_out_of_scope() -> None:
    for record in records():
        for place in record["locality"]:
            assert not names(place["prompt"], record["subject"]), (record["id"], place)
            assert not names(place["prompt"], place["answer"]), (record["id"], place)
            assert place["answer"] != record["target"], (record["id"], place)


def test_prompts_are_short() -> None:
    for record in records():
        texts = [record["prompt"], *record["rephrasings"], *(place["prompt"] for place in record["locality"])]
        assert max(len(text.split()) for text in texts) <= 20, record["id"]
        assert len(record["target"].split()) <= 4, record["id"]


def test_no_text_is_used_twice() -> None:
    data = records()
    for texts in (
        [record["id"] for record in data],
        [record["subject"].casefold() for record in data],
        [text for record in data for text in record["rephrasings"]],
        [place["prompt"] for record in data for place in record["locality"]],
    ):
        assert [text for text, count in Counter(texts).items() if count > 1] == []


def test_facts_are_varied() -> None:
    data = records()
    wordings = Counter(record["prompt"] for record in data)
    assert len(wordings) >= 0.75 * len(data)
    assert max(wordings.values()) <= 4
    places = [record["prompt"].index("{}") for record in data]
    assert sum(at == 0 for at in places) >= 15
    assert sum(at > 0 for at in places) >= 40
    assert sum(" " in record["subject"] for record in data) >= 20
    assert sum(" " in record["target"] for record in data) >= 20
    assert sum(not record["subject"].isascii() for record in data) >= 5


@pytest.mark.model
def test_default_model_knows_at_least_half(default_model_folder: Path) -> None:
    """Knows: the greedy continuation of the prompt starts with the original answer (stripped, case folded)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    facts = fact_files.bundled()
    tokenizer = AutoTokenizer.from_pretrained(default_model_folder, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(default_model_folder, dtype=torch.float32).eval()
    longest = max(len(tokenizer(f" {fact.original}").input_ids) for fact in facts)
    batch = tokenizer([fact.filled for fact in facts], return_tensors="pt", padding=True)
    with torch.inference_mode():
        output = model.generate(**batch, max_new_tokens=longest, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    texts = tokenizer.batch_decode(output[:, batch.input_ids.shape[1] :], skip_special_tokens=True)
    known = [
        fact.id
        for fact, text in zip(facts, texts, strict=True)
        if text.strip().casefold().startswith(str(fact.original).casefold())
    ]
    assert len(known) >= len(facts) / 2, f"{len(known)} of {len(facts)}"
