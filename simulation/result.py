"""What a run wrote, verified, and the small file that is kept of it.

Exit code 0 is no success: a run counts once its last line, its atoms, its temperature and its g(r) are right.
"""

import json
import re
from dataclasses import asdict
from math import prod
from pathlib import Path

import numpy as np

from glassmap.agent.atomic_file import whole_file
from glassmap.agent.errors import MeasurementError, SimulationError
from glassmap.simulation.melt_quench import Simulation
from glassmap.simulation.structure import Structure, total_rdf

TEMPERATURE_TOLERANCE = 0.15  # relative, or five standard deviations of so few atoms
RDF_TOLERANCE = 0.1  # of a glass's g(r) about 1, mean over its last Å


def verify(simulation: Simulation, work: Path, log: str) -> Structure:
    """Return the structure that a run wrote, or say why it is none.

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
    if structure.volume ** (1 / 3) < simulation.protocol.rdf_cutoff:
        raise MeasurementError(
            f"the box shrank to {structure.volume ** (1 / 3):.1f} Å in {work}, narrower than the rdf_cutoff of "
            f"{simulation.protocol.rdf_cutoff:g} Å, so atoms met their own images; take more atoms"
        )
    limit = float(total_rdf(structure)[structure.r > structure.r[-1] - 1].mean())
    if not (structure.is_crystalline or abs(limit - 1) < RDF_TOLERANCE):  # a crystal's shells are sharp to the end
        raise MeasurementError(
            f"g(r) ends at {limit:.2f} instead of 1 in {work}: the box holds no even liquid or glass"
        )
    return structure


def _read_rdf(path: Path, simulation: Simulation) -> np.ndarray:
    """Read the columns bin, r, then g(r) and coordination number of each pair; shape `(bins, 2 + 2 pairs)`."""
    try:
        table = np.loadtxt(path, skiprows=4, ndmin=2)
    except (OSError, ValueError) as error:
        raise MeasurementError(f"g(r) can't be read: {error}") from error
    expected = (simulation.protocol.rdf_bins, 2 + 2 * len(simulation.pairs))
    if table.shape != expected or not np.isfinite(table).all():
        raise MeasurementError(f"g(r) in {path} must be {expected} finite numbers, got {table.shape}")
    return table


def loop_seconds(log: str) -> list[float]:
    """Return CPU seconds of minimising, melting, quenching, relaxing and measuring: time times the cores of each."""
    loops = re.findall(r"^Loop time of (\S+) on (\d+) procs", log, re.MULTILINE)
    shares = re.findall(r"^(\S+)% CPU use", log, re.MULTILINE)
    return [float(s) * int(n) * float(share) / 100 for (s, n), share in zip(loops, shares, strict=False)]


def processors(log: str) -> int:
    """Return how many cores a run had, by the grid that its box was cut into."""
    grid = re.search(r"^\s*(\d+) by (\d+) by (\d+) MPI processor grid", log, re.MULTILINE)
    return prod(map(int, grid.groups())) if grid else 1


def write_structure(structure: Structure, path: Path) -> None:
    """Write a structure as one file, there whole or not at all."""
    values = asdict(structure)
    arrays = {"r": values.pop("r"), "partials": values.pop("partials").astype(np.float32)}
    try:
        with whole_file(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, values=np.array(json.dumps(values)), **arrays)
    except OSError as error:
        raise SimulationError(f"{path} can't be written: {error}. Make room, then run again.") from error


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
