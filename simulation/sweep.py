"""A whole data set by simulation: which alloys, in which order, and the one file that they become."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import periodictable

from glassmap import __version__
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.dataset import SpectraSet, read_dataset, write_dataset
from glassmap.agent.errors import DatasetError, SimulationError
from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.planning.acquisition import plan_batch
from glassmap.agent.shapes import GridCompositions, TakenCompositions
from glassmap.simulation.melt_quench import PRESETS, MeltQuench, Simulation
from glassmap.simulation.potential import SYNTHETIC, Potential
from glassmap.simulation.structure import (
    RDF_BINS,
    Structure,
    first_rdf_peak,
    spectrum_axis,
    spectrum_of,
    total_rdf,
)

RDF = "rdf"  # the variable of g(r) in the file; the diffracted intensity is its `intensity`
RDF_RESOLUTION = 5e-4  # of g(r) in the file; the noise of 1000 atoms is forty times as much
UNITS_OF_PEAKS = {figure.name: figure.unit.replace("Å⁻¹", "1/angstrom") or "1" for figure in FIGURES}
UNITS = {
    "density": "g/cm3",
    "energy": "eV/atom",
    "temperature": "K",
    "pressure": "bar",
    **UNITS_OF_PEAKS,
    "rdf_peak": "angstrom",
}


@dataclass(frozen=True)
class Sweep:
    """The alloys of a set, all simulated alike.

    One grid after another, every alloy with all elements; each in farthest-point order, so that a sweep that is stopped
    has covered the space evenly. After the first grid, its first `repeats` alloys come again with another seed: the
    noise of one simulation. Alloys of a later grid that an earlier one holds are not repeated. At the end may come the
    faces of the first grid: its alloys that lack one element, such as the ternaries of a quaternary system.
    """

    elements: tuple[str, ...]
    potential: Potential
    protocol: MeltQuench
    """Its seed is that of an alloy's first simulation; the second has the next."""
    steps_at_pct: tuple[int, ...]
    """Steps of the grids, such as 5 and then 2 at.%."""
    repeats: int = 0
    """Alloys of the first grid that are simulated twice."""
    faces: bool = False
    """Whether alloys that lack one element come too."""
    simulations: tuple[Simulation, ...] = field(init=False, repr=False)
    """In the order in which to run them."""

    def __post_init__(self) -> None:
        """Plan the grids.

        Raises:
            CompositionError: If a step divides no 100 or leaves no alloy.
            SimulationError: If the potential lacks an element, the boxes are too small, or there are too many repeats.
        """
        seed = self.protocol.seed
        first = len(CompositionSpace(self.elements, step_at_pct=self.steps_at_pct[0]))
        if self.repeats > first:
            raise SimulationError(
                f"repeats must be at most the {first} alloys of the first grid, got {self.repeats}. Take fewer."
            )
        planned: list[Simulation] = []
        taken = np.empty((0, len(self.elements)))
        for number, step in enumerate(self.steps_at_pct):
            space = CompositionSpace(self.elements, step_at_pct=step)
            grid = plan_batch(space, len(space), taken=taken, method="farthest", seed=seed).compositions
            taken = np.concatenate([taken, grid])
            planned += [self._simulation(composition, seed) for composition in grid]
            if number == 0:
                planned += [self._simulation(composition, seed + 1) for composition in grid[: self.repeats]]
        if self.faces:
            planned += [self._simulation(composition, seed) for composition in self._faces(taken)]
        object.__setattr__(self, "simulations", tuple(planned))

    def _faces(self, taken: TakenCompositions) -> GridCompositions:
        """Return the alloys of the first grid that lack just one element, each as far from all before it as can be."""
        most = len(self.elements) - 1
        space = CompositionSpace(self.elements, step_at_pct=self.steps_at_pct[0], edges=True, max_elements=most)
        grid = space.compositions(np.arange(len(space)))
        grid = grid[np.count_nonzero(grid, axis=1) == most]
        return plan_batch(grid, len(grid), taken=taken, method="farthest", seed=self.protocol.seed).compositions

    def _simulation(self, composition: np.ndarray, seed: int) -> Simulation:
        return Simulation.of(composition, self.elements, replace(self.protocol, seed=seed), self.potential)

    @property
    def identity(self) -> dict[str, str]:
        """What all its simulations have in common, as the file's attributes say it."""
        protocol = asdict(self.protocol)
        del protocol["seed"]
        return {
            "protocol": json.dumps(protocol),
            "potential": self.potential.name,
            "potential_sha256": self.potential.digest,  # its first digits
            "synthetic": str(self.potential.is_synthetic).lower(),
        }

    def id_of(self, simulation: Simulation) -> str:
        """Return the name of a sample of the file: the alloy and the seed asked for."""
        return f"{simulation.label}-{simulation.protocol.seed}"


