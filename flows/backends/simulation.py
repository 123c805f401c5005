"""Simulation: measure by melt-quench molecular dynamics in LAMMPS."""

import hashlib
import json
import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from glassmap.agent.config.backends import BackendSettings
from glassmap.agent.config.settings import Hours, Workers
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.errors import CampaignError, MeasurementError, SimulationError
from glassmap.agent.shapes import Spectrum
from glassmap.agent.store.records import Measurement, Suggestion
from glassmap.flows.backends.protocol import Backend, Event, Failed, Ledger, Measured, Progress

if TYPE_CHECKING:
    from glassmap.agent.config.campaign import CampaignConfig
    from glassmap.flows.compute.dask_cluster import Cluster
    from glassmap.simulation.melt_quench import MeltQuench
    from glassmap.simulation.potential import Potential
    from glassmap.simulation.structure import Structure

ProtocolNumber = Annotated[int | float, Field(ge=-1e17, le=1e17)]  # each has limits of its own


class Settings(BackendSettings):
    """What is simulated, and how LAMMPS is run; see `glassmap.simulation`."""

    # How LAMMPS is run; and the potential's file may move, what it holds is watched by the fingerprint.
    free: ClassVar = ("potential", "command", "workers", "timeout_hours")

    potential: Literal["zhou", "zhou-fitted"] | Path = Field(examples=["zhou"])
    """An eam/alloy or eam/fs file; or zhou, generated from a mixing rule, or zhou-fitted, of Zr-Cu-Al."""
    spectra: Literal["diffraction", "rdf"] = "diffraction"
    """What is learned: diffracted intensity against q, or g(r)."""
    wavelength: Annotated[float, Field(gt=0, le=3)] | None = Field(default=None, examples=[1.5406])
    """Wavelength, Å; where it is given, diffraction is against 2θ."""
    preset: Literal["quick", "paper"] = "quick"
    """The protocol: 1000 atoms in half a minute, or the published 40 000."""
    protocol: dict[str, ProtocolNumber] = Field(default={}, examples=[{"atoms": 2000}])
    """What differs from the preset, such as {atoms = 2000, quench_rate = 5e13} (K/s)."""
    command: str | None = Field(default=None, examples=["srun -n 8 lmp"])
    """How LAMMPS is called, such as "srun -n 8 lmp"; by default that of this environment, or `lmp`."""
    workers: Workers | None = Field(default=None, examples=[4])
    """Simulations at a time; by default one a core."""
    timeout_hours: Hours | None = Field(default=None, examples=[2.0])
    """Most hours that a simulation may take; by default generous for its size."""

    @model_validator(mode="after")
    def _has_an_angle(self) -> "Settings":
        if self.wavelength is not None and self.spectra == "rdf":
            raise ValueError("a wavelength belongs to spectra = 'diffraction'; leave it out for g(r)")
        return self


def open_backend(settings: Settings, config: "CampaignConfig", folder: Path) -> "MolecularDynamics":
    """Load the potential, and refuse what it or the protocol can't do."""
    return MolecularDynamics(settings, config, folder)


