"""Who measures. A backend is anything of `MeasurementBackend`'s shape, and `BACKENDS` names those there are."""

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from glassmap.agent.config.campaign import CampaignConfig, ReplayConfig, SimulationConfig
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.dataset import SpectraSet, read_dataset
from glassmap.agent.data.spectrum import Preprocessing
from glassmap.agent.errors import CampaignError, MeasurementError
from glassmap.agent.shapes import Axis, Composition, Compositions, Mask, PerSample, Spectra, Spectrum
from glassmap.agent.store.records import Suggestion
from glassmap.flows.backends.lab.laboratory import Laboratory
from glassmap.flows.compute.dask_cluster import Cluster
from glassmap.simulation.first_peak import first_peak
from glassmap.simulation.lammps import available_cores, find_lammps, generous_timeout, simulate_all
from glassmap.simulation.melt_quench import PRESETS, MeltQuench, Simulation
from glassmap.simulation.potential import Potential, load_potential
from glassmap.simulation.structure import Structure, first_rdf_peak, spectrum_axis, spectrum_of, total_rdf


class Measurement(NamedTuple):
    """What a backend found for one suggestion."""

    suggestion: Suggestion
    composition: Composition  # measured, atomic fraction; the model learns from this one
    spectrum: Spectrum  # prepared, on the backend's axis
    facts: dict[str, Any] = {}  # what else was found, JSON types  # noqa: RUF012


class Failure(NamedTuple):
    """A suggestion that this backend can't measure, whatever is tried."""

    suggestion: Suggestion
    reason: str
    cpu_seconds: float = 0.0  # that trying has cost


class Progress(NamedTuple):
    """How far the measurement of a suggestion is."""

    suggestion: Suggestion
    share: float  # 0 to 1


News = Measurement | Failure | Progress


class MeasurementBackend(Protocol):
    """Turns suggestions into spectra: an archive, a simulation, an instrument."""

    axis_name: str
    axis: Axis
    wavelength: float | None
    fingerprint: str  # of all that must not change under a campaign
    source: str  # what a picture has to say of where spectra come from; empty for an instrument's

    def candidates(self) -> CompositionSpace | Compositions:
        """What may be planned: the campaign's space, or a list of alloys."""
        ...

    def measure(self, suggestions: Sequence[Suggestion]) -> Generator[News]:
        """Measure each, in any order; what isn't there yet is left out and asked for again.

        Closing the generator stops what is being measured.
        """
        ...

    def hold_out(self) -> tuple[Compositions, Spectra] | None:
        """Measured alloys that are never planned, to judge the model by; None where each batch gives its share."""
        ...

    def archive(self) -> tuple[Compositions, Spectra] | None:
        """Everything that can be measured, where that is known; to draw a map beside."""
        ...


class Replay:
    """Looks the answer up in a data set, so that a campaign can be judged against what was really measured.

    The data set is split once, by the campaign's seed: into alloys that may be planned and alloys held out.
    """

    def __init__(self, config: CampaignConfig, folder: Path) -> None:
        settings = config.backend
        assert isinstance(settings, ReplayConfig)
        spectra = read_dataset(settings.dataset, variable=settings.variable)
        if spectra.elements != config.space.elements:
            raise CampaignError(
                f"space.elements must be those of the data set in its order, {', '.join(spectra.elements)}; "
                f"got {', '.join(config.space.elements)}. Correct it in the campaign file."
            )
        if settings.where is not None:
            spectra = spectra.where(settings.where)
        admitted = config.space.build().admits(spectra.compositions)
        if not admitted.any():
            raise CampaignError(
                f"None of the {len(spectra)} alloys of {settings.dataset} lies within the bounds and limits of "
                "[space]. Widen them."
            )
        counts = counts_of(spectra.select(admitted))
        spectra = spectra.select(admitted).prepared(**config.spectrum.read())
        self.axis_name, self.axis, self.wavelength = spectra.axis_name, spectra.axis, spectra.wavelength
        held = split(spectra, settings.hold_out, share=settings.test_share, seed=config.seed)
        self._all, self._pool, self._counts = spectra, spectra.select(~held), counts[~held]
        self._test = spectra.select(held) if held.any() else None
        self.source = f"simulated with {potential}" if (potential := spectra.attributes.get("potential")) else ""
        content = (spectra.axis, spectra.compositions, spectra.intensities, held)
        self.fingerprint = hashlib.sha256(
            b"".join(np.ascontiguousarray(part).tobytes() for part in content)
        ).hexdigest()

    def candidates(self) -> Compositions:
        """The compositions of the data set that aren't held out."""
        return self._pool.compositions

    def measure(self, suggestions: Sequence[Suggestion]) -> Generator[News]:
        """Look each up by its row."""
        for s in suggestions:
            facts = {"counts": float(self._counts[s.row])}
            yield Measurement(s, self._pool.compositions[s.row], self._pool.intensities[s.row], facts)

    def hold_out(self) -> tuple[Compositions, Spectra] | None:
        """The test set, if the replay was asked for one."""
        return (self._test.compositions, self._test.intensities) if self._test is not None else None

    def archive(self) -> tuple[Compositions, Spectra]:
        """Every alloy of the data set."""
        return self._all.compositions, self._all.intensities