def read_sweep(path: Path, sweep: Sweep) -> dict[str, SpectraSet]:
    """Return the samples that a file holds already, as diffraction and as g(r); empty where there is no file.

    Raises:
        DatasetError: If the file is damaged, or its alloys were not simulated alike.
    """
    if not path.exists():
        return {}
    kinds = {name: read_dataset(path, variable=name) for name in ("intensity", RDF)}
    if kinds[RDF].elements != sweep.elements:
        raise DatasetError(
            f"{path} holds alloys of {'-'.join(kinds[RDF].elements)}, in this order, and not of "
            f"{'-'.join(sweep.elements)}. Name another output."
        )
    for name, value in sweep.identity.items():
        if (found := kinds[RDF].attributes.get(name)) != value:
            raise DatasetError(
                f"{path} holds simulations with another {name} ({found}) than asked for ({value}); one file holds one "
                "kind. Name another output, or ask for the same."
            )
    return kinds


def write_sweep(
    path: Path, sweep: Sweep, found: Mapping[str, Structure], *, earlier: Mapping[str, SpectraSet], lammps: str
) -> int:
    """Write one file of all samples there are, in the order of the sweep; return how many.

    g(r) is kept in 500 bins and to 0.0005, the intensity to a 30 000th of its highest possible value: far below the
    noise of a simulation.

    Args:
        path: NetCDF file to write.
        sweep: The plan.
        found: Structures by `Sweep.id_of`.
        earlier: From `read_sweep`.
        lammps: Its release.

    Raises:
        DatasetError: If there is nothing to write, or the file can't be written.
    """
    kinds: dict[str, SpectraSet] = {}
    order = [sweep.id_of(simulation) for simulation in sweep.simulations]
    for name in ("intensity", RDF):
        parts = [earlier[name]] if earlier else []
        if found:
            parts.append(_spectra_of(sweep, found, "rdf" if name == RDF else "diffraction"))
        if not parts:
            raise DatasetError(f"There is no simulation to write to {path} yet. Let the sweep run.")
        kinds[name] = _in_order(parts, order)
    spectra, rdf = kinds["intensity"], kinds[RDF]
    alloys = [id_.rpartition("-")[0] for id_ in spectra.ids]
    again = np.array([alloy in alloys[:row] for row, alloy in enumerate(alloys)])
    spectra = replace(
        spectra,
        coordinates={**spectra.coordinates, "replicate": again},
        attributes=_attributes(sweep, lammps, spectra),
    )
    brightest = max(getattr(periodictable, element).number for element in sweep.elements)
    resolution = {"intensity": 8 * brightest**2 / 32767, RDF: RDF_RESOLUTION}
    write_dataset(spectra, path, also={RDF: rdf}, resolution=resolution)
    return len(spectra)


def _spectra_of(sweep: Sweep, found: Mapping[str, Structure], kind: Literal["diffraction", "rdf"]) -> SpectraSet:
    """Return structures as one kind of spectra, with what else they tell."""
    structures = list(found.values())
    axis_name, axis = spectrum_axis(kind, wavelength=None, rdf_cutoff=sweep.protocol.rdf_cutoff)
    return SpectraSet(
        ids=tuple(found),
        elements=sweep.elements,
        compositions=np.array([s.composition for s in structures]),
        axis_name=axis_name,
        axis=axis,
        intensities=np.array([spectrum_of(s, kind, wavelength=None) for s in structures]),
        coordinates=_figures_of(structures) if kind == "diffraction" else {},  # once are enough in the file
        units={"intensity": "1"} if kind == "rdf" else {"intensity": "electron^2/atom", **UNITS},
        attributes=sweep.identity,
    )


