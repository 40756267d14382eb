"""Tensors as a safetensors file that lives in memory and has no name that could be left behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def memory_file(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Path under which processes of this user on this machine can read the tensors while the context lasts.

    The file is anonymous memory (memfd_create) reached through /proc: the kernel frees it when its last user ends, in
    whatever way. Who has mapped it keeps a valid map when the context ends. Where the system has no memfd (macOS) it is
    a temporary file, removed at the end of the context.
    """
    from safetensors.torch import save

    content = save(dict(tensors))
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as named:
            named.write(content)
            named.flush()
            yield named.name
        return
    descriptor = os.memfd_create("changed-tensors", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        del content
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)
