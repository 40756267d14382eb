"""Repositories of the Hugging Face hub, downloaded or found in its cache, with errors in one line."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelfolder.errors import InputError, reason

TIMEOUT = 10  # seconds that the hub may take to answer


def is_id(name: str) -> bool:
    """Whether a name can be one on the hub: owner/name, or the bare name of one of the oldest models (gpt2)."""
    return re.fullmatch(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*", name) is not None


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Within it the hub's libraries use what is in their caches and ask nobody, as under HF_HUB_OFFLINE=1."""
    name = "HF_HUB_OFFLINE"
    modules = ("huggingface_hub.constants", "datasets.config")  # they read the environment once, at their import
    before, was = os.environ.get(name), {key: vars(sys.modules[key])[name] for key in modules if key in sys.modules}
    os.environ[name] = "1"
    for key in was:
        setattr(sys.modules[key], name, True)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
        usual = (before or "").upper() in ("1", "ON", "YES", "TRUE")
        for key in modules:
            if key in sys.modules:
                setattr(sys.modules[key], name, was.get(key, usual))


def snapshot(
    name: str,
    kind: str = "model",
    revision: str | None = None,
    wanted: Sequence[str] = (),
    unwanted: Sequence[str] = (),
) -> Path:
    """Download the wanted files of a repository, or find them in the hub's cache. HF_TOKEN opens gated repositories.

    Args:
        name: its id.
        kind: "model" or "dataset".
        revision: branch, tag or commit.
        wanted, unwanted: patterns of file names.

    Raises:
        InputError: there is no such repository or revision, it is gated, or the hub cannot be reached.
    """
    from huggingface_hub import errors, snapshot_download

    what = f"{'data set' if kind == 'dataset' else kind} {name!r}"
    try:
        path = snapshot_download(
            name,
            repo_type=kind,
            revision=revision,
            allow_patterns=list(wanted),
            ignore_patterns=list(unwanted),
            etag_timeout=TIMEOUT,
        )
    except errors.GatedRepoError:
        raise InputError(
            f"{what} is gated: accept its licence on its page on the hub, then set HF_TOKEN to a token of yours"
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{what} has no revision {revision!r} on the hub") from None
    except errors.RepositoryNotFoundError:
        raise InputError(f"{what}: no such folder, nor is it on the hub (if it is private, set HF_TOKEN)") from None
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise InputError(
            f"{what}: no such folder, not in the hub's cache, and the hub cannot be reached ({reason(error)})"
        ) from None
    return Path(path)


def is_commit(revision: str) -> bool:
    """Whether a revision names content that cannot change."""
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def commit_here(name: str, revision: str | None = None) -> str | None:
    """The commit that the hub's cache on this machine has of a model; None where it has none. Asks nobody."""
    from huggingface_hub import try_to_load_from_cache

    if revision is not None and is_commit(revision):
        return revision
    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else None
