"""The notebook runs as it stands, with smaller networks and a part of its set, and is kept with what it printed."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

import glassmap

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"
CODE = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
SMALL = {
    "where": "replicate",  # 57 alloys
    "learn_from": 16,
    "batch": 8,
    "rounds": 1,
    "step_at_pct": 10,
    "training": glassmap.TrainingConfig(members=2, steps=20),
}


def test_every_cell_of_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In this process: a kernel of its own would load all libraries once more."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    with mpl.rc_context({"backend": "agg"}):
        for number, cell in enumerate(CODE, start=1):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
            if "parameters" in cell["metadata"].get("tags", []):
                assert names.keys() >= SMALL.keys()
                names |= SMALL
        plt.close("all")
    assert names["learned"].sum() == 16 and len(names["generated"]) == 36
    assert np.isfinite(names["comparison"].to_numpy()).all() and "ensemble" in names["comparison"].index
    assert names["campaign"].status().state == "exhausted" and len(names["campaign"].measurements()) == 8


def test_the_notebook_is_kept_as_it_ran_from_top_to_bottom():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    outputs = [output for cell in CODE for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 6
    assert NOTEBOOK.stat().st_size < 800_000
