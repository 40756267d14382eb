"""What tests across the packages share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec
import pytest

from modelfolder.errors import InputError
from rect.editors.easyeditor import environment

WHY = "moto's S3 server and s3fs are optional: pip install -e '.[s3-test]'"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """URL of an empty bucket on an S3 protocol server on loopback; processes that are started find it too."""
    s3fs = pytest.importorskip("s3fs", reason=WHY)
    server = pytest.importorskip("moto.server", reason=WHY)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # another module's server had another port
        files: Any = fsspec.filesystem("s3")
        files.mkdir(f"bucket-{port}")  # moto keeps what an earlier server of the process held
        yield f"s3://bucket-{port}"
        running.stop()


@pytest.fixture(scope="session")
def easyeditor() -> environment.Environment:
    """EasyEdit's environment."""
    try:
        return environment.find()
    except InputError as error:
        pytest.skip(str(error))
