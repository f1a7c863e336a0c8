"""Every notebook runs from its .py source as a reader would run it, shows its figures and prints its answer."""

import base64
import sys
from pathlib import Path

import jupytext
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))


def test_there_is_a_notebook():
    assert SOURCES


@pytest.fixture
def this_python(tmp_path, monkeypatch):
    """A kernel that is the running interpreter, whatever kernels and profiles this machine has; returns its name."""
    spec = Path(write_kernel_spec(tmp_path / "jupyter" / "kernels" / "this-python"), "kernel.json")
    assert f'"{sys.executable}"' in spec.read_text()
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return "this-python"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebook_runs_shows_its_figures_and_prints_an_answer(source, this_python, tmp_path):
    notebook = jupytext.read(source)
    folder = tmp_path / "run"
    folder.mkdir()
    client = NotebookClient(notebook, timeout=300, kernel_name=this_python, resources={"metadata": {"path": folder}})
    try:
        client.execute()  # raises on the first cell that fails
    finally:
        jupytext.write(notebook, folder / f"{source.stem}.ipynb")

    executed = jupytext.read(folder / f"{source.stem}.ipynb")
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    said = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not said, f"a warning, or anything else on stderr: {said}"

    images = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    drawing = [cell for cell in cells if "wb.figures." in cell.source.splitlines()[-1]]
    assert drawing
    assert len(images) >= len(drawing)
    for cell in drawing:
        assert any("image/png" in output.get("data", {}) for output in cell.outputs), f"no figure under: {cell.source}"
    for image in images:
        assert base64.b64decode(image).startswith(b"\x89PNG")

    assert executed.cells[-1] is cells[-1], "the last cell computes the answer"
    printed = "".join(output.text for output in cells[-1].outputs if output.output_type == "stream")
    assert "Answer:" in printed
