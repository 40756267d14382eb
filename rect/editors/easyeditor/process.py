"""The worker's process as its parent sees it: started when it is first needed, ended with the editor that has it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from modelfolder.errors import InputError
from modelfolder.tensors import files
from rect.editors.easyeditor.environment import EasyEditorError, Environment
from rect.model import EditableModel

WORKER = Path(__file__).with_name("worker.py")
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # CUDA must not be touched before a process is forked
    "TOKENIZERS_PARALLELISM": "false",  # nor may there be threads
}
LOG_LINES = 25
SECONDS_TO_END = 2.0


class Worker:
    """EasyEdit with one model, in its environment.

    The worker reads requests from a pipe. It ends when that is closed, as the kernel does for a parent that is killed;
    its files go with it. It is in a session of its own, so that Ctrl-C in a terminal reaches the parent alone.

    Args:
        environment: where EasyEdit is.
        model: its folder, dtype and device are what the worker loads.

    Raises:
        InputError: the model cannot be edited there.
        EasyEditorError: the worker died.
    """

    def __init__(self, environment: Environment, model: EditableModel) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="easyeditor-"))
        self._log = log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        hidden = {"PYTHONPATH", "PYTHONHOME"}
        inherited = {key: value for key, value in os.environ.items() if key not in hidden}
        self._process = subprocess.Popen(
            [environment.python, "-I", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=self._folder,
            env={**inherited, **SETTINGS},
            start_new_session=True,
        )
        self._finalizer = weakref.finalize(self, _end, self._process, self._folder)  # also at the interpreter's exit
        device = model.device
        core = getattr(model.tokenizer, "backend_tokenizer", None)
        if core is None or model.folder is None:
            self.close()
            raise InputError(
                f"{model.name}: EasyEdit's environment needs a folder, and a tokenizer with a tokenizer.json"
            )
        core.save(str(self._folder / "tokenizer.json"))  # as it is used here: the worker reads no file of its own
        special = {role: getattr(model.tokenizer, role) for role in ("bos_token", "eos_token", "unk_token")}
        capped = model.hf.config._attn_implementation == "eager"
        self.library = self._ask(
            {
                "folder": str(self._folder),
                "model": str(model.folder),
                "weights": [file.name for file in files(model.folder)],
                "special": {role: token for role, token in special.items() if token is not None},
                "attention": "eager" if capped else None,
                "dtype": str(model.dtype).removeprefix("torch."),
                "device": "cpu" if device.type == "cpu" else f"{device.type}:{device.index or 0}",
                "threads": torch.get_num_threads(),
                "source": None if environment.checkout is None else str(environment.checkout),
            }
        )["library"]

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def edit(
        self,
        request: Mapping[str, Any],
        handed: Mapping[str, Mapping[str, Tensor]],
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, float]]:
        """One edit in a fresh state of the library.

        Args:
            request: see the worker's `Bench.edit`.
            handed: tensors by file and name, see there too.

        Returns:
            The tensors that the edit changed, as they are after it, on the CPU; the keys (facts, in) that the next
            operation is to know, by weight; and what it took: `seconds`, and `peak`, the bytes of memory that it added.

        Raises:
            InputError: something in the request cannot be used.
            EasyEditorError: EasyEdit failed, or its process died.
        """
        for file in self._folder.glob("*.safetensors"):
            file.unlink()
        for name, tensors in handed.items():
            file = self._folder / f"{name}.safetensors"
            safetensors.torch.save_file({key: t.cpu().contiguous() for key, t in tensors.items()}, file)
        took = self._ask(request)
        edited, keys = (
            safetensors.torch.load_file(self._folder / f"{name}.safetensors") for name in ("edited", "keys")
        )
        return edited, keys, took

    def close(self) -> None:
        """End the worker."""
        self._finalizer()

    def _ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # what it said before it went is read below
                self._process.stdin.write(json.dumps(message).encode() + b"\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BaseException:  # interrupted: its answer would be taken for that to the next request
            self.close()
            raise
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._died(), "trace": ""}
        if "refused" in answer:
            raise InputError(answer["refused"])
        if "error" in answer:
            error = EasyEditorError(answer["error"])
            error.add_note(answer["trace"] or self._log_tail())
            raise error
        return answer

    def _died(self) -> str:
        self.close()
        code = self._process.wait()
        return f"its worker {f'was killed by signal {-code}' if code < 0 else f'ended with exit code {code}'}"

    def _log_tail(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), 20_000, max(0, size - 20_000)).decode(errors="replace")
        return "\n".join(text.splitlines()[-LOG_LINES:])


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its session: the edit under way too
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
