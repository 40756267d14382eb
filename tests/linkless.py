"""A file system without hard links: a folder seen through a FUSE mount, served by a process of its own.

    with linkless.mounted(mountpoint, folder): ...

It speaks the kernel's protocol (version 7.31, `include/uapi/linux/fuse.h`) as far as files, folders and renames need
it; whatever else is asked for it does not have, links among them. Needs /dev/fuse and the right to mount.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
DETACH = 2  # of umount2: go as soon as nobody is in it

HEADER = struct.Struct("<IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
ATTRIBUTES = struct.Struct("<6Q10I")
SET_MODE, SET_SIZE, SET_ATIME, SET_MTIME, SET_NOW = 1, 8, 16, 32, 256
BUFFER = 1 << 18


@contextlib.contextmanager
def mounted(mountpoint: Path, folder: Path) -> Iterator[None]:
    """Raises PermissionError or FileNotFoundError where no such mount can be made here."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    if LIBC.mount(b"linkless", os.fsencode(mountpoint), b"fuse", 0, options.encode()):
        os.close(device)
        raise PermissionError(ctypes.get_errno(), "mount")
    server = subprocess.Popen([sys.executable, __file__, str(folder), str(device)], pass_fds=[device])
    os.close(device)
    try:
        yield
    finally:
        LIBC.umount2(os.fsencode(mountpoint), DETACH)
        server.terminate()
        server.wait()


