import platform
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from glassmap.agent.atomic_file import partial_beside
from glassmap.agent.config.campaign import FILE_NAME
from glassmap.agent.data.dataset import read_dataset, write_dataset
from glassmap.agent.errors import CampaignError, MeasurementError, SpaceExhausted
from glassmap.agent.maps.spectra_archive import read_map
from glassmap.agent.models.ensemble import TrainedEnsemble
from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Suggestion
from glassmap.agent.store.status import Status
from glassmap.flows.backends.protocol import Backend, Ledger, Measured, open_backend
from glassmap.flows.rounds.campaign import OpenCampaign, open_campaign
from glassmap.flows.rounds.loop import STAGES, advance
from tests.support.campaigns import fingerprint, rows, write_campaign


def run(folder: Path) -> Status:
    with open_campaign(folder) as campaign:
        return advance(campaign)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """A campaign that ran through."""
    folder = tmp_path_factory.mktemp("finished")
    write_campaign(folder, small_dataset)
    run(folder)
    return folder


@pytest.fixture
def continued(finished: Path, tmp_path: Path) -> Path:
    """The same, to go on with."""
    return Path(shutil.copytree(finished, tmp_path / "continued"))


def test_a_replay_runs_through_to_its_own_stop(finished: Path):
    with CampaignStore.read_only(finished) as store:
        status, curve, suggestions, coverage = store.status(), store.curve(), store.suggestions(), store.coverage()
    assert status.state == "exhausted" and "the budget of 3 rounds is spent" in status.reason
    assert (status.rounds, status.spectra, status.hold_out_mse) == (3, 24, curve[-1].mse)
    assert [point.spectra for point in curve] == [8, 16, 24]
    assert curve[0].next_batch_mse is None and curve[1].next_batch_mse is not None
    assert len({s.row for s in suggestions}) == 24, "no alloy is asked for twice"
    assert coverage[0].mean > coverage[1].mean > coverage[2].mean
    assert rows(finished, "SELECT DISTINCT status, attempts FROM stages") == [("done", 1)]


def test_a_campaign_that_has_stopped_does_nothing_more(continued: Path):
    before = fingerprint(continued)
    assert run(continued).state == "exhausted"
    assert fingerprint(continued) == before


def test_what_is_recorded_is_what_the_data_set_holds(finished: Path, small_dataset: Path):
    spectra = read_dataset(small_dataset).prepared()
    place = {tuple(composition): row for row, composition in enumerate(spectra.compositions.tolist())}
    with CampaignStore.read_only(finished) as store:
        _, compositions, recorded = store.spectra(hold_out=False)
    found = [place[tuple(composition)] for composition in compositions.tolist()]
    np.testing.assert_allclose(recorded, spectra.intensities[found], rtol=1e-6)


def test_the_same_seed_gives_the_same_campaign_to_the_last_byte(finished: Path, tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset)
    run(tmp_path)
    assert fingerprint(tmp_path) == fingerprint(finished)


def test_another_seed_gives_another_campaign(finished: Path, tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, seed=1, stop={"max_rounds": 1})
    run(tmp_path)
    ours, theirs = fingerprint(tmp_path), fingerprint(finished)
    assert not {row[4] for row in ours["suggestions"]} <= {row[4] for row in theirs["suggestions"]}
    assert ours["curve"][0] != theirs["curve"][0]


def test_batches_can_lean_to_where_the_members_disagree(finished: Path, tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, planning={"weights": "disagreement"}, stop={"max_rounds": 2})
    run(tmp_path)
    with CampaignStore.read_only(tmp_path) as leaning, CampaignStore.read_only(finished) as even:
        assert leaning.suggestions(round_=1) == even.suggestions(round_=1), "no model has an opinion yet"
        drawn, plain = ([s.composition for s in store.suggestions(round_=2)] for store in (leaning, even))
        checkpoint = leaning.artefact("checkpoint", 1)
    assert checkpoint is not None
    model = TrainedEnsemble.load(checkpoint[1])
    assert model.disagreement(np.array(drawn)).mean() > model.disagreement(np.array(plain)).mean()


