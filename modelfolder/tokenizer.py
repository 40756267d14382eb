"""The tokenizer of a model folder: the one place that loads one, for the edited model and for every engine.

Libraries may build a tokenizer anew by the class that a folder names, and that class may be the wrong one. So what is
loaded is held against the folder's own `tokenizer.json`, and what is encoded must come back when it is decoded.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError, reason

if TYPE_CHECKING:
    import tokenizers

log = logging.getLogger(__name__)

PROBES = (
    "The capital of France is Rome, and 12 apples cost $3.50.",
    "It's what we'll see: she DIDN'T, he'd've (perhaps) e-mailed_it...",
    " two  spaces,   three\tand tabs\n\n  then lines \n",
    "0123456789 2024-11-25 1,000,000 3.14159",
    "Café naïve Zürich São Paulo Ångström œuvre",
    "東京は日本の首都です。北京 是 中国的首都 서울",
    "🙂 👩‍🚀🇫🇷 ok",
    "Привет, мир! مرحبا שלום Ελλάδα",
    'def f(x): return {"a": [1, 2], "b": x[0]}',
)
BEGUN_FAMILIES = ("mistral", "gemma", "gemma2", "gemma3_text")  # whose texts all begin with a token of their own
BEGINNINGS = ("<s>", "<bos>", "<|begin_of_text|>", "<｜begin▁of▁sentence｜>")  # tokens that were made for it


def load(folder: str | Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model folder, as transformers wraps it.

    - Its ids are those of the folder's tokenizer.json, where there is one.
    - Special tokens may stand before a text, never behind it, whatever the folder's post-processor says.
    - A text that is encoded and decoded comes back, up to the tokenizer's own normalization.

    Args:
        folder: the model folder.
        trust_remote_code: run Python code that comes with the folder.

    Raises:
        InputError: there is none, it cannot be loaded, or it is not what the folder says.
    """
    folder = Path(folder)
    if (folder / "tokenizer.json").is_file():
        found = _as_in_file(folder, trust_remote_code)
    else:
        import transformers

        try:
            found = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        except Exception as error:  # from a broken file to a missing package
            raise InputError(f"{folder}: cannot load the tokenizer ({reason(error)})") from error
    found.clean_up_tokenization_spaces = False  # it would take away spaces before punctuation in what is decoded
    _end_bare(found, folder)
    _check_return(found, folder)
    _warn_of_beginning(found, folder)
    return found


def _as_in_file(folder: Path, trust_remote_code: bool) -> Any:
    """A tokenizer that gives the ids of tokenizer.json: by the class that the folder names, or else by none."""
    import transformers

    own = _own(folder)
    found, differing = _held(own, folder, transformers.AutoTokenizer, trust_remote_code=trust_remote_code)
    if differing is not None:
        log.warning(
            "%s: the tokenizer's class that it names does not give the ids of tokenizer.json (%s): tokenizer.json is "
            "taken as it is", folder, differing,
        )  # fmt: skip
        found, differing = _held(own, folder, transformers.PreTrainedTokenizerFast)
    if differing is not None:
        raise InputError(
            f"{folder}: its tokenizer cannot be loaded so that it gives the ids of tokenizer.json ({differing}); "
            f"save it anew with the library that made it"
        )
    return found


def _held(own: tokenizers.Tokenizer, folder: Path, loader: Any, **how: Any) -> tuple[Any, str | None]:
    """A tokenizer, and where it differs from tokenizer.json: a wrong class may not even be able to read a text."""
    try:
        found = loader.from_pretrained(folder, **how)
        if found.is_fast:
            _undropped(found.backend_tokenizer)
        return found, _differing(found, own, folder)
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise InputError(f"{folder}: cannot load the tokenizer ({reason(error)})") from error
        return None, reason(error)


def _own(folder: Path) -> tokenizers.Tokenizer:
    import tokenizers

    try:
        own = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises no class of its own
        raise InputError(f"{folder / 'tokenizer.json'}: not a tokenizer ({reason(error)})") from error
    own.no_truncation()
    own.no_padding()
    _undropped(own)
    return own


def _undropped(core: tokenizers.Tokenizer) -> None:
    """Without the dropping of merges that is made for training: ids would differ from call to call."""
    if getattr(core.model, "dropout", None):
        core.model.dropout = None


