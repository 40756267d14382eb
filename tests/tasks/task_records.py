"""A few hand-written records of each data set's own form, and the files that the authors' layout keeps them in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tasks
from tasks.records import Example

RECORDS: dict[str, list[dict[str, Any]]] = {
    "reasoning": [
        {
            "question": "Tom has 3 apples and buys 15. How many now?",
            "answer": "3 + 15 = <<3+15=18>>18 apples.\n#### 18",
        },
        {"question": "A plane flies 2,000 miles and 125 more. How far?", "answer": "2,000+125=2,125\n#### 2,125"},
        {"question": "It is 4 degrees and falls by 9. How cold?", "answer": "4-9=-5\n#### -5"},
    ],
    "nli": [
        {"index": 0, "sentence1": "A man sleeps.", "sentence2": "Somebody sleeps.", "label": "entailment"},
        {"index": 1, "sentence1": "Rain fell in Ulm.", "sentence2": "Ulm stayed dry.", "label": "not_entailment"},
        {"index": 2, "sentence1": 'He said "no".', "sentence2": "He spoke.", "label": "entailment"},
    ],
    "open_domain_qa": [
        {"question": "who wrote faust", "answer": ["Goethe", "Johann Wolfgang von Goethe"], "output": ["\n\nA play."]},
        {"question": "who found x rays", "answer": ["Wilhelm R\u00f6ntgen"], "output": ["Found in 1895."]},
        {"question": "when was that", "answer": ["May 18 , 2018"], "output": ["Some day."]},
    ],
    "closed_domain_qa": [
        {"question": "is water wet", "title": "Water", "answer": True, "passage": "Water wets things."},
        {"question": "is the moon cheese", "title": "Moon", "answer": False, "passage": "The moon is rock."},
        {"question": "do cats bark", "title": "Cat", "answer": False, "passage": "Cats meow."},
    ],
    "dialogue": [
        {"answers": "A", "options": ["m : a", "m : b", "m : c", "m : d"], "article": "f : hello", "id": "dev_1"},
        {"answers": "B", "options": ["m : 1", "m : 2", "m : 3", "m : 4"], "article": "f : how much ?", "id": "dev_2"},
        {"answers": "D", "options": ["f : w", "f : x", "f : y", "f : z"], "article": "m : last ?", "id": "dev_3"},
    ],
    "summarization": [
        {"id": "1", "summary": "Ann will buy milk. ", "dialogue": "Ann: I buy milk\r\nBob: ok"},
        {"id": "2", "summary": "Tom is late for the meeting.", "dialogue": "Tom: late, sorry"},
        {"id": "3", "summary": "Zo\u00eb likes caf\u00e9s.", "dialogue": "Zo\u00eb: I like caf\u00e9s"},
    ],
    "ner": [
        {
            "tokens": ["Angela", "Merkel", "met", "IBM", "in", "Berlin", ",", "Germany", "."],
            "ner_tags": ["B-PER", "I-PER", "O", "B-ORG", "O", "B-LOC", "O", "B-LOC", "O"],
        },
        {"tokens": ["Nothing", "here", "."], "ner_tags": ["O", "O", "O"]},
        {"tokens": ["The", "German", "J\u00fcrgen", "won"], "ner_tags": ["O", "B-MISC", "B-PER", "O"]},
    ],
    "sentiment": [
        {"sentence": "a lovely film .", "label": 1},
        {"sentence": "dull and long .", "label": 0},
        {"sentence": '" great " , they said', "label": 1},
    ],
}

AUTHORS_FILES = {
    "reasoning": "test-reasoning.jsonl",
    "nli": "test-NLI.tsv",
    "open_domain_qa": "test-OpenDomainQA.jsonl",
    "closed_domain_qa": "test-ClosedDomainQA.jsonl",
    "dialogue": "test-dialogue",
    "summarization": "test-summarization.json",
    "ner": "test-NER.txt",
    "sentiment": "test-SentimentAnalysis.tsv",
}


def examples(name: str) -> list[Example]:
    """The examples of the hand-written records of a task."""
    task = tasks.get(name)
    return [example for i, record in enumerate(RECORDS[name]) for example in task.parse(record, str(i))]


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def write_authors_layout(folder: Path) -> None:
    """The records in the files and formats of the authors' release."""
    for name in ("reasoning", "open_domain_qa", "closed_domain_qa"):
        write_jsonl(folder / AUTHORS_FILES[name], RECORDS[name])
    (folder / AUTHORS_FILES["summarization"]).write_text(
        json.dumps(RECORDS["summarization"], indent=2), encoding="utf-8"
    )
    for name, columns in (("nli", ("index", "sentence1", "sentence2", "label")), ("sentiment", ("sentence", "label"))):
        lines = ["\t".join(columns), *("\t".join(str(r[c]) for c in columns) for r in RECORDS[name])]
        (folder / AUTHORS_FILES[name]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "test-dialogue").mkdir()
    for number, record in enumerate(RECORDS["dialogue"], start=1):
        form = json.dumps(record) if number % 2 else repr(record)  # the release's files are literals of Python
        (folder / "test-dialogue" / f"dev_{number}.txt").write_text(form, encoding="utf-8")
    lines = ["-DOCSTART- -X- -X- O", ""]
    for record in RECORDS["ner"]:
        lines += [f"{token} NN I-NP {tag}" for token, tag in zip(record["tokens"], record["ner_tags"], strict=True)]
        lines.append("")
    (folder / AUTHORS_FILES["ner"]).write_text("\n".join(lines[:-1]), encoding="utf-8")  # no blank line at the end
