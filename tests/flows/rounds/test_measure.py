"""Measure: what is recorded, and how long it is waited for."""

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from glassmap.agent.config.space import SpectrumConfig
from glassmap.agent.data.dataset import read_dataset
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Suggestion
from glassmap.flows.actions import extend
from glassmap.flows.backends.protocol import Backend, Event, Ledger, Measured, open_backend
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance
from tests.support.campaigns import fingerprint, run, write_campaign
from tests.support.lab_campaigns import edit, measure_all
from tests.support.lab_campaigns import write_campaign as write_lab


def test_what_is_recorded_is_what_the_data_set_holds(finished: Path, small_dataset: Path):
    spectra = read_dataset(small_dataset).prepared(**SpectrumConfig().read())
    place = {tuple(composition): row for row, composition in enumerate(spectra.compositions.tolist())}
    with CampaignStore.read_only(finished) as store:
        _, compositions, recorded = store.spectra(hold_out=False)
    found = [place[tuple(composition)] for composition in compositions.tolist()]
    np.testing.assert_allclose(recorded, spectra.intensities[found], rtol=1e-6)


class HalfAnswering(Backend):
    """A replay that measures half of what it is asked for, and counts."""

    def __init__(self, replay: Backend) -> None:
        self.has_test_set = replay.has_test_set
        self.axis_name, self.axis, self.wavelength = replay.axis_name, replay.axis, replay.wavelength
        self.candidates, self.hold_out, self.archive = replay.candidates, replay.hold_out, replay.archive
        self.fingerprint, self.source, self._replay = replay.fingerprint, replay.source, replay
        self.asked: list[str] = []

    def measure(self, pending: Sequence[Suggestion], ledger: Ledger) -> Generator[Event]:
        for measurement in self._replay.measure(pending[: -(-len(pending) // 2)], ledger):
            assert isinstance(measurement, Measured) and measurement.suggestion is not None
            self.asked.append(measurement.suggestion.id)
            yield measurement


def test_a_backend_that_answers_in_parts_is_waited_for_and_never_asked_twice(
    tmp_path: Path, small_dataset: Path, finished: Path
):
    config = write_campaign(tmp_path, small_dataset)
    backend, seen = HalfAnswering(open_backend(config.backend, config, tmp_path)), []
    for _ in range(20):
        with open_campaign(tmp_path) as campaign:
            campaign.backend = backend
            seen.append(advance(campaign))
        if seen[-1].state != "waiting":
            break
    assert seen[0].reason.startswith("Waiting for 4 of 8 measurements of round 1 since ")
    assert [status.state for status in seen] == ["waiting"] * 9 + ["exhausted"]
    assert len(backend.asked) == len(set(backend.asked)) == 24
    assert fingerprint(tmp_path) == fingerprint(finished)


def test_a_budget_of_hours_ends_the_wait_for_a_laboratory(tmp_path: Path):
    folder = write_lab(tmp_path / "lab", minimum_share=1.0, patience_hours=1000.0)
    run(folder)
    measure_all(folder, skip=2)
    assert run(folder).state == "waiting"
    edit(folder, "max_rounds = 10", "max_rounds = 10\nmax_hours = 0.000001")
    status = run(folder)
    assert status.state == "exhausted" and "the budget of 1e-06 hours is spent" in status.reason
    with CampaignStore.amend(folder, person="ada") as store:
        extend(store, "", hours=5.0)
    assert run(folder).reason.startswith("Waiting for 8 of 8 measurements of round 2")
