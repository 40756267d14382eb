"""Answers in a real browser: those of an edited model beside the unedited one's, and none of another edit set."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.report import webpage
from tests.sweeps.report import browser
from tests.sweeps.report.test_answers_told import material

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.find() is None, reason="no Chromium: apt-get install chromium"),
]


def test_answers_stand_beside_the_unedited_ones(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(webpage.render(material()), encoding="utf-8")
    with browser.Browser() as tab:
        tab.open(path, "document.documentElement.dataset.ready === 'yes'")
        told = _of(tab, "c")
        assert ["Paris" in one and "Rome" in one for one in told] == [True, False]
        assert "as before the edit (locality)" in told[1]
        (other,) = _of(tab, "d")  # it was not asked of the sun
        assert "Roma" in other
        assert tab.run("document.querySelectorAll('#answers td').length") == 2 * 9
        assert tab.errors() == []


def _of(tab: browser.Browser, cell: str) -> list[str]:
    """What is shown of a cell."""
    for control, value in (("example-task", "metric generation"), ("example-a", cell), ("example-b", cell)):
        change = f"node.value = {value!r}; node.dispatchEvent(new Event('change'))"
        tab.run(f"var node = document.getElementById('{control}'); {change}")
    return tab.run("[...document.querySelectorAll('#example-list article')].map(a => a.innerText)")
