"""Candidates: what a batch may be chosen from."""

from collections.abc import Collection
from copy import copy

import numpy as np

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.config.wafers import CandidatesConfig
from glassmap.agent.data.composition import SAME_ALLOY, CompositionSpace
from glassmap.agent.data.samples import Samples, read_samples
from glassmap.agent.errors import CampaignError
from glassmap.agent.outside_text import plain_name
from glassmap.agent.planning.acquisition import NEAR_AT_PCT, distance_to, rows_of
from glassmap.agent.shapes import CandidateCompositions, TakenCompositions
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Request, Suggestion
from glassmap.flows.backends.protocol import Backend
from glassmap.flows.rounds.campaign import OpenCampaign
from glassmap.flows.rounds.chamber import planned_points


def candidates_of(campaign: OpenCampaign, round_: int) -> CompositionSpace | Samples:
    """Return what a round's batch may be chosen from, asked for before or not; see `known_candidates`."""
    at = campaign.at(round_)
    if at.is_guide:
        return offered(campaign.config, at.backend)
    return known_candidates(campaign.config, at.backend, campaign.store)


def known_candidates(config: CampaignConfig, backend: Backend, store: CampaignStore) -> CompositionSpace | Samples:
    """Return what a campaign's own batches may be chosen from, whether it was asked for before or not.

    Those are the samples of the tables that the campaign file names under `[candidates]` and, where wafers are planned,
    the points of those that were to be made, as far as the space admits them; else what who measures offers, such as
    the space or the samples of a data set.

    Raises:
        CampaignError: If the space admits none of the samples.
        DatasetError: If a table can't be read.
    """
    makes = config.planning.unit == "wafer" and config.wafer is not None
    if config.candidates is None:
        return planned_points(config, store) if makes else offered(config, backend)
    samples = _in_tables(config, config.candidates)
    if makes:
        return Samples.joined([_within(config, samples), planned_points(config, store)])
    return _some_within(config, samples, ", ".join(path.name for path in config.candidates.table))


def samples_outside(config: CampaignConfig, backend: Backend) -> Samples:
    """Return the samples of tables or of a data set that lie outside the space's bounds and limits.

    Raises:
        DatasetError: If a table can't be read.
    """
    found = backend.candidates() if config.candidates is None else _in_tables(config, config.candidates)
    if isinstance(found, CompositionSpace):
        return Samples.none(len(config.space.elements))
    return found.select(np.flatnonzero(~config.space.build().admits(found.compositions)))


def _in_tables(config: CampaignConfig, settings: CandidatesConfig) -> Samples:
    return read_samples(
        settings.table,
        config.space.elements,
        sample=settings.sample,
        columns=settings.columns,
        unit=settings.unit,
        others=settings.others,
    )


def offered(config: CampaignConfig, backend: Backend) -> CompositionSpace | Samples:
    """Return what who measures offers of today's space: all of it, or the samples that there are in it.

    Raises:
        CampaignError: If the space admits none of the samples.
    """
    found = backend.candidates()
    return config.space.build() if isinstance(found, CompositionSpace) else _some_within(config, found, "the data set")


def _some_within(config: CampaignConfig, samples: Samples, of: str) -> Samples:
    """Return the samples that lie within the bounds and limits, or refuse that none does."""
    if not len(found := _within(config, samples)):
        raise CampaignError(
            f"None of the {len(samples)} samples of {of} lies within the bounds and limits of [space]. Widen them, as "
            "with `glassmap change`."
        )
    return found


def _within(config: CampaignConfig, samples: Samples) -> Samples:
    return samples.select(np.flatnonzero(config.space.build().admits(samples.compositions)))


