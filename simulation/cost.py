"""What simulations will cost on this machine, from short runs of every stage."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from glassmap.agent.shapes import Composition
from glassmap.simulation.lammps import Lammps, run
from glassmap.simulation.melt_quench import PRESETS, MeltQuench, Simulation
from glassmap.simulation.potential import Potential
from glassmap.simulation.result import loop_seconds

SIZES = (500, 1000, 2000, 4000)  # atoms; larger runs cost what their atoms do beside the largest of these
SHORT = replace(PRESETS["quick"], melt_ps=0.3, relax_ps=0.3, quench_rate=5.6e15, rdf_steps=100)  # ~100 steps a stage


class Cost(NamedTuple):
    """CPU time of one alloy."""

    atoms: int
    seconds: dict[str, float]  # by preset


def estimate_costs(
    composition: Composition, elements: Sequence[str], potential: Potential, *, lammps: Lammps
) -> list[Cost]:
    """Measure CPU seconds of an alloy by both presets, for `SIZES`, and scale them to the paper's number of atoms.

    Args:
        composition: Atomic fraction, shape `(e,)`; copper-rich alloys cost half as much again as zirconium-rich ones.
        elements: Symbols.
        potential: That knows them.
        lammps: From `find_lammps`.

    Raises:
        SimulationError: If LAMMPS can't run here.
    """
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        for atoms in SIZES:
            simulation = Simulation.of(composition, elements, replace(SHORT, atoms=atoms), potential)
            stages = loop_seconds(run(simulation, Path(folder), lammps=lammps, timeout=600.0))
            costs.append(Cost(atoms, {name: _scale(stages, protocol) for name, protocol in PRESETS.items()}))
    largest, published = costs[-1], PRESETS["paper"].atoms
    more = {name: seconds * published / largest.atoms for name, seconds in largest.seconds.items()}
    return [*costs, Cost(published, more)]


def _scale(stages: Sequence[float], protocol: MeltQuench) -> float:
    """Return the seconds of a short run's stages, brought to a protocol's steps; minimising stays as it is."""
    start, *short = stages
    longer = zip(short, SHORT.stage_steps, protocol.stage_steps, strict=False)  # the last loop is the analysis: nothing
    return start + sum(seconds * steps / done for seconds, done, steps in longer)