class Served:
    """The folder's files by the numbers that the kernel knows them under."""

    def __init__(self, folder: str) -> None:
        self.paths = {1: folder}

    def entry(self, path: str) -> bytes:
        """A file as the kernel is told of it by its name; what it is told it asks for again at once."""
        found = os.lstat(path)
        node = found.st_ino + 1  # 1 is the root's
        self.paths[node] = path
        return struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + self.attributes(found, node)

    def attributes(self, found: os.stat_result, node: int) -> bytes:
        times = [getattr(found, f"st_{which}time_ns") for which in "amc"]
        seconds, parts = zip(*(divmod(each, 10**9) for each in times), strict=True)
        numbers = found.st_mode, found.st_nlink, found.st_uid, found.st_gid, 0, 4096, 0
        return ATTRIBUTES.pack(node, found.st_size, found.st_blocks, *seconds, *parts, *numbers)

    def in_folder(self, node: int, name: bytes) -> str:
        return os.path.join(self.paths[node], os.fsdecode(name))

    def answer(self, opcode: int, node: int, data: bytes) -> bytes | None:
        """What the kernel is told, None where it waits for nothing. Raises OSError: told as its number."""
        told: Any = getattr(self, NAMES.get(opcode, ""), None)
        if told is None:
            raise OSError(errno.ENOSYS, "")
        answer: bytes | None = told(node, data)
        return answer

    def init(self, node: int, data: bytes) -> bytes:
        return struct.pack("<IIIIHHIIHHI", 7, 31, 0, 0, 1, 1, 1 << 16, 1, 16, 0, 0) + bytes(28)

    def forget(self, node: int, data: bytes) -> None:
        return None

    def lookup(self, node: int, data: bytes) -> bytes:
        return self.entry(self.in_folder(node, data[:-1]))

    def getattr(self, node: int, data: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + self.attributes(os.lstat(self.paths[node]), node)

    def setattr(self, node: int, data: bytes) -> bytes:
        which, _, _, size, _, atime, mtime, _, a_ns, m_ns, _, mode = struct.unpack_from("<IIQQQQQQIIII", data)
        path = self.paths[node]
        if which & SET_MODE:
            os.chmod(path, stat.S_IMODE(mode))
        if which & SET_SIZE:
            os.truncate(path, size)
        if which & (SET_ATIME | SET_MTIME):
            os.utime(path, None if which & SET_NOW else (atime + a_ns / 1e9, mtime + m_ns / 1e9))
        return self.getattr(node, data)

    def mkdir(self, node: int, data: bytes) -> bytes:
        mode, mask = struct.unpack_from("<II", data)
        path = self.in_folder(node, data[8:-1])
        os.mkdir(path, mode & ~mask)
        return self.entry(path)

    def unlink(self, node: int, data: bytes) -> bytes:
        os.unlink(self.in_folder(node, data[:-1]))
        return b""

    def rmdir(self, node: int, data: bytes) -> bytes:
        os.rmdir(self.in_folder(node, data[:-1]))
        return b""

    def rename(self, node: int, data: bytes, at: int = 8) -> bytes:
        old, new, _ = data[at:].split(b"\0")
        target = self.in_folder(struct.unpack_from("<Q", data)[0], new)
        os.rename(self.in_folder(node, old), target)
        self.entry(target)
        return b""

    def rename2(self, node: int, data: bytes) -> bytes:
        if struct.unpack_from("<I", data, 8)[0]:
            raise OSError(errno.EINVAL, "")  # without replacing: not here either
        return self.rename(node, data, 16)

    def open(self, node: int, data: bytes) -> bytes:
        flags = struct.unpack_from("<I", data)[0] & ~(os.O_CREAT | os.O_EXCL | os.O_APPEND)
        return struct.pack("<QII", os.open(self.paths[node], flags), 1, 0)  # 1: not through the kernel's cache

    def create(self, node: int, data: bytes) -> bytes:
        flags, mode, mask, _ = struct.unpack_from("<IIII", data)
        path = self.in_folder(node, data[16:-1])
        opened = os.open(path, (flags | os.O_CREAT) & ~os.O_APPEND, mode & ~mask)
        return self.entry(path) + struct.pack("<QII", opened, 1, 0)

    def read(self, node: int, data: bytes) -> bytes:
        opened, offset, size = struct.unpack_from("<QQI", data)
        return os.pread(opened, size, offset)

    def write(self, node: int, data: bytes) -> bytes:
        opened, offset, size = struct.unpack_from("<QQI", data)
        return struct.pack("<II", os.pwrite(opened, data[40 : 40 + size], offset), 0)

    def flush(self, node: int, data: bytes) -> bytes:
        return b""

    def fsync(self, node: int, data: bytes) -> bytes:
        os.fsync(struct.unpack_from("<Q", data)[0])
        return b""

    def release(self, node: int, data: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", data)[0])
        return b""

    def opendir(self, node: int, data: bytes) -> bytes:
        os.scandir(self.paths[node]).close()
        return struct.pack("<QII", 0, 0, 0)

    def readdir(self, node: int, data: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", data)
        found = b""
        for at, name in enumerate(sorted(os.listdir(os.fsencode(self.paths[node])))[offset:], offset + 1):
            kind = stat.S_IFMT(os.lstat(self.in_folder(node, name)).st_mode) >> 12
            one = struct.pack("<QQII", at + 1, at, len(name), kind) + name
            one += bytes(-len(one) % 8)
            if len(found) + len(one) > size:
                break
            found += one
        return found

    releasedir = flush

    def statfs(self, node: int, data: bytes) -> bytes:
        of = os.statvfs(self.paths[1])
        return struct.pack(
            "<5QIIII", of.f_blocks, of.f_bfree, of.f_bavail, of.f_files, of.f_ffree, of.f_bsize, 255, of.f_frsize, 0
        ) + bytes(24)


NAMES = {
    1: "lookup", 2: "forget", 3: "getattr", 4: "setattr", 9: "mkdir", 10: "unlink", 11: "rmdir", 12: "rename",
    14: "open", 15: "read", 16: "write", 17: "statfs", 18: "release", 20: "fsync", 25: "flush", 26: "init",
    27: "opendir", 28: "readdir", 29: "releasedir", 35: "create", 36: "forget", 42: "forget", 45: "rename2",
}  # fmt: skip
"""Of the kernel's operations those that it has; 13 is a link."""


def serve(folder: str, device: int) -> None:
    served = Served(folder)
    while True:
        try:
            request = os.read(device, BUFFER)
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return
            continue
        _, opcode, unique, node, *_ = HEADER.unpack_from(request)
        number = 0
        try:
            told = served.answer(opcode, node, request[HEADER.size :])
        except OSError as error:
            told, number = b"", error.errno or errno.EIO
        if told is not None:
            with contextlib.suppress(FileNotFoundError):  # whoever asked was killed
                os.write(device, struct.pack("<IiQ", 16 + len(told), -number, unique) + told)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
