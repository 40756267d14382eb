"""YAML files as plain data, with the line of every key; the one reader of those that people write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from modelfolder.errors import InputError

NOT_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""What PyYAML raises for bad texts; its faster reader, which is libyaml's, ends the process where one nests deeply."""


def mapping(path: Path) -> dict[Any, Any]:
    """The mapping in a YAML file."""
    return mapping_with_lines(path)[0]


def mapping_with_lines(path: Path) -> tuple[dict[Any, Any], dict[str, int]]:
    """The mapping in a YAML file, and {dotted key: line}.

    Raises:
        InputError: no such file, not YAML, a key given twice, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as text ({getattr(error, 'strerror', None) or error})") from None
    data, lines = read(text, str(path))
    if not isinstance(data, dict):
        raise InputError(f"{path}: a mapping of keys to values is wanted, found {type(data).__name__}")
    return data, lines


def read(text: str, source: str) -> tuple[Any, dict[str, int]]:
    """A YAML text as plain data, and {dotted key: line}.

    Raises:
        InputError: it is not YAML, or a key is given twice.
    """
    lines: dict[str, int] = {}
    try:
        loader = yaml.SafeLoader(text)
        if (root := loader.get_single_node()) is None:
            return None, {}
        _walk(root, "", lines, source, set())
        return loader.construct_document(root), lines
    except InputError:
        raise
    except NOT_YAML as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        why = getattr(error, "problem", None) or (str(error).splitlines() or [""])[0]
        raise InputError(f"{source}{f':{mark.line + 1}' if mark else ''}: not valid YAML: {why}") from None


def _walk(node: yaml.Node, prefix: str, lines: dict[str, int], source: str, seen: set[int]) -> None:
    """Notes the lines of what is in a node; what other places only refer to (`*name`) is walked once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    keys: set[str] = set()
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in keys:
                raise InputError(f"{source}:{line}: the key '{key.value}' is given twice")
            keys.add(str(key.value))
            dotted = f"{prefix}.{key.value}" if prefix else str(key.value)
            lines[dotted] = line
            _walk(value, dotted, lines, source, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            dotted = f"{prefix}.{index}" if prefix else str(index)
            lines[dotted] = value.start_mark.line + 1
            _walk(value, dotted, lines, source, seen)
