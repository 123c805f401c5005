"""Small simulations for tests: a protocol of seconds, and structures made without one."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from glassmap.simulation.lammps import find_lammps
from glassmap.simulation.melt_quench import MeltQuench, Simulation
from glassmap.simulation.potential import Potential, zhou_potential
from glassmap.simulation.structure import Structure

ELEMENTS = ("Zr", "Cu", "Al")
ZHOU = zhou_potential(ELEMENTS)
TINY = MeltQuench(
    atoms=200, melt_ps=0.3, quench_rate=2e15, relax_ps=0.6, rdf_steps=100, rdf_bins=500, rdf_cutoff=12.0
)  # about a second
TINY_SETTINGS = {
    name: getattr(TINY, name)
    for name in ("atoms", "melt_ps", "quench_rate", "relax_ps", "rdf_steps", "rdf_bins", "rdf_cutoff")
}


def alloy(at_pct: tuple[int, ...] = (50, 40, 10), potential: Potential = ZHOU, **changes) -> Simulation:
    """A tiny simulation of Zr-Cu-Al; `changes` are the protocol's."""
    return Simulation.of(np.array(at_pct) / 100, ELEMENTS, replace(TINY, **changes), potential)


def counting_lammps(folder: Path, before: str = "") -> tuple[str, Path]:
    """A command that starts LAMMPS and adds a line to a file each time; `before` is shell to run first."""
    real, script, starts = find_lammps(), folder / "lmp-counted", folder / "starts.txt"
    library = real.environment.get("LD_LIBRARY_PATH", "")
    script.write_text(
        f'#!/bin/sh\nbasename "$PWD" >> "{starts}"\n{before}\n'
        f'LD_LIBRARY_PATH="{library}" exec "{real.command[0]}" "$@"\n'
    )
    script.chmod(0o755)
    return str(script), starts


def fake_structure(counts: tuple[int, ...] = (50, 40, 10), *, seed: int = 0, cutoff: float = 16.0) -> Structure:
    """Partial g(r) of broad shells that look like a glass's, without a simulation."""
    rng = np.random.default_rng(seed)
    r = (np.arange(3000) + 0.5) * cutoff / 3000
    present = [k for k, n in enumerate(counts) if n]
    radii = np.array([1.6, 1.28, 1.43])
    partials = []
    for a, first in enumerate(present):
        for second in present[a:]:
            d = radii[first] + radii[second]
            shells = 2.2 * np.exp(-0.5 * ((r - d) / 0.22) ** 2) + 0.5 * np.exp(-0.5 * ((r - 1.75 * d) / 0.5) ** 2)
            hole = 1 / (1 + np.exp(-(r - 0.87 * d) / 0.06))
            partials.append(hole * (1 + shells - 0.6 * np.exp(-0.5 * ((r - 1.35 * d) / 0.3) ** 2)))
    noise = rng.normal(scale=0.01, size=(len(partials), len(r)))
    return Structure(
        elements=ELEMENTS,
        counts=counts,
        r=r,
        partials=np.array(partials) + noise * (r > 2),
        volume=18.0 * sum(counts),
        temperature=300.0,
        pressure=0.0,
        energy=-5.0,
        crystalline=0.0,
        seed=seed,
        cpu_seconds=1.0,
    )