def _differing(found: Any, own: tokenizers.Tokenizer, folder: Path) -> str | None:
    """A probe of which tokenizer.json has other ids, if there is one.

    What stands before a text is compared where tokenizer_config.json leaves it to tokenizer.json: a folder that says
    `add_bos_token` means it.
    """
    said = _json(folder / "tokenizer_config.json").get("add_bos_token") is not None
    for text in PROBES:
        if _plain(found, text) != own.encode(text, add_special_tokens=False).ids:
            return repr(text)
    theirs = own.encode(PROBES[0], add_special_tokens=False).ids
    whole = own.encode(PROBES[0]).ids
    before = next((whole[:i] for i in range(len(whole)) if whole[i : i + len(theirs)] == theirs), None)
    if not said and before is not None and _around(found, PROBES[0], folder)[0] != before:
        return f"before {PROBES[0]!r}"
    return None


def _plain(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _around(tokenizer: Any, text: str, folder: Path) -> tuple[list[int], list[int]]:
    """The special tokens that stand before a text, and behind it."""
    plain, whole = _plain(tokenizer, text), list(tokenizer(text)["input_ids"])
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start], whole[start + len(plain) :]
    raise InputError(f"{folder}: its tokenizer puts special tokens within a text, where none can stand")


def _end_bare(tokenizer: Any, folder: Path) -> None:
    """Have nothing special stand behind a text: a prompt that is ended is continued by no model."""
    if not _around(tokenizer, PROBES[0], folder)[1]:
        return
    if tokenizer.is_fast:
        import tokenizers

        core = json.loads(tokenizer.backend_tokenizer.to_str())
        core["post_processor"] = _without_end(core["post_processor"])
        tokenizer.backend_tokenizer.post_processor = tokenizers.Tokenizer.from_str(json.dumps(core)).post_processor
    else:
        tokenizer.add_eos_token = False
    if _around(tokenizer, PROBES[0], folder)[1]:
        raise InputError(f"{folder}: its tokenizer puts special tokens behind every text, and cannot be told not to")


def _without_end(processor: dict[str, Any]) -> dict[str, Any]:
    """A post-processor, as tokenizer.json writes it, without what it puts behind a text."""
    kind = processor["type"]
    if kind == "Sequence":
        return {**processor, "processors": [_without_end(part) for part in processor["processors"]]}
    if kind in ("BertProcessing", "RobertaProcessing"):  # [CLS] text [SEP]
        token, number = processor["cls"]
        first = {"SpecialToken": {"id": token, "type_id": 0}}
        text, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
        known = {token: {"id": token, "ids": [number], "tokens": [token]}}
        return {
            "type": "TemplateProcessing",
            "single": [first, text],
            "pair": [first, text, first, second],
            "special_tokens": known,
        }
    if kind != "TemplateProcessing":
        return processor
    single = processor["single"]
    last = max(i for i, piece in enumerate(single) if "Sequence" in piece)
    return {**processor, "single": single[: last + 1]}


def _check_return(tokenizer: Any, folder: Path) -> None:
    """Raise InputError where decoding does not bring a probe back; what a vocabulary cannot say is not asked of it."""
    normalizer = tokenizer.backend_tokenizer.normalizer if tokenizer.is_fast else None

    def normal(text: str) -> str:
        return (text if normalizer is None else normalizer.normalize_str(text)).lstrip(" ▁")

    for number, text in enumerate(PROBES):
        ids = _plain(tokenizer, text)
        unknown = tokenizer.unk_token_id
        if number and unknown is not None and unknown in ids:
            continue
        back = str(tokenizer.decode(ids, skip_special_tokens=True))
        if normal(back) != normal(text):
            raise InputError(f"{folder}: its tokenizer does not give a text back: {text!r} comes back as {back!r}")


def _warn_of_beginning(tokenizer: Any, folder: Path) -> None:
    """Say so where texts should begin with a token that the tokenizer does not put there."""
    family, token = _json(folder / "config.json").get("model_type"), tokenizer.bos_token
    wanted = family in BEGUN_FAMILIES or token in BEGINNINGS
    if wanted and not _around(tokenizer, PROBES[0], folder)[0]:
        log.warning(
            "%s: its tokenizer puts no beginning token (%s) before a text, though models of its kind (%s) are trained "
            "with one: numbers will be those of a handicapped model; add_bos_token or the post-processor sets it",
            folder, token or "none is named", family,
        )  # fmt: skip


def _json(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
