import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database

from glassmap.agent.errors import StoreError
from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.planning.convergence import CurvePoint, Decision
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import FILE_NAME
from glassmap.agent.store.records import Suggestion
from glassmap.agent.store.schema import migrations

ALLOYS = [(0.2, 0.3, 0.5), (0.4, 0.4, 0.2), (0.1, 0.1, 0.8)]
BATCH = [Suggestion(f"r001-{k + 1:02d}", 1, 7 * k, alloy, hold_out=k == 2) for k, alloy in enumerate(ALLOYS)]
SPECTRUM = np.array([0.0, 1 / 3, 100.0, 20.0])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CampaignStore]:
    with CampaignStore.open(tmp_path) as opened:
        with opened.transaction():
            opened.record_axis("q", np.array([1.0, 2.0, 3.0, 4.5]), None)
            opened.record_start(["Co", "V", "Zr"])
            opened.record_batch(1, BATCH, Coverage(10.0, 20.0, 5.0))
        yield opened


def record_all(store: CampaignStore) -> None:
    with store.transaction():
        for suggestion in BATCH:
            store.record_spectrum(suggestion, np.array(suggestion.composition), SPECTRUM, backend="replay")


def test_what_goes_in_comes_out(store: CampaignStore):
    record_all(store)
    point, decision = (
        CurvePoint(1, 2, 12.5, 14.0, None, {"delta_q": 0.02, "q1": None}),
        Decision("continue", "Go on.", (0.1, -0.2)),
    )
    with store.transaction():
        store.record_curve_point(point)
        store.record_decision(1, decision)
        store.record_artefact(1, "map", store.folder / "maps" / "m.parquet")
    assert store.suggestions() == BATCH
    ids, compositions, spectra = store.spectra(hold_out=False)
    assert ids == ["r001-01", "r001-02"]
    np.testing.assert_array_equal(compositions, ALLOYS[:2])
    np.testing.assert_array_equal(spectra, [SPECTRUM.astype(np.float32)] * 2)
    assert store.spectra(hold_out=True)[0] == ["r001-03"]
    assert store.axis()[0] == "q" and store.axis()[1].tolist() == [1.0, 2.0, 3.0, 4.5]
    assert (store.curve(), store.decision(), store.n_spectra()) == ([point], (1, decision), 3)
    assert store.artefact("map") == (1, store.folder / "maps" / "m.parquet")
    assert store.artefact("map", 2) is None
    assert store.coverage() == [Coverage(10.0, 20.0, 5.0)]


def test_before_the_first_measurement_the_arrays_are_empty_but_of_the_right_width(store: CampaignStore):
    ids, compositions, spectra = store.spectra(hold_out=False)
    assert (ids, compositions.shape, spectra.shape) == ([], (0, 3), (0, 4))
    assert store.suggestions(pending=True) == BATCH


def test_a_target_whose_measured_composition_drifted_is_taken_at_both_places(store: CampaignStore):
    drifted = np.array([0.25, 0.27, 0.48])
    with store.transaction():
        store.record_spectrum(BATCH[0], drifted, SPECTRUM, backend="replay")
    taken = {tuple(row) for row in store.taken().tolist()}
    assert taken == {*ALLOYS, tuple(drifted.tolist())}
    np.testing.assert_array_equal(store.spectra(hold_out=False)[1], [drifted])


def test_the_reading_door_can_not_write(store: CampaignStore, tmp_path: Path):
    with CampaignStore.read_only(tmp_path) as reader:
        assert len(reader.suggestions()) == 3
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.log("hello")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.record_start([])
    assert store.elements == ["Co", "V", "Zr"]


