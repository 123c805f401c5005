"""Replay: look spectra up in a data set, so that a campaign can be judged against what was really measured."""

import hashlib
import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from glassmap.agent.config.backends import BackendSettings
from glassmap.agent.config.settings import Share
from glassmap.agent.data.context import WAFER, Held, rows_of
from glassmap.agent.data.samples import Samples, name_of_wafer, samples_of
from glassmap.agent.errors import CampaignError, DatasetError, SpectrumError
from glassmap.agent.shapes import Compositions, Mask, PerSample, Spectra, Spectrum
from glassmap.agent.store.records import Measurement, Suggestion
from glassmap.flows.backends.protocol import CONTEXT, Backend, Failed, Ledger, Measured, TestSet

if TYPE_CHECKING:
    from glassmap.agent.config.campaign import CampaignConfig
    from glassmap.agent.data.dataset import SpectraSet


class Settings(BackendSettings):
    """Which data set is replayed, and what of it is held out."""

    free: ClassVar = ("dataset", "flagged")  # the file may move; what it holds is watched by the fingerprint
    knows_context: ClassVar = True
    has_own_samples: ClassVar = True

    kind: str = "replay"
    """Who measures: a data set, in which spectra are looked up."""
    dataset: Path
    """The data set, a NetCDF file."""
    variable: str = "intensity"
    """The kind of spectra, where the data set holds several, such as "rdf"."""
    where: str | None = Field(default=None, examples=["cleaned"])
    """Only samples that meet this, such as "cleaned" or "wafer=east"."""
    hold_out: Literal["random", "wafer", "batch"] = "random"
    """What judges the model: random samples, a wafer that it never saw, or a share of each batch."""
    test_share: Share = 0.3
    """Share of the data set that is held out where hold_out = "random"; the paper's."""
    flagged: Literal["use", "hold"] = "hold"
    """Whether flagged measurements are learned from before a person decides."""

    @property
    def has_test_set(self) -> bool:
        """Whether a part of the data set is held out."""
        return self.hold_out != "batch"


def open_backend(settings: Settings, config: "CampaignConfig", folder: Path) -> "Replay":
    """Read the data set and split it."""
    return Replay(settings, config)


