"""Every notebook runs from its .py source as a reader would run it, shows its figures and prints its answer."""

import base64
import json
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


# ---- JupyterLab ---------------------------------------------------------------------------------------------------

OVERRIDES = ROOT / "notebooks" / ".jupyter" / "labconfig" / "default_setting_overrides.json"


def test_the_settings_of_make_notebook_are_ones_that_jupyterlab_knows():
    from jupyterlab.commands import get_app_dir

    assert f"JUPYTER_CONFIG_PATH=$(CURDIR)/{OVERRIDES.parents[1].relative_to(ROOT)} " in (ROOT / "Makefile").read_text()
    for plugin, settings in json.loads(OVERRIDES.read_text()).items():
        package, _, name = plugin.rpartition(":")
        schema = json.loads((Path(get_app_dir()) / "schemas" / package / f"{name}.json").read_text())
        assert settings.keys() <= schema["properties"].keys()
    assert json.loads(OVERRIDES.read_text())["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"] == {
        "python": "Jupytext Notebook"
    }


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_that_is_saved_in_jupyterlab_stays_as_it_was(source):
    """A source without a header gets none, though JupyterLab gives the notebook a kernel."""
    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    assert jupytext.writes(notebook, fmt="py:percent") == source.read_text()


def test_bars_and_tables_are_shown_as_such(this_python, tmp_path):
    """A study's bar is a widget of its own; pools, learners, controllers and results are tables."""
    code = """import workbench as wb
pool = wb.Pool.synthetic("uniform", size=200)
result = wb.Study([pool], ["scalar"], ["adarft"], seeds=2, steps=5, batch=8).run()
display(pool, wb.Controller(wb.AdaRFT(), pool), wb.SimLearner(wb.ScalarIRT(), pool), result, result.summary)"""
    notebook = jupytext.reads(f"# %%\n{code}", fmt="py:percent")
    NotebookClient(notebook, timeout=300, kernel_name=this_python, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = notebook.cells[0].outputs
    assert not [output.text for output in outputs if output.output_type == "stream"]
    shown = [output.data for output in outputs]
    assert sum("application/vnd.jupyter.widget-view+json" in data for data in shown) == 1
    assert sum("<table" in data.get("text/html", "") for data in shown) == 5
