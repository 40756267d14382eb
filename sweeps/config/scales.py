"""One configuration at several sizes: `scales` in the YAML names what `--scale` replaces.

scales:
  demo: {models: [smollm2-135m], tasks: {names: all, examples: 4}}
"""

from __future__ import annotations

from typing import Any

from modelfolder.errors import InputError, nearest

KEY = "scales"


def choose(
    data: dict[str, Any], lines: dict[str, int], scale: str | None, source: str
) -> tuple[dict[str, Any], dict[str, int]]:
    """The configuration at one of its scales: the keys under it replace those of the same name, whole.

    The name gets the scale as a suffix, so that results of different scales do not meet in one folder.

    Args:
        data: as read; not changed.
        lines: {dotted key: line}.
        scale: None for the configuration itself.
        source: the file.

    Returns:
        data and lines without `scales`.

    Raises:
        InputError: no such scale, or `scales` is not a mapping of mappings.
    """
    scales = data.get(KEY, {})
    where = f"{source}:{lines[KEY]}" if KEY in lines else source
    if not isinstance(scales, dict) or not all(isinstance(changes, dict) for changes in scales.values()):
        raise InputError(f"{where}: {KEY}: a mapping from a scale's name to the keys that it replaces is wanted")
    rest = {key: value for key, value in data.items() if key != KEY}
    kept = {key: line for key, line in lines.items() if key != KEY and not key.startswith(f"{KEY}.")}
    if scale is None:
        return rest, kept
    if scale not in scales:
        known = nearest(scale, scales, "there are ") if scales else "this configuration has none"
        raise InputError(f"{where}: --scale {scale}: no such scale; {known}")
    changes = scales[scale]
    prefix = f"{KEY}.{scale}."
    kept = {key: line for key, line in kept.items() if key.split(".")[0] not in changes}
    kept |= {key.removeprefix(prefix): line for key, line in lines.items() if key.startswith(prefix)}
    name = {} if "name" in changes or "name" not in rest else {"name": f"{rest['name']}-{scale}"}
    return {**rest, **changes, **name}, kept
