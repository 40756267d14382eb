"""Where EasyEdit is: a virtual environment that `make easyeditor` builds, and perhaps a checkout in its place.

What its table of methods holds is read from its source, so that nobody has to import it to know.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from modelfolder.errors import InputError
from rect import places

VERSION = "0.0.1.dev0"  # requirements/easyeditor-alone.txt
FOLDER = ".venv-easyeditor"
SOURCE_FOLDER = ".venv-easyeditor-source"  # around a checkout: requirements/easyeditor-source.txt
PREFIX = "easyeditor:"

METHODS = (
    *("AlphaEdit", "CORE", "EAMET", "EMMET", "FT", "KN", "LoRA", "MEMIT", "MEMIT-FE", "MEND", "PMET", "R-ROME", "ROME"),
    *("SPHERE", "ULTRAEDIT"),
)
"""Those that change weights; most are in newer source alone."""

WEIGHTLESS = {
    "DEFER": "it routes inputs to values beside a layer",
    "DeepEdit-Api": "it writes into the prompt of a model behind an API",
    "FT-Api": "it fine-tunes a model behind an API, whose weights nobody sees",
    "GRACE": "it looks activations up in a codebook",
    "ICE": "it writes facts into the prompt",
    "IKE": "it writes facts into the prompt",
    "MELO": "it switches adapters by the input",
    "MEMOIR": "it writes to a memory beside the weights, masked by the input",
    "SCR": "it writes facts that it looked up into the prompt",
    "SERAC": "it sends prompts in scope to a second model",
    "WISE": "it routes inputs to a side memory",
}
"""Why the others have no update that could be regularized."""

UNFIT = {
    "DINM": "it is given an unsafe answer and a safe one, not a fact",
    "DPO": "it is given an answer to turn away from beside the fact",
    "QLoRA": "it edits a copy of the model in 4 bits",
    "SimIE": "it merges another method's edits, which is the regularizer simie here",
}
"""Why some that change weights are not here."""


class EasyEditorError(InputError):
    """EasyEdit could not edit: its own error in one line; its traceback is a note of this exception."""


@dataclass(frozen=True)
class Environment:
    """What a worker is started from.

    Attributes:
        python: the environment's interpreter.
        package: folder of the library's source.
        checkout: the folder above it where that is a checkout (EASYEDITOR_PATH); None for the installed library.
    """

    python: Path
    package: Path
    checkout: Path | None = None

    @property
    def version(self) -> str:
        """What identities say: the installed version, or a digest of the checkout's source."""
        return source_version(self.checkout)

    def methods(self) -> tuple[str, ...]:
        """The names in the library's `ALG_DICT`, sorted; none where it cannot be read."""
        try:
            tree = ast.parse((self.package / "util" / "alg_dict.py").read_text(encoding="utf-8"))
        except (OSError, SyntaxError):
            return ()
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                if "ALG_DICT" in names:
                    keys = [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
                    return tuple(sorted(str(key) for key in keys))
        return ()


def find() -> Environment:
    """The environment, without starting anything.

    Looked for in EASYEDITOR_VENV, beside the project's folder, and beside the environment that runs this; for a
    checkout under another name first.

    Raises:
        InputError: there is none, or EASYEDITOR_PATH is no checkout.
    """
    named, checkout = os.environ.get("EASYEDITOR_VENV"), _checkout()
    names = (SOURCE_FOLDER, FOLDER) if checkout else (FOLDER,)
    beside = [root / name for name in names for root in (Path(__file__).resolve().parents[3], Path(sys.prefix).parent)]
    for folder in (places.expanded(named),) if named else beside:
        python = folder.absolute() / "bin" / "python"
        if checkout is not None and folder.is_dir():
            return Environment(python, checkout / "easyeditor", checkout)
        for package in folder.glob("lib/python*/site-packages/easyeditor"):
            return Environment(python, package)
    where = f"EASYEDITOR_VENV is {named}" if named else f"no {names[0]} beside the project"
    raise InputError(f"easyeditor has an environment of its own, which is not there ({where}): run `make easyeditor`")


def refusal(name: str) -> str | None:
    """Why a name that begins with "easyeditor:", or one of `WEIGHTLESS`, is no method here; None for all others."""
    method = name.removeprefix(PREFIX)
    by_lower = {known.lower(): known for known in (*METHODS, *WEIGHTLESS, *UNFIT)}
    known = by_lower.get(method.lower(), method)
    if known in WEIGHTLESS and not name.startswith(PREFIX):
        return f"{name} does not change weights ({WEIGHTLESS[known]}): there is no update to regularize"
    if not name.startswith(PREFIX) or method in METHODS:
        return None
    if known in WEIGHTLESS:
        return f"{PREFIX}{known} does not change weights ({WEIGHTLESS[known]}): there is no update to regularize"
    if known in UNFIT:
        return f"{PREFIX}{known} is not here: {UNFIT[known]}"
    if known in METHODS:
        return f"{name} is not known; did you mean '{PREFIX}{known}'?"
    return f"{name} is not known; of EasyEdit there are {', '.join(PREFIX + one for one in METHODS)}"


def source_version(checkout: Path | None = None) -> str:
    """The library's version as identities declare it, known without the environment."""
    checkout = checkout or _checkout()
    if checkout is None:
        return VERSION
    total = hashlib.sha256()
    for file in sorted((checkout / "easyeditor").rglob("*.py")):
        total.update(f"{file.relative_to(checkout)}\n".encode() + file.read_bytes())
    return f"source {total.hexdigest()[:16]}"


def _checkout() -> Path | None:
    named = os.environ.get("EASYEDITOR_PATH")
    if not named:
        return None
    folder = places.expanded(named).absolute()
    if not (folder / "easyeditor" / "util" / "alg_dict.py").is_file():
        raise InputError(f"EASYEDITOR_PATH is {named}: no checkout of EasyEdit (it has no easyeditor/util/alg_dict.py)")
    return folder
