"""A task that a model cannot be asked: its prompts hold a word that the tokenizer knows and the model does not."""

from __future__ import annotations

from pathlib import Path

from tests.tiny import save_tiny, tiny_model

WORD = "zyzzyva"
TASK = f"""
name: odd
prompt: "{WORD} {{country}} is"
answer: capital
rule: first-word
max_new_tokens: 3
examples:
  - {{country: France, capital: Paris}}
  - {{country: Peru, capital: Lima}}
"""


def save_model(folder: Path) -> Path:
    """A model whose tokenizer has a token more than it has embeddings."""
    save_tiny("llama", folder)
    _, tokenizer = tiny_model("llama")
    tokenizer.add_tokens([WORD])
    tokenizer.save_pretrained(folder)
    return folder


def save_task(folder: Path) -> Path:
    """The task's file."""
    file = folder / "odd.yaml"
    file.write_text(TASK)
    return file