class Choice:
    """What a batch is chosen from, as planning takes it, and the way back to what is asked for."""

    def __init__(
        self,
        candidates: CompositionSpace | Samples,
        store: CampaignStore,
        *,
        without: Collection[str] = (),
        only: Collection[str] | None = None,
    ) -> None:
        """Leave out the samples that were asked for or measured, and the wafers that nothing is planned of any more.

        Args:
            candidates: All of them.
            store: The campaign's.
            without: Wafers that are to be left out, too.
            only: The wafers that are chosen from; all by default.
        """
        self.candidates, self._taken = candidates, store.taken_samples()
        if isinstance(candidates, CompositionSpace):
            self.free: CompositionSpace | Samples = candidates
            return
        gone = {*map(plain_name, without)} | store.given_up_wafers()
        chosen = None if only is None else {*map(plain_name, only)}
        called = enumerate(zip(candidates.wafers, candidates.names, strict=True))
        free = [
            row
            for row, (wafer, name) in called
            if not (key_of(wafer, name) in self._taken or plain_name(wafer) in gone)
            and (chosen is None or plain_name(wafer) in chosen)
        ]
        self._rows = np.array(free, dtype=np.intp)
        self.free = candidates.select(self._rows)

    @property
    def alloys(self) -> CompositionSpace | CandidateCompositions:
        """The space, or the compositions of the samples that are free, shape `(c, e)`."""
        return self.free if isinstance(self.free, CompositionSpace) else self.free.compositions

    def composition(self, row: int) -> tuple[float, ...]:
        """Return what stands in a row of `alloys`, atomic fraction."""
        alloys = self.alloys
        found = alloys.compositions(np.array([row]))[0] if isinstance(alloys, CompositionSpace) else alloys[row]
        return tuple(found.tolist())

    def with_covered(self, taken: TakenCompositions) -> "Choice":
        """Return the same with the samples of a list, too, that lie where something is taken.

        A batch is planned evenly over all of the list, and its coverage is said of all; nothing is chosen there.

        Args:
            taken: What is measured, pending or rejected, shape `(t, e)`.
        """
        if isinstance(self.candidates, CompositionSpace):
            return self
        whole, covered = copy(self), distance_to(self.candidates.compositions, taken) <= SAME_ALLOY
        whole._rows = np.union1d(self._rows, np.flatnonzero(covered))
        whole.free = self.candidates.select(whole._rows)
        return whole

    def suggest(self, suggestion: Suggestion, row: int) -> Suggestion:
        """Return a suggestion of what stands in a row of `alloys`, with its sample, wafer and place if it has some."""
        if isinstance(self.free, CompositionSpace):
            return suggestion._replace(row=row)
        free = self.free
        x, y = (None if np.isnan(value) else float(value) for value in (free.x[row], free.y[row]))
        where = {"sample": free.names[row], "wafer": free.wafers[row], "x": x, "y": y}
        return suggestion._replace(row=int(self._rows[row]), **where)

    def has_taken(self, request: Request, taken: TakenCompositions) -> bool:
        """Return whether what a person asked for is measured, pending or rejected in the meantime.

        Args:
            request: As it is recorded.
            taken: Such alloys, shape `(t, e)`; of samples the store knows which are.
        """
        if request.sample:
            return key_of(request.wafer, request.sample) in self._taken
        return bool((np.linalg.norm(taken - request.composition, axis=1) <= SAME_ALLOY).any())

    def row_of(self, request: Request) -> int | None:
        """Return the row of `alloys` that a person asked for; None where it is among them no more.

        For an alloy without a sample the nearest stands, up to `NEAR_AT_PCT` away.
        """
        if isinstance(self.free, CompositionSpace) or not request.sample:
            if not len(self.free):
                return None
            row = int(rows_of(self.alloys, np.array([request.composition]))[0])
            away = np.linalg.norm(np.subtract(self.composition(row), request.composition))
            return row if 100 * away <= NEAR_AT_PCT else None
        called = enumerate(zip(self.free.wafers, self.free.names, strict=True))
        wanted = key_of(request.wafer, request.sample)
        return next((row for row, one in called if key_of(*one) == wanted), None)


def key_of(wafer: str, name: str) -> tuple[str, str]:
    """Return what a sample is compared by; see `CampaignStore.taken_samples`."""
    return plain_name(wafer), plain_name(name)
