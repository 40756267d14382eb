"""The notebook in docs/ runs from top to bottom, as a reader would run it."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FILE = Path(__file__).resolve().parents[2] / "docs" / "from-one-edit-to-the-trade-off.ipynb"


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(FILE, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells)


@pytest.mark.slow
@pytest.mark.model
def test_it_runs(default_model_folder: Path) -> None:
    notebook = nbformat.read(FILE, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()  # raises with the cell that failed
    texts = [
        str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    ]
    whole = "\n".join(texts)
    lines = whole.splitlines()
    (edited,) = [line for line in lines if line.startswith("edited:")]
    (restored,) = [line for line in lines if line.startswith("restored:")]
    assert "Rome" in edited
    assert "Paris" in restored
    assert "random" in whole
    pictures = [o for cell in notebook.cells for o in cell.get("outputs", ()) if "image/png" in o.get("data", {})]
    assert len(pictures) == 2