def test_the_map_holds_every_alloy_of_the_space_and_says_what_made_it(finished: Path):
    with CampaignStore.read_only(finished) as store:
        round_, path = store.artefact("map") or (0, Path())
        _, checkpoint = store.artefact("checkpoint") or (0, Path())
    columns, metadata = read_map(path)
    figures = [*(name for figure in FIGURES for name in (figure.name, figure.std_name)), "peak_share", "distance"]
    assert list(columns) == ["Co", "V", "Zr", *figures]
    config = metadata.pop("config")
    assert config["space"]["elements"] == ["Co", "V", "Zr"] and config["model"]["members"] == 2
    assert not {"stop", "device", "name"} & set(config) and "dataset" not in config["backend"]
    assert metadata == {"campaign": "small", "round": 3, "checkpoint": checkpoint.stem} and round_ == 3
    at_pct = np.stack([columns[element] for element in ("Co", "V", "Zr")], axis=1)
    assert at_pct.dtype == np.uint8 and len(np.unique(at_pct, axis=0)) == 171  # interior, 5 at.%: 19 · 18 / 2
    assert (at_pct.sum(axis=1) == 100).all() and (at_pct % 5 == 0).all() and at_pct.min() == 5
    assert pq.read_schema(path).field("delta_q").type == "float"
    found = np.isfinite(columns["delta_q"])
    np.testing.assert_array_equal(np.isfinite(columns["q1"]), found)
    voices = np.rint(4 * columns["peak_share"])  # two networks, a Gaussian process, trees
    np.testing.assert_array_equal(np.isfinite(columns["q1_std"]), voices > 1)
    assert ((columns["q1"][found] > 1) & (columns["q1"][found] < 5)).all()


def test_the_last_checkpoint_reloads_and_knows_what_it_learned_from(finished: Path):
    with CampaignStore.read_only(finished) as store:
        _, path = store.artefact("checkpoint") or (0, Path())
        ids, compositions, _ = store.spectra(hold_out=False)
        _, axis, _ = store.axis()
    ensemble = TrainedEnsemble.load(path, device="cpu")
    assert ensemble.record == {
        "campaign": "small",
        "round": 3,
        "training_ids": ids,
        "elements": ["Co", "V", "Zr"],
    }
    np.testing.assert_array_equal(ensemble.axis, axis)
    assert ensemble.predict(compositions).mean.shape == (24, 96)


def test_a_wafer_that_is_held_out_is_never_planned(tmp_path: Path, small_dataset: Path):
    config = write_campaign(tmp_path, small_dataset, backend={"hold_out": "wafer"}, stop={"max_rounds": 1})
    run(tmp_path)
    spectra = read_dataset(small_dataset)
    held = spectra.coordinates["wafer"] == "east"  # seed 0: the first by name
    with CampaignStore.read_only(tmp_path) as store:
        planned = np.array([s.composition for s in store.suggestions()])
    assert not (planned[:, None] == spectra.compositions[held]).all(axis=2).any()
    compositions, _ = open_backend(config.backend, config, tmp_path).hold_out() or (np.empty(0), None)
    np.testing.assert_array_equal(compositions, spectra.compositions[held])


def test_a_share_of_each_batch_can_be_held_out(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, backend={"hold_out": "batch"}, planning={"hold_out_share": 0.25})
    run(tmp_path)
    assert rows(tmp_path, "SELECT round, sum(hold_out), count(*) FROM suggestions GROUP BY 1") == [
        (1, 2, 8),
        (2, 2, 8),
        (3, 2, 8),
    ]
    with CampaignStore.read_only(tmp_path) as store:
        assert [point.spectra for point in store.curve()] == [6, 12, 18]
        _, checkpoint = store.artefact("checkpoint") or (0, Path())
        held, _, _ = store.spectra(hold_out=True)
    assert set(TrainedEnsemble.load(checkpoint, device="cpu").record["training_ids"]).isdisjoint(held)


