"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """Let Ctrl-C interrupt, here and in processes that tests start (a job in the background begins by ignoring it),
    and share the machine's cores with the tests that run besides.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:  # one of several on this machine
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's processes would wait for the other tests


def _shared(folder: str) -> Path:
    root = Path(os.environ.get("RECT_SWEEPS_SHARED", REPOSITORY.parent / "shared"))
    path = root / folder
    if not path.is_dir():
        pytest.skip(f"{path} is missing: samples of the real data and reference numbers are not part of the project")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with small samples of the real data sets (never committed)."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_oracle() -> Path:
    """Folder with reference numbers of an independent implementation of ROME and MEMIT."""
    return _shared("oracle")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Covariances and digests of the tests' models are theirs; the default model is converted for everybody."""
    from rect.cache import cache_folder

    models, own = cache_folder() / "models", tmp_path_factory.mktemp("cache")
    models.mkdir(parents=True, exist_ok=True)
    (own / "models").symlink_to(models)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECT_SWEEPS_CACHE", str(own))
        yield


@pytest.fixture(scope="session")
def default_model_folder() -> Path:
    """The default model, converted once into the cache folder."""
    from rect import models

    return models.resolve(models.DEFAULT)


@pytest.fixture(scope="session")
def gemma_folder() -> Path:
    """Gemma 3 270M, where it is in the cache: it comes under terms that whoever fetches it agrees to."""
    from rect import models

    if models.here("gemma-3-270m") is None:
        pytest.skip("gemma-3-270m is not here: sweeps models get gemma-3-270m")
    return models.resolve("gemma-3-270m")
