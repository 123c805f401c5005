"""Run a sweep: what its file lacks is simulated, and the file is written anew with all there is."""

import time
from contextlib import closing, suppress
from pathlib import Path

from glassmap.agent.errors import MeasurementError
from glassmap.agent.progress import Report
from glassmap.simulation.lammps import find_lammps, find_result, generous_timeout, lammps_version, simulate_all
from glassmap.simulation.structure import Structure
from glassmap.simulation.sweep import RDF, Sweep, read_sweep, write_sweep


def run_sweep(
    sweep: Sweep,
    output: Path,
    folder: Path,
    *,
    command: str | None,
    workers: int,
    hours: float | None,
    report: Report,
) -> tuple[int, dict[str, str]]:
    """Simulate what `output` doesn't hold yet, then write it.

    Args:
        sweep: The plan.
        output: NetCDF file; samples that it holds are kept.
        folder: Results of single runs, so that a sweep that is stopped goes on.
        command: That starts LAMMPS, by default that of this environment.
        workers: Simulations at a time.
        hours: After which to stop; none by default.
        report: Told how far it is.

    Returns:
        The number of samples written, and why others failed, by id.

    Raises:
        SimulationError: If LAMMPS can't run here.
        MeasurementError: If none succeeded.
        DatasetError: If `output` holds simulations of another kind, or can't be written.
    """
    lammps = find_lammps(command)
    earlier = read_sweep(output, sweep)
    known = set(earlier[RDF].ids) if earlier else set()
    missing = [simulation for simulation in sweep.simulations if sweep.id_of(simulation) not in known]
    deadline = None if hours is None else time.monotonic() + 3600 * hours
    results = {sweep.id_of(simulation): find_result(simulation, folder) for simulation in missing}
    found = {name: structure for name, structure in results.items() if structure is not None}
    missing = [simulation for simulation in missing if sweep.id_of(simulation) not in found]
    failures: dict[str, str] = {}
    runs = simulate_all(missing, folder, lammps=lammps, timeout=generous_timeout(sweep.protocol), workers=workers)
    done = 0
    report("sweep", done, len(missing))
    with closing(runs), suppress(KeyboardInterrupt):  # a person stops it: what there is gets written
        for update in runs if deadline is None or time.monotonic() < deadline else ():
            name = sweep.id_of(missing[update.number])
            match update.outcome:
                case Structure() as structure:
                    found[name] = structure
                case MeasurementError() as error:
                    failures[name] = str(error)
            done += update.outcome is not None
            report("sweep", done, len(missing), name)
            if deadline is not None and time.monotonic() > deadline:
                break
    if failures and not (found or earlier):
        raise MeasurementError(f"None of the {len(failures)} simulations succeeded. {next(iter(failures.values()))}")
    return write_sweep(output, sweep, found, earlier=earlier, lammps=lammps_version(lammps)), failures
