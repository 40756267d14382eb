"""A plugin of pytest that leaves what was found on a machine in one file, to be sent back: `--bundle FOLDER`."""

from __future__ import annotations

import json
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("torch", "transformers", "safetensors", "ray", "vllm")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bundle", help="folder in which the verdicts are left, one file a run")


def pytest_configure(config: pytest.Config) -> None:
    if folder := config.getoption("--bundle"):
        config.pluginmanager.register(Bundle(Path(folder)))


class Bundle:
    """Verdict, seconds and figures of each test, beside the machine they were found on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.began = time.strftime("%Y%m%d-%H%M%S")
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        entry = self.tests.setdefault(report.nodeid, {"verdict": "passed", "seconds": 0.0, "figures": {}})
        entry["seconds"] = round(entry["seconds"] + report.duration, 2)
        entry["figures"] |= dict(report.user_properties)
        if not report.passed:
            entry["verdict"] = report.outcome
            entry["why"] = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{self.began}.json"
        found = {"machine": machine(), "tests": self.tests}
        file.write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")
        terminalreporter.section("verdicts")
        for name, entry in self.tests.items():
            figures = ", ".join(f"{key} {value}" for key, value in entry["figures"].items())
            terminalreporter.line(f"{entry['verdict']:>7}  {entry['seconds']:7.1f} s  {name}  {figures}".rstrip())
        terminalreporter.line(f"{file} holds all of this, and why what failed did: please send it back")


def machine() -> dict[str, Any]:
    """Cards, driver and versions."""
    import torch

    cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "cards": [{"name": c.name, "GiB": round(c.total_memory / 2**30, 1), "sm": [c.major, c.minor]} for c in cards],
        "cuda": torch.version.cuda,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": versions,
    }
