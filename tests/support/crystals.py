"""Crystals at rest, minimised in LAMMPS: lattice constant and energy that a potential gives."""

import subprocess
from pathlib import Path
from typing import NamedTuple

from glassmap.simulation.lammps import find_lammps
from glassmap.simulation.potential import Potential

# Atoms of each kind in a cubic cell; types are 1 and 2
CELLS = {
    "fcc": (((0, 0, 0), 1), ((0.5, 0.5, 0), 1), ((0.5, 0, 0.5), 1), ((0, 0.5, 0.5), 1)),
    "bcc": (((0, 0, 0), 1), ((0.5, 0.5, 0.5), 1)),
    "B2": (((0, 0, 0), 1), ((0.5, 0.5, 0.5), 2)),
    "L12": (((0, 0, 0), 1), ((0.5, 0.5, 0), 2), ((0.5, 0, 0.5), 2), ((0, 0.5, 0.5), 2)),
}


class Crystal(NamedTuple):
    a: float  # Å
    c: float  # Å; a, where cubic
    energy: float  # eV an atom


def minimise(potential: Potential, kind: str, elements: tuple[str, ...], a: float, folder: Path) -> Crystal:
    """Relax a crystal of `kind` (of `CELLS`, or hcp) from a guessed lattice constant, box and atoms."""
    if kind == "hcp":
        lattice, options, box = f"lattice hcp {a}", "", "aniso"
    else:
        basis = " ".join("basis {} {} {}".format(*place) for place, _ in CELLS[kind])
        lattice = f"lattice custom {a} a1 1 0 0 a2 0 1 0 a3 0 0 1 {basis}"
        options = " ".join(f"basis {k} {type_}" for k, (_, type_) in enumerate(CELLS[kind], start=1) if type_ > 1)
        box = "iso"
    (folder / "crystal.eam").write_text(potential.text)
    (folder / "in.crystal").write_text(f"""\
units metal
boundary p p p
{lattice}
region box block 0 4 0 4 0 4
create_box {len(elements)} box
create_atoms 1 box {options}
pair_style {potential.style}
pair_coeff * * crystal.eam {" ".join(elements)}
fix relax all box/relax {box} 0.0 vmax 0.001
min_style cg
minimize 1e-14 1e-12 1000 10000
print "CRYSTAL $(lx/4) $(lz/4) $(pe/atoms)"
""")
    lammps = find_lammps()
    command = [*lammps.command, "-in", "in.crystal", "-log", "log.crystal", "-screen", "none"]
    subprocess.run(command, cwd=folder, env=lammps.environment, check=True, capture_output=True)
    found = (folder / "log.crystal").read_text().rpartition("\nCRYSTAL ")[2].splitlines()[0]
    edge, height, energy = (float(word) for word in found.split())
    return Crystal(edge, height if kind == "hcp" else edge, energy)