def test_a_folder_without_a_store_says_how_to_start_one(tmp_path: Path):
    with pytest.raises(StoreError, match="glassmap run"), CampaignStore.read_only(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_was_cut_before_its_first_table_reads_as_empty_and_is_mended_by_the_writer(tmp_path: Path):
    (tmp_path / FILE_NAME).touch()
    with CampaignStore.read_only(tmp_path) as store:
        assert store.suggestions() == [] and not store.has_begun
    assert (tmp_path / FILE_NAME).stat().st_size == 0, "a reader writes nothing"
    with CampaignStore.open(tmp_path) as store:
        assert store.suggestions() == []
    with CampaignStore.read_only(tmp_path) as store:
        assert store.suggestions() == []


def test_a_second_writer_is_refused_in_words(store: CampaignStore, tmp_path: Path):
    with pytest.raises(StoreError, match="another process"), CampaignStore.open(tmp_path):
        pass


def test_the_lock_is_free_as_soon_as_its_holder_is_killed(tmp_path: Path):
    code = (
        "import sys, time; from pathlib import Path; from glassmap.agent.store.campaign_store import CampaignStore\n"
        "with CampaignStore.open(Path(sys.argv[1])): print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match="another process"), CampaignStore.open(tmp_path):
            pass
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    with CampaignStore.open(tmp_path) as store:
        assert store.n_spectra() == 0


def test_a_transaction_that_fails_leaves_nothing_behind(store: CampaignStore):
    with pytest.raises(RuntimeError, match="power cut"), store.transaction():
        store.record_spectrum(BATCH[0], np.array(ALLOYS[0]), SPECTRUM, backend="replay")
        store.log("measured")
        raise RuntimeError("power cut")
    assert store.n_spectra() == 0
    assert store.suggestions(pending=True) == BATCH
    record_all(store)  # and the store goes on
    assert store.suggestions(pending=True) == []


def test_a_suggestion_is_measured_once(store: CampaignStore):
    record_all(store)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"), store.transaction():
        store.record_spectrum(BATCH[0], np.array(ALLOYS[0]), SPECTRUM * 0.5, backend="replay")
    np.testing.assert_array_equal(store.spectra(hold_out=False)[2][0], SPECTRUM.astype(np.float32))


def test_a_round_is_planned_once(store: CampaignStore):
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"), store.transaction():
        store.record_batch(1, BATCH, Coverage(1.0, 1.0, 1.0))


def test_migrations_are_recorded_and_applied_once(store: CampaignStore, tmp_path: Path):
    query = "SELECT migration_set, name FROM _sqlite_migrations"
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        found = sorted(connection.execute(query).fetchall())
    names = sorted(migration.name for migration in migrations._migrations)
    assert found == [("glassmap", name) for name in names]


def test_a_store_of_the_first_version_is_brought_up_to_date_with_all_it_holds(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        migrations.apply(Database(connection), stop_before="failures_and_progress")
        connection.execute("INSERT INTO suggestions VALUES ('r001-01', 1, 0, 0, '[0.5, 0.5]', 0)")
        connection.execute(
            "INSERT INTO spectra VALUES ('r001-01', 'r001-01', '[0.5, 0.5]', x'00000000', 'replay', 'now')"
        )
        connection.commit()
    before = (tmp_path / FILE_NAME).read_bytes()
    for door in (CampaignStore.read_only, CampaignStore.open):
        with door(tmp_path) as store:
            assert store.n_spectra() == 1 and store.facts() == {"r001-01": {}} and not store.failures()
        if door == CampaignStore.read_only:
            assert (tmp_path / FILE_NAME).read_bytes() == before, "a reader writes nothing"
    with closing(sqlite3.connect(tmp_path / f"{FILE_NAME}.v1")) as copy:
        assert list(copy.execute("SELECT id FROM spectra")) == [("r001-01",)], "as it was"


def test_reopening_keeps_what_there_was(tmp_path: Path):
    with CampaignStore.open(tmp_path) as store, store.transaction():
        store.record_go_on(42)
    with CampaignStore.open(tmp_path) as store:
        assert store.go_on_with == 42


def test_a_store_of_a_later_version_is_refused_at_both_doors(tmp_path: Path):
    with CampaignStore.open(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('glassmap', 'far_future', '')"
        )
    for door in (CampaignStore.open, CampaignStore.read_only):
        with pytest.raises(StoreError, match="later glassmap \\(far_future\\)"), door(tmp_path):
            pass


def test_a_reader_sees_one_moment_while_a_writer_works(store: CampaignStore, tmp_path: Path):
    """The writer adds a log line and a setting in one transaction; no reader may see the one without the other."""
    stop = threading.Event()
    mixed, seen = [], set()

    def read() -> None:
        while not stop.is_set():
            with CampaignStore.read_only(tmp_path) as reader:
                first = reader._db.execute("SELECT count(*) FROM log").fetchone()[0]
                stop.wait(0.002)  # time for the writer to commit in between
                second = len(reader.orders_to_write)
                seen.add(first)
                if first != second:
                    mixed.append((first, second))

    thread = threading.Thread(target=read)
    thread.start()
    line = 0
    while line < 100 or (len(seen) < 4 and thread.is_alive()):
        line += 1
        with store.transaction():
            store.log("tick")
            store.mark_order(line)
    stop.set()
    thread.join()
    assert mixed == []
    assert len(seen) > 3, "the reader saw the writer at work"


def test_a_store_that_is_no_database_is_refused_in_words(tmp_path: Path):
    (tmp_path / FILE_NAME).write_bytes(b"no database at all, " * 100)
    for door in (CampaignStore.open, CampaignStore.read_only):
        with pytest.raises(StoreError, match="can't be read: file is not a database"), door(tmp_path):
            pass


def test_status_tells_a_campaign_at_work_from_one_that_was_cut(tmp_path: Path):
    with CampaignStore.open(tmp_path) as store:
        with store.transaction():
            store.record_start(["Co", "V", "Zr"])
        store.start_stage(1, "plan")
        assert store.status().reason == "Round 1, plan: running."
    with CampaignStore.read_only(tmp_path) as store:
        assert store.status().reason.endswith("No process is at it: `glassmap run " + str(tmp_path) + "` goes on.")


def test_status_follows_the_stages(store: CampaignStore):
    status = store.status()
    assert (status.state, status.reason) == ("running", "Not started yet.")
    assert (status.rounds, status.spectra, status.hold_out_mse, status.round, status.stage) == (0, 0, None, None, None)
    store.start_stage(1, "plan")
    assert (store.status().state, store.status().reason) == ("running", "Round 1, plan: running.")
    store.start_stage(1, "measure")
    with store.transaction():
        store.record_spectrum(BATCH[0], np.array(ALLOYS[0]), SPECTRUM, backend="replay")
        store.end_stage(1, "measure", "waiting", waiting_for="measurements")
    status = store.status()
    assert (status.state, status.reason) == ("waiting", "Waiting for 2 of 3 measurements of round 1.")
    assert (status.waiting_for, status.missing, status.asked) == ("measurements", 2, 3)
    store.start_stage(1, "train")
    with store.transaction():
        store.end_stage(1, "train", "failed", error="ModelError: no.")
    assert (store.status().state, store.status().reason) == ("failed", "Round 1, train: ModelError: no.")
    store.start_stage(1, "train")
    assert store.status().state == "running", "a second attempt is no failure"
    with store.transaction():
        store.record_decision(1, Decision("converged", "Enough.", ()))
    assert (store.status().state, store.status().reason) == ("converged", "Enough.")
    with store.transaction():
        store.reopen_decision()
    assert store.status().state == "running" and store.decision() is None


def test_the_store_needs_no_torch():
    code = "import glassmap.agent.store.campaign_store, sys; assert not {'torch', 'prefect'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
