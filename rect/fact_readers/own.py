"""The project's own format: keys as `Fact`; the prompt holds {} or the subject itself."""

from __future__ import annotations

from rect.fact_readers.place import put
from rect.fact_readers.values import Record
from rect.facts import Fact


def read(record: Record, where: str) -> list[Fact]:
    """One fact."""
    data = dict(record)
    prompt, subject = data.get("prompt"), data.get("subject")
    if isinstance(prompt, str) and isinstance(subject, str) and subject.strip():
        data["prompt"], data["subject"] = put(prompt, subject)
    return [Fact(**data)]
