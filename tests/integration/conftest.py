"""What tests across the packages share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec
import pytest

from modelfolder.errors import InputError
from rect.editors.easyeditor import environment

WHY = "moto's S3 server and s3fs are optional: pip install -e '.[s3-test]'"


class Server:
    """moto's S3 server on loopback. Stopped and started again it has its port and what it held."""

    def __init__(self) -> None:
        self._of = pytest.importorskip("moto.server", reason=WHY).ThreadedMotoServer
        self.port = 0
        self.start()

    def start(self) -> None:
        self._running = self._of(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._running.start()
        _, self.port = self._running.get_host_and_port()

    def stop(self) -> None:
        self._running.stop()


@pytest.fixture(scope="module")
def s3_server() -> Iterator[Server]:
    """A server that this process and those that it starts find."""
    s3fs = pytest.importorskip("s3fs", reason=WHY)
    running = Server()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{running.port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # another module's server had another port
        yield running
        running.stop()


@pytest.fixture(scope="module")
def bucket(s3_server: Server) -> str:
    """URL of an empty bucket on an S3 protocol server on loopback; processes that are started find it too."""
    files: Any = fsspec.filesystem("s3")
    files.mkdir(f"bucket-{s3_server.port}")  # moto keeps what an earlier server of the process held
    return f"s3://bucket-{s3_server.port}"


@pytest.fixture(scope="session")
def easyeditor() -> environment.Environment:
    """EasyEdit's environment."""
    try:
        return environment.find()
    except InputError as error:
        pytest.skip(str(error))