class Replay(Backend):
    """Looks the answer up in a data set, so that a campaign can be judged against what was really measured.

    The data set is split once, by the campaign's seed: into alloys that may be planned and alloys held out.
    """

    def __init__(self, settings: Settings, config: "CampaignConfig") -> None:
        from glassmap.agent.data.dataset import read_dataset

        spectra = read_dataset(settings.dataset, variable=settings.variable)
        known_notes = spectra.notes
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
        self._held_at, everything = config.space.held, spectra
        try:
            spectra, context = spectra.select(admitted).with_context(self._held_at)
        except DatasetError as error:
            raise CampaignError(f"{settings.dataset}: {error} Correct space.context in the campaign file.") from error
        self.notes = tuple(note for note in spectra.notes if note not in known_notes)
        counts = counts_of(spectra)
        self._steps = config.spectrum.read(spectra.axis_name, spectra.wavelength)
        spectra = spectra.prepared(**self._steps)
        self.axis_name, self.axis, self.wavelength = spectra.axis_name, spectra.axis, spectra.wavelength
        held = split(spectra, settings.hold_out, share=settings.test_share, seed=config.seed)
        self._all, self._pool, self._counts = spectra, spectra.select(~held), counts[~held]
        self._known = context
        self._test = spectra.select(held) if held.any() else None
        self._context, self._test_context = (rows_of(context, np.flatnonzero(part)) for part in (~held, held))
        self._samples = samples_of(self._pool)
        self._beyond = None if admitted.all() else everything.select(~admitted)
        if self._beyond is not None and settings.hold_out == "wafer" and self._test is not None:
            others = ~np.isin(wafers_of(self._beyond), wafers_of(self._test))  # a wafer is held out whole
            self._beyond = self._beyond.select(others) if others.any() else None
        if self._beyond is not None:
            self._samples = self._samples.with_others(samples_of(self._beyond))
        called = zip(self._samples.wafers, self._samples.names, strict=True)
        self._rows = {sample: row for row, sample in enumerate(called)}
        self.has_test_set, self.holds_flagged = self._test is not None, settings.flagged == "hold"
        self.source = f"simulated with {potential}" if (potential := spectra.attributes.get("potential")) else ""
        self.needs_screening = not self.source
        content = (spectra.axis, spectra.compositions, spectra.intensities, held)
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in content))
        for name, values in context.items():  # none without a context: the fingerprint of earlier versions
            digest.update(json.dumps([name, values.tolist()]).encode())
        self.fingerprint = digest.hexdigest()

    def candidates(self) -> Samples:
        """Return the samples of the data set that aren't held out.

        Those come last that lie outside the space that the campaign began with, which is what was split: a space that
        became wider admits some of them.
        """
        return self._samples

    def measure(self, pending: Sequence[Suggestion], ledger: Ledger) -> Generator[Measured | Failed]:
        """Look each up by its name; by its row where it was planned by a version that asked for no names."""
        for s in pending:
            try:
                found, counts, context = self._look_up(s)
            except (DatasetError, SpectrumError) as error:  # outside the space that the campaign began with
                yield Failed(s, f"It can't be replayed: {error}")
                continue
            facts: dict[str, Any] = {"counts": counts}
            if wafer := wafers_of(found)[0]:
                facts[WAFER] = wafer
            if context:
                facts[CONTEXT] = context
            yield Measured(s, found.compositions[0], found.intensities[0], facts)

    def recall(self, measurement: Measurement, ledger: Ledger) -> Spectrum | None:
        """Look it up again."""
        asked = ledger.suggestion(measurement.suggestion or "")
        return None if asked is None else self._look_up(asked)[0].intensities[0]

    def _look_up(self, asked: Suggestion) -> "tuple[SpectraSet, float, Held]":
        """Return a sample alone as it is learned, its counts, and its process variables.

        Raises:
            DatasetError: If its process variables aren't known.
            SpectrumError: If it doesn't cover the range, or holds no signal.
        """
        row = self._rows.get((asked.wafer, asked.sample), asked.row)
        if row < len(self._pool):
            context = {name: values[row].item() for name, values in self._context.items()}
            return self._pool.select(np.array([row])), float(self._counts[row]), context
        assert self._beyond is not None, "it was among the candidates"
        alone, known = self._beyond.select(np.array([row - len(self._pool)])).with_context(self._held_at)
        context = {name: values[0].item() for name, values in known.items()}
        return alone.prepared(**self._steps), float(counts_of(alone)[0]), context

    def hold_out(self) -> TestSet | None:
        """Return the test set, if the replay was asked for one."""
        test = self._test
        return (
            None if test is None else TestSet(test.compositions, test.intensities, wafers_of(test), self._test_context)
        )

    def mixture(self) -> str:
        """Hold the samples of one alloy against each other, those of one context."""
        from glassmap.agent.data.mixture import mixture_of

        found = mixture_of(self._all, known=self._known)
        return "" if found is None else found.say()

    def archive(self) -> tuple[Compositions, Spectra]:
        """Return every alloy of the data set."""
        return self._all.compositions, self._all.intensities


def counts_of(spectra: "SpectraSet") -> PerSample:
    """Return the median of each spectrum as it was measured, before it is normalised."""
    return np.median(spectra.intensities, axis=1).astype(np.float64)


def wafers_of(spectra: "SpectraSet") -> list[str]:
    """Return the wafer that each sample lies on; empty where the data set doesn't say."""
    return [name_of_wafer(name) for name in spectra.coordinates.get(WAFER, [""] * len(spectra))]


def split(spectra: "SpectraSet", kind: str, *, share: float, seed: int) -> Mask:
    """Return which samples are held out.

    Args:
        spectra: The data set.
        kind: `random` (the paper's: each sample with the same chance), `wafer` (all of one wafer, honest: neighbours
            on a wafer are near-copies; who doesn't say its wafer is on none) or `batch` (none).
        share: Of the samples, for `random`.
        seed: Picks the samples, or the wafer: seed 0 the first by name, seed 1 the next, round and round.

    Raises:
        CampaignError: If wafers are asked for and the data set names fewer than two.
    """
    held = np.zeros(len(spectra), dtype=bool)
    if kind == "random":
        held[np.random.default_rng(seed).permutation(len(spectra))[: round(share * len(spectra))]] = True
    if kind == "wafer":
        known = np.unique(np.asarray(spectra.coordinates.get(WAFER, [])))  # numbers by size
        names = [name for name in dict.fromkeys(map(name_of_wafer, known)) if name]
        if len(names) < 2:
            raise CampaignError(
                f"Holding out a wafer needs a data set whose samples name two or more wafers, got {len(names)}. "
                'Use hold_out = "random".'
            )
        held = np.array(wafers_of(spectra)) == names[seed % len(names)]
    return held