class MolecularDynamics(Backend):
    """Melts and quenches each alloy in LAMMPS; what a run found stays in the campaign's folder `simulations`."""

    may_end_early = True
    needs_screening = False  # what was simulated has neither substrate nor saturation

    def __init__(self, settings: Settings, config: "CampaignConfig", folder: Path) -> None:
        from glassmap.agent.data.spectrum import Preprocessing
        from glassmap.simulation.melt_quench import Simulation
        from glassmap.simulation.potential import load_potential
        from glassmap.simulation.structure import spectrum_axis

        self._settings, self._folder = settings, folder / "simulations"
        self._cluster: Cluster | None = None  # where simulations run, if not here
        self._space = config.space.build()
        self._protocol = protocol_of(settings, seed=config.seed)
        self._potential = load_potential(str(settings.potential), config.space.elements)
        for pure in np.eye(len(config.space.elements)):  # the smallest box that there may be
            Simulation.of(pure, config.space.elements, self._protocol, self._potential)
        self.axis_name, axis = spectrum_axis(
            settings.spectra, wavelength=settings.wavelength, rdf_cutoff=self._protocol.rdf_cutoff
        )
        self.wavelength, self.source = settings.wavelength, f"simulated with {self._potential.name}"
        self._raw_axis = axis
        steps = config.spectrum.read(self.axis_name, self.wavelength)
        if (corrections := steps["corrections"]) is not None:
            steps["corrections"] = replace(corrections, is_simulated=True)
        self._steps = Preprocessing.over(self.axis_name, axis, wavelength=self.wavelength, **steps)
        self.axis = self._steps.grid()
        self._steps.prepare(axis, np.ones_like(axis))  # refuses a range that simulations don't cover
        content = [asdict(self._protocol), settings.spectra, self._potential.digest, self.axis.tolist()]
        self.fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def candidates(self) -> CompositionSpace:
        """Return every alloy of the space."""
        return self._space

    def run_on(self, cluster: "Cluster | None") -> None:
        """Simulate on a cluster from here on."""
        self._cluster = cluster

    def measure(self, pending: Sequence[Suggestion], ledger: Ledger) -> Generator[Event]:
        """Simulate them side by side; an alloy that has been simulated is only looked up.

        Raises:
            SimulationError: If LAMMPS can't run, whatever the alloy.
            ClusterError: If simulations run on a cluster, and that fails.
        """
        from glassmap.simulation.lammps import available_cores, find_lammps, generous_timeout, simulate_all
        from glassmap.simulation.melt_quench import Simulation

        simulations = [
            Simulation.of(np.array(s.composition), self._space.elements, self._protocol, self._potential)
            for s in pending
        ]
        command = self._settings.command
        timeout = 3600 * (self._settings.timeout_hours or 0) or generous_timeout(self._protocol)
        if self._cluster is not None:
            runs = self._cluster.simulate_all(simulations, self._folder, command=command, timeout=timeout)
        else:
            runs = simulate_all(
                simulations,
                self._folder,
                lammps=find_lammps(command),
                timeout=timeout,
                workers=self._settings.workers or available_cores(),
            )
        with closing(runs):
            for update in runs:
                suggestion = pending[update.number]
                match update.outcome:
                    case None:
                        yield Progress(suggestion, update.share)
                    case MeasurementError() as error:
                        yield Failed(suggestion, str(error), error.cpu_seconds)
                    case structure:
                        spectrum = self._spectrum_of(structure)
                        facts = facts_of(structure, self._potential) | {"key": simulations[update.number].key}
                        yield Measured(suggestion, structure.composition, spectrum, facts)

    def recall(self, measurement: Measurement, ledger: Ledger) -> Spectrum | None:
        """Make it again of the structure that the simulation left."""
        from glassmap.simulation.result import read_structure

        try:
            structure = read_structure(self._folder / f"{measurement.facts.get('key')}.npz")
        except SimulationError:
            return None
        return self._spectrum_of(structure)

    def _spectrum_of(self, structure: "Structure") -> Spectrum:
        """Return a structure's spectrum on the campaign's axis."""
        from glassmap.simulation.structure import spectrum_of

        raw = spectrum_of(structure, self._settings.spectra, wavelength=self.wavelength)
        return self._steps.prepare(self._raw_axis, raw)


def protocol_of(settings: Settings, *, seed: int) -> "MeltQuench":
    """Return the preset with what the campaign changes of it.

    Raises:
        CampaignError: If a setting is unknown, or a number of atoms, bins or steps isn't whole.
        SimulationError: If a value breaks its rule.
    """
    from glassmap.simulation.melt_quench import PRESETS, MeltQuench

    known = {field.name: type(getattr(PRESETS["quick"], field.name)) for field in fields(MeltQuench)}
    del known["seed"]  # the campaign's
    if unknown := [name for name in settings.protocol if name not in known]:
        raise CampaignError(
            f"unknown setting 'backend.protocol.{unknown[0]}'; allowed here: {', '.join(known)}. The seed is the "
            "campaign's."
        )
    changes: dict[str, Any] = {name: known[name](value) for name, value in settings.protocol.items()}
    if broken := [name for name, value in settings.protocol.items() if changes[name] != value]:
        raise CampaignError(
            f"backend.protocol.{broken[0]} must be a whole number, got {settings.protocol[broken[0]]}. Correct it."
        )
    return replace(PRESETS[settings.preset], seed=seed, **changes)


def facts_of(structure: "Structure", potential: "Potential") -> dict[str, Any]:
    """Return what a simulation found besides its spectrum, and from what."""
    from glassmap.simulation.first_peak import first_peak
    from glassmap.simulation.structure import first_rdf_peak, total_rdf

    peak = first_peak(structure)
    return {
        "density": structure.density,  # g/cm3
        "energy": structure.energy,  # eV an atom
        "temperature": structure.temperature,  # K
        "pressure": structure.pressure,  # bar
        **{name: None if math.isnan(value) else value for name, value in peak.figures.items()},  # of S(q)
        "rdf_peak": first_rdf_peak(structure.r, total_rdf(structure)),  # Å
        "crystalline": structure.crystalline,  # share of atoms
        "is_crystalline": structure.is_crystalline,
        "seed": structure.seed,
        "cpu_seconds": structure.cpu_seconds,
        "potential": potential.name,
        "synthetic": potential.is_synthetic,
        **({"notes": list(potential.notes)} if potential.notes else {}),
    }
