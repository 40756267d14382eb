"""Prompts as messages: the tokenizer's own template, no token twice, the same on every day."""

from __future__ import annotations

from pathlib import Path

import pytest
import task_records
import transformers

import tasks
from tasks.engines.texts import Texts
from tests.tiny import save_tiny

TEMPLATE = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ bos_token }}[{{ date_string }}]{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% if enable_thinking is defined and enable_thinking %}think{% endif %}"
    "{% endif %}"
)


def texts(folder: Path, template: str | None = TEMPLATE) -> Texts:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return Texts(folder, transformers.AutoConfig.from_pretrained(folder), 256)


@pytest.mark.parametrize("tokenizer", ["byte-level", "metaspace"])
def test_a_message_in_the_template(tokenizer: str, tmp_path: Path) -> None:
    found = texts(save_tiny("llama", tmp_path, tokenizer=tokenizer))
    text = found.chat([{"role": "user", "content": "Is it {so}?"}])
    first = "" if tokenizer == "metaspace" else "<|endoftext|>"  # the metaspace tokenizer adds <s> by itself
    assert text == f"{first}[26 Jul 2024]<user>Is it {{so}}?<assistant>"
    (ids,) = found.encode([text])
    assert found.encode(text) == ids  # one text is no sequence of letters
    assert ids[0] == found.tokenizer.bos_token_id
    assert ids.count(found.tokenizer.bos_token_id) == 1
    begun = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "It"}]
    assert found.chat(begun, answers=False).endswith("<user>Is it?<assistant>It")


def test_a_template_that_is_missing_or_fails_is_named(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path)
    with pytest.raises(tasks.InputError, match="no chat template"):
        texts(folder, None).chat([{"role": "user", "content": "x"}])
    with pytest.raises(tasks.InputError, match="fails: only systems"):
        texts(folder, "{{ raise_exception('only systems') }}").chat([{"role": "user", "content": "x"}])


def test_a_task_in_chat_has_a_name_and_version_of_its_own() -> None:
    plain, chat = tasks.get("nli"), tasks.get("nli:chat")
    assert (chat.name, chat.version, chat.chat, plain.chat) == ("nli:chat", "1-chat", True, False)
    assert tasks.get("nli:likelihood:chat").version == "1-likelihood-2-chat"
    assert chat.in_chat() is chat
    example = task_records.examples("nli")[0]
    assert chat.prompt(example) == plain.prompt(example)
    assert tasks.get("open_domain_qa:chat").on("hub").version == "1-chat-closed-book"
    assert tasks.get("open_domain_qa").on("hub").version == "1-closed-book"
