import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.errors import StoreError
from glassmap.agent.store import checksums
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import FILE_NAME
from tests.support.stores import ALLOYS, BATCH, SPECTRUM, record_all


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


def test_reopening_keeps_what_there_was(tmp_path: Path):
    with CampaignStore.open(tmp_path) as store, store.transaction():
        store.record_go_on(42)
    with CampaignStore.open(tmp_path) as store:
        assert store.go_on_with == 42


def test_a_store_of_a_later_version_is_refused_at_both_doors(tmp_path: Path):
    with CampaignStore.open(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        checksums.register(connection)
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
        with pytest.raises(StoreError, match="is damaged: file is not a database"), door(tmp_path):
            pass


def test_the_store_needs_no_torch():
    code = "import glassmap.agent.store.campaign_store, sys; assert not {'torch', 'prefect'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