def test_a_replay_of_too_few_wafers_is_refused(tmp_path: Path, small_dataset: Path):
    one = tmp_path / "one.nc"
    write_dataset(read_dataset(small_dataset).where("wafer=east"), one)
    write_campaign(tmp_path, one, backend={"hold_out": "wafer"})
    with pytest.raises(CampaignError, match="two or more wafers, got 1"), open_campaign(tmp_path):
        pass


def test_other_elements_than_the_data_sets_are_refused(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, space={"elements": ["Co", "Zr", "V"]})
    with pytest.raises(CampaignError, match="Co, V, Zr; got Co, Zr, V"), open_campaign(tmp_path):
        pass


def test_an_exhausted_space_ends_the_campaign_with_its_last_alloy(tmp_path: Path, small_dataset: Path):
    few = tmp_path / "few.nc"
    write_dataset(read_dataset(small_dataset).select(np.arange(20)), few)
    write_campaign(tmp_path, few, stop={"max_rounds": 9, "patience": 9})
    status = run(tmp_path)
    assert status.state == "exhausted" and "no alloy is left to measure" in status.reason
    assert status.spectra == 14, "all of the 70 % that may be planned"
    with open_campaign(tmp_path) as campaign, pytest.raises(SpaceExhausted):
        STAGES["plan"](campaign, 3)


def test_a_stage_that_fails_is_recorded_and_tried_again(tmp_path: Path, small_dataset: Path, finished: Path):
    write_campaign(tmp_path, small_dataset)

    def broken(campaign: OpenCampaign, round_: int) -> str:
        raise MeasurementError("The furnace is cold.")

    with open_campaign(tmp_path) as campaign, pytest.raises(MeasurementError, match="furnace"):
        advance(campaign, stages={**STAGES, "map": broken})
    with CampaignStore.read_only(tmp_path) as store:
        status = store.status()
    assert (status.state, status.reason) == ("failed", "Round 1, map: MeasurementError: The furnace is cold.")
    assert run(tmp_path).state == "exhausted"
    assert rows(tmp_path, "SELECT name, status, attempts, error FROM stages WHERE round = 1 AND attempts > 1") == [
        ("map", "done", 2, None)
    ]
    assert fingerprint(tmp_path) == fingerprint(finished), "the failure left no trace in the results"