def counts_of(spectra: SpectraSet) -> PerSample:
    """The median of each spectrum as it was measured, before it is normalised."""
    return np.median(spectra.intensities, axis=1).astype(np.float64)


def split(spectra: SpectraSet, kind: str, *, share: float, seed: int) -> Mask:
    """Which samples are held out.

    Args:
        spectra: The data set.
        kind: `random` (the paper's: each sample with the same chance), `wafer` (all of one wafer, honest: neighbours
            on a wafer are near-copies) or `batch` (none).
        share: Of the samples, for `random`.
        seed: Picks the samples, or the wafer: seed 0 the first by name, seed 1 the next, round and round.

    Raises:
        CampaignError: If wafers are asked for and the data set names fewer than two.
    """
    held = np.zeros(len(spectra), dtype=bool)
    if kind == "random":
        held[np.random.default_rng(seed).permutation(len(spectra))[: round(share * len(spectra))]] = True
    if kind == "wafer":
        wafers = np.asarray(spectra.coordinates.get("wafer", []))
        names = np.unique(wafers)
        if len(names) < 2:
            raise CampaignError(
                f"Holding out a wafer needs a data set whose samples name two or more wafers, got {len(names)}. "
                'Use hold_out = "random".'
            )
        held = wafers == names[seed % len(names)]
    return held


class MolecularDynamics:
    """Melts and quenches each alloy in LAMMPS; what a run found stays in the campaign's folder `simulations`."""

    def __init__(self, config: CampaignConfig, folder: Path) -> None:
        settings = config.backend
        assert isinstance(settings, SimulationConfig)
        self._settings, self._folder = settings, folder / "simulations"
        self.cluster: Cluster | None = None  # where simulations run, if not here
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
        self._steps = Preprocessing.over(self.axis_name, axis, wavelength=self.wavelength, **config.spectrum.read())
        self.axis = self._steps.grid()
        self._steps.prepare(axis, np.ones_like(axis))  # refuses a range that simulations don't cover
        content = [asdict(self._protocol), settings.spectra, self._potential.digest, self.axis.tolist()]
        self.fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def candidates(self) -> CompositionSpace:
        """Every alloy of the space."""
        return self._space

    def measure(self, suggestions: Sequence[Suggestion]) -> Generator[News]:
        """Simulate them side by side; an alloy that has been simulated is only looked up.

        Raises:
            SimulationError: If LAMMPS can't run, whatever the alloy.
            ClusterError: If simulations run on a cluster, and that fails.
        """
        simulations = [
            Simulation.of(np.array(s.composition), self._space.elements, self._protocol, self._potential)
            for s in suggestions
        ]
        command = self._settings.command
        timeout = 3600 * (self._settings.timeout_hours or 0) or generous_timeout(self._protocol)
        if self.cluster is not None:
            runs = self.cluster.simulate_all(simulations, self._folder, command=command, timeout=timeout)
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
                suggestion = suggestions[update.number]
                match update.outcome:
                    case None:
                        yield Progress(suggestion, update.share)
                    case MeasurementError() as error:
                        yield Failure(suggestion, str(error), error.cpu_seconds)
                    case structure:
                        raw = spectrum_of(structure, self._settings.spectra, wavelength=self.wavelength)
                        spectrum = self._steps.prepare(self._raw_axis, raw)
                        facts = facts_of(structure, self._potential) | {"key": simulations[update.number].key}
                        yield Measurement(suggestion, structure.composition, spectrum, facts)

    def hold_out(self) -> None:
        """Each batch gives its share."""

    def archive(self) -> None:
        """Nothing is known but what was simulated."""


def protocol_of(settings: SimulationConfig, *, seed: int) -> MeltQuench:
    """The preset with what the campaign changes of it.

    Raises:
        CampaignError: If a setting is unknown, or a number of atoms, bins or steps isn't whole.
        SimulationError: If a value breaks its rule.
    """
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


def facts_of(structure: Structure, potential: Potential) -> dict[str, Any]:
    """What a simulation found besides its spectrum, and from what."""
    peak = first_peak(structure)
    return {
        "density": structure.density,  # g/cm3
        "energy": structure.energy,  # eV an atom
        "temperature": structure.temperature,  # K
        "pressure": structure.pressure,  # bar
        "q1": None if peak.reason else peak.q1,  # 1/Å, of S(q)
        "delta_q": None if peak.reason else peak.delta_q,
        "rdf_peak": first_rdf_peak(structure.r, total_rdf(structure)),  # Å
        "crystalline": structure.crystalline,  # share of atoms
        "is_crystalline": structure.is_crystalline,
        "seed": structure.seed,
        "cpu_seconds": structure.cpu_seconds,
        "potential": potential.name,
        "synthetic": potential.is_synthetic,
    }


BACKENDS: dict[str, Callable[[CampaignConfig, Path], MeasurementBackend]] = {
    "replay": Replay,
    "simulation": MolecularDynamics,
    "lab": Laboratory,
}
