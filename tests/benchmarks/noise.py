"""How far two simulations of one alloy are apart, against the number of atoms: the floor below which no model gets."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.data.composition import elements_of, label, parse_composition
from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.progress import Report, ignore
from glassmap.simulation.first_peak import first_peak
from glassmap.simulation.lammps import find_lammps, generous_timeout, simulate_all
from glassmap.simulation.melt_quench import PRESETS, Simulation
from glassmap.simulation.potential import load_potential
from glassmap.simulation.structure import RDF_BINS, Structure, coarsen_rdf, total_rdf


def run(
    alloys: Sequence[str],
    *,
    potential: str,
    sizes: Sequence[int],
    seeds: Sequence[int],
    folder: Path,
    workers: int,
    report: Report = ignore,
) -> list[dict[str, Any]]:
    """One record an alloy, size and pair of seeds.

    Args:
        alloys: In at.%, such as `Zr50Cu40Al10`, of one system.
        potential: As of `load_potential`.
        sizes: Numbers of atoms.
        seeds: Two or more.
        folder: Where runs are kept, so that a benchmark that is stopped goes on.
        workers: Simulations at a time.
        report: Is told as each simulation ends.

    Returns:
        Records with `alloy`, `atoms`, `seeds`, `mse` of g(r) in all bins, `mse_merged` in the bins that are learned,
        differences of the peak figures of S(q) and `cpu_seconds` (mean of the two).

    Raises:
        MeasurementError: If a simulation fails.
    """
    elements = elements_of(alloys[0])
    source = load_potential(potential, elements)
    alloys, sizes = list(dict.fromkeys(alloys)), list(dict.fromkeys(sizes))  # none twice
    cases = [(alloy, atoms, seed) for atoms in sizes for alloy in alloys for seed in seeds]
    simulations = [
        Simulation.of(
            parse_composition(alloy, elements), elements, replace(PRESETS["quick"], atoms=atoms, seed=seed), source
        )
        for alloy, atoms, seed in cases
    ]
    timeout = max(generous_timeout(simulation.protocol) for simulation in simulations)
    found: dict[tuple[str, int, int], Structure] = {}
    with closing(simulate_all(simulations, folder, lammps=find_lammps(), timeout=timeout, workers=workers)) as runs:
        for update in runs:
            if isinstance(update.outcome, Structure):
                found[cases[update.number]] = update.outcome
                one = simulations[update.number]
                report("simulate", len(found), len(simulations), f"{one.label}, {sum(one.counts)} atoms")
            elif update.outcome is not None:
                raise update.outcome
    return [
        {
            "alloy": label(found[alloy, atoms, first].composition, elements),
            "atoms": atoms,
            "seeds": [first, second],
            **_compare(found[alloy, atoms, first], found[alloy, atoms, second]),
        }
        for atoms in sizes
        for alloy in alloys
        for first, second in combinations(seeds, 2)
    ]


def _compare(one: Structure, other: Structure) -> dict[str, float]:
    g = np.array([total_rdf(one), total_rdf(other)])
    merged = np.array([coarsen_rdf(one.r, values, bins=RDF_BINS)[1] for values in g])
    peaks = first_peak(one), first_peak(other)
    return {
        "mse": mean_squared_error(g[:1], g[1:]),
        "mse_merged": mean_squared_error(merged[:1], merged[1:]),
        **{name: abs(peaks[0].figures[name] - peaks[1].figures[name]) for name in peaks[0].figures},
        "cpu_seconds": (one.cpu_seconds + other.cpu_seconds) / 2,
    }