class HalfAnswering(Backend):
    """A replay that measures half of what it is asked for, and counts."""

    def __init__(self, replay: Backend) -> None:
        self.has_test_set = replay.has_test_set
        self.axis_name, self.axis, self.wavelength = replay.axis_name, replay.axis, replay.wavelength
        self.candidates, self.hold_out, self.archive = replay.candidates, replay.hold_out, replay.archive
        self.fingerprint, self.source, self._replay = replay.fingerprint, replay.source, replay
        self.asked: list[str] = []

    def measure(self, pending: Sequence[Suggestion], ledger: Ledger) -> Generator[Measured]:
        for measurement in self._replay.measure(pending[: -(-len(pending) // 2)], ledger):
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


def test_an_alloy_whose_measured_composition_drifted_is_not_planned_again_at_either_place(
    tmp_path: Path, small_dataset: Path
):
    config = write_campaign(tmp_path, small_dataset, planning={"batch": 105})
    replay = open_backend(config.backend, config, tmp_path)
    pool = replay.candidates()
    first = Suggestion("r001-01", 1, 0, tuple(pool[0].tolist()), hold_out=False)
    with open_campaign(tmp_path) as campaign:
        STAGES["plan"](campaign, 2)
        free = {s.row for s in campaign.store.suggestions(round_=2)}
    assert {0, 1} <= free, "the whole pool"
    write_campaign(tmp_path / "again", small_dataset, planning={"batch": 105})
    with open_campaign(tmp_path / "again") as campaign:
        store = campaign.store
        with store.transaction():
            store.record_batch(1, [first], Coverage(1.0, 1.0, 1.0))
            store.record_spectrum(first, pool[1], np.ones(96), backend="replay")  # asked for alloy 0, found alloy 1
        STAGES["plan"](campaign, 2)
        assert {0, 1}.isdisjoint(s.row for s in store.suggestions(round_=2))


def test_a_larger_budget_lets_an_exhausted_campaign_go_on(continued: Path, small_dataset: Path, tmp_path: Path):
    write_campaign(continued, small_dataset, stop={"max_rounds": 4})
    status = run(continued)
    assert (status.state, status.rounds, status.spectra) == ("exhausted", 4, 32)
    write_campaign(tmp_path / "at once", small_dataset, stop={"max_rounds": 4})
    run(tmp_path / "at once")
    assert fingerprint(continued) == fingerprint(tmp_path / "at once")


def test_a_laxer_rule_makes_a_campaign_that_has_stopped_decide_again(continued: Path, small_dataset: Path):
    write_campaign(continued, small_dataset, stop={"tolerance": 0.99, "patience": 1})
    assert run(continued).state == "converged"
    assert rows(continued, "SELECT round, state FROM decisions") == [
        (1, "continue"),
        (2, "continue"),
        (3, "converged"),
    ]


def test_a_setting_that_the_rounds_depend_on_is_refused_once_the_campaign_began(continued: Path, small_dataset: Path):
    before = fingerprint(continued)
    write_campaign(continued, small_dataset, planning={"batch": 9}, stop={"max_rounds": 9})
    with pytest.raises(CampaignError, match="began: planning;"), open_campaign(continued):
        pass
    assert fingerprint(continued) == before


@pytest.mark.parametrize("change", ["order", "axis", "intensity", "more"])
def test_a_data_set_that_changed_under_a_campaign_is_refused(tmp_path: Path, small_dataset: Path, change: str):
    data = tmp_path / "data.nc"
    shutil.copy(small_dataset, data)
    write_campaign(tmp_path, data)
    with open_campaign(tmp_path) as campaign:
        STAGES["plan"](campaign, 1)
    spectra = read_dataset(data)
    changed = {
        "order": spectra.select(np.arange(150)[::-1]),
        "axis": spectra.prepared(high=4.0),
        "intensity": replace(spectra, intensities=spectra.intensities[:, ::-1].copy()),
        "more": spectra.select(np.arange(149)),
    }
    write_dataset(changed[change], data)
    with (
        pytest.raises(CampaignError, match="or potential changed since the campaign"),
        open_campaign(tmp_path),
    ):
        pass
    assert rows(tmp_path, "SELECT count(*) FROM spectra") == [(0,)]


def test_a_campaign_and_its_data_may_move(tmp_path: Path, small_dataset: Path, finished: Path):
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(small_dataset, tmp_path / "elsewhere" / "data.nc")
    moved = Path(shutil.copytree(finished, tmp_path / "moved"))
    write_campaign(moved, Path("../elsewhere/data.nc"), stop={"max_rounds": 4})
    assert run(moved).rounds == 4


def test_bounds_and_limits_hold_in_a_replay(tmp_path: Path, small_dataset: Path):
    space = {"bounds_at_pct": {"Co": (20.0, 100.0)}, "limits": ("V <= 30",)}
    write_campaign(tmp_path, small_dataset, space=space, planning={"batch": 30}, stop={"max_rounds": 1})
    run(tmp_path)
    with CampaignStore.read_only(tmp_path) as store:
        compositions = np.array([s.composition for s in store.suggestions()])
    assert len(compositions) > 5
    assert compositions[:, 0].min() >= 0.2 and compositions[:, 1].max() <= 0.3
    write_campaign(tmp_path / "none", small_dataset, space={"limits": ("V >= 99",), "edges": True})
    with pytest.raises(CampaignError, match="None of the 150 alloys"), open_campaign(tmp_path / "none"):
        pass


def test_partial_files_of_a_killed_process_are_cleared_away(continued: Path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    strays = [
        continued / folder / f".partial-{platform.node()}-{int(ended.stdout)}-x"
        for folder in ("", "checkpoints", "maps")
    ]
    being_written = partial_beside(continued / "orders" / "x")  # by a person's command beside the driver
    for stray in (*strays, being_written):
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"half")
    with open_campaign(continued):
        assert not any(stray.exists() for stray in strays) and being_written.exists()
    assert (continued / FILE_NAME).exists()