def _figures_of(structures: Sequence[Structure]) -> dict[str, np.ndarray]:
    """Return what else the structures tell, one value of each a sample."""
    from glassmap.simulation.first_peak import first_peak  # loads torch, and a plan of a sweep needs none

    peaks = [first_peak(structure) for structure in structures]
    names = ("density", "energy", "temperature", "pressure", "crystalline", "seed")
    figures = {name: [getattr(structure, name) for structure in structures] for name in names}
    figures |= {figure.name: [peak.figures[figure.name] for peak in peaks] for figure in FIGURES}
    figures["rdf_peak"] = [first_rdf_peak(structure.r, total_rdf(structure)) for structure in structures]
    return {name: np.array(values) for name, values in figures.items()}


def _in_order(parts: Sequence[SpectraSet], order: Sequence[str]) -> SpectraSet:
    """Join several sets on one axis in the order of `order`; samples that are not in it come last."""
    ids = [id_ for part in parts for id_ in part.ids]
    place = {id_: k for k, id_ in enumerate(order)}
    rows = np.argsort([place.get(id_, len(order)) for id_ in ids], kind="stable")
    whole = replace(
        parts[0],
        ids=tuple(ids),
        compositions=np.concatenate([part.compositions for part in parts]),
        intensities=np.concatenate([part.intensities for part in parts]),
        coordinates={
            name: np.concatenate([part.coordinates[name] for part in parts])
            for name in parts[-1].coordinates
            if all(name in part.coordinates for part in parts)
        },
    )
    return whole.select(rows)


def _attributes(sweep: Sweep, lammps: str, spectra: SpectraSet) -> dict[str, str]:
    """Return what a reader has to know of the file."""
    protocol, system = sweep.protocol, "-".join(sweep.elements)
    alike = {n: replace(p, atoms=protocol.atoms, seed=protocol.seed) for n, p in PRESETS.items()}
    preset = next((name for name, settings in alike.items() if settings == protocol), "quick")
    changes = [f"--preset {preset}"] if preset != "quick" else []
    changes += [
        f"--{name} {getattr(protocol, name)}"
        for name in ("atoms", "seed")
        if getattr(protocol, name) != getattr(PRESETS[preset], name)
    ]
    made_by = f"glassmap {__version__}, LAMMPS {lammps}"
    before = spectra.attributes.get("versions", made_by).split("; ")
    steps = ",".join(map(str, sweep.steps_at_pct))
    potential = sweep.potential.name.removesuffix(f" ({SYNTHETIC})")
    command = f"glassmap sweep {system} --potential {potential} --steps {steps} --repeats {sweep.repeats}"
    command += " --faces" if sweep.faces else ""
    return {
        **sweep.identity,
        "title": f"{len(spectra)} simulated {system} glasses: X-ray diffraction and g(r)",
        "method": f"melt-quench molecular dynamics, {protocol.hot:g} K to {protocol.cold:g} K at "
        f"{protocol.quench_rate:g} K/s, {protocol.atoms} atoms; the partial g(r), averaged over {protocol.rdf_steps} "
        f"steps, transformed without window, X-ray weighted (Faber, Ziman); {' and '.join(UNITS_OF_PEAKS)} of S(q)",
        "grids": f"g(r) in {RDF_BINS} bins, merged by volume from {protocol.rdf_bins}; rounded to {RDF_RESOLUTION:g}, "
        "far below the noise",
        "potential_header": sweep.potential.header,
        "seeds": ", ".join(str(seed) for seed in np.unique(spectra.coordinates["seed"])),
        "versions": "; ".join(dict.fromkeys([*before, made_by])),
        "licence": "MIT",
        "planned": str(len(sweep.simulations)),
        "command": " ".join([command, *changes, "-o FILE.nc"]),
    }
