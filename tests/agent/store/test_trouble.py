import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.errors import CampaignBusy, StoreError
from glassmap.agent.store import connection, trouble
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.checksums import harmed_rows
from glassmap.agent.store.connection import FILE_NAME
from glassmap.agent.store.trouble import COPY_NAME
from tests.support.stores import ALLOYS, BATCH, SECOND, SPECTRUM, file_of, patch, record_all

DOORS = {
    "run": CampaignStore.open,
    "amend": lambda folder: CampaignStore.amend(folder, person="ada"),
    "read": CampaignStore.read_only,
}


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest):
    return DOORS[request.param]


@pytest.fixture
def harmed(closed: Path) -> Path:
    """Return the folder of a store with one digit of one measurement changed."""
    patch(closed, SECOND, SECOND.replace(b"0.2]", b"0.3]"))
    return closed


# --- lost


@pytest.mark.parametrize("content", [None, b"", "no table"], ids=["missing", "empty", "without a table"])
def test_a_store_that_is_lost_beside_its_files_is_refused_and_never_begun_anew(tmp_path: Path, door, content):
    for name in ("checkpoints/a.json", "checkpoints/a.safetensors", "checkpoints/b.json", "orders/round-001.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    if isinstance(content, bytes):
        (tmp_path / FILE_NAME).write_bytes(content)
    elif content is not None:
        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
            db.execute("PRAGMA user_version=1")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    what = "missing" if content is None else "empty"
    with (
        pytest.raises(StoreError, match=rf"is {what}.*2 checkpoints, 1 order\..*glassmap repair.*another folder"),
        door(tmp_path),
    ):
        pass
    (tmp_path / "campaign.lock").unlink(missing_ok=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_campaign_whose_drop_folder_is_called_as_that_of_the_copies_is_begun(tmp_path: Path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "r001-01.xrdml").write_text("dropped before the first run")
    with CampaignStore.open(tmp_path) as store:
        assert not store.has_begun
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / "scans" / f"{'0a' * 8}.xrdml").write_text("a copy")
    with pytest.raises(StoreError, match=r"is missing.*: 1 scan\."), CampaignStore.open(tmp_path):
        pass


def test_a_store_whose_first_opening_was_killed_is_begun(tmp_path: Path):
    """Its pages lie in the write-ahead log still, which is no other campaign's."""
    (tmp_path / "killed").mkdir()
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set, name, applied_at)")
        for name in (FILE_NAME, f"{FILE_NAME}-wal"):
            shutil.copy(tmp_path / name, tmp_path / "killed" / name)
    with CampaignStore.open(tmp_path / "killed") as store:
        assert store.last_stage() is None


def test_a_store_whose_first_write_was_cut_off_by_a_power_cut_is_read_as_it_was_before(closed: Path, tmp_path: Path):
    """Before it has a write-ahead log a store has a journal to roll back, which only who may write can."""
    cut = tmp_path / "cut"
    cut.mkdir()
    with closing(sqlite3.connect(closed / FILE_NAME, isolation_level=None)) as db:
        before = db.execute("SELECT * FROM stages").fetchall()
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("PRAGMA cache_size=1")  # so that pages are written before the commit
        db.execute("BEGIN")
        db.execute("CREATE TABLE half (content)")
        db.executemany("INSERT INTO half VALUES (?)", [(bytes(3000),)] * 50)
        for name in (FILE_NAME, f"{FILE_NAME}-journal"):
            shutil.copy(closed / name, cut / name)
        db.execute("ROLLBACK")
    with CampaignStore.read_only(cut) as store:
        assert store._db.execute("SELECT * FROM stages").fetchall() == before
        with pytest.raises(sqlite3.OperationalError):
            store._db.execute("DELETE FROM stages")


def test_a_copy_alone_says_that_there_was_a_campaign(tmp_path: Path):
    (tmp_path / COPY_NAME).write_text("x")
    with pytest.raises(StoreError, match=COPY_NAME), CampaignStore.open(tmp_path):
        pass


# --- damaged


def test_a_digit_that_changed_on_the_disk_is_refused_at_every_door(harmed: Path, door):
    with pytest.raises(StoreError, match=r"1 row of spectra changed \(r001-02\).*repair"), door(harmed):
        pass


def test_a_schema_that_sqlite_can_not_even_quote_is_refused_at_every_door(closed: Path, door):
    patch(closed, b"checksum_of_log_insert AFTER", b"checksum_of_log_insert \x8dFTER")
    with pytest.raises(StoreError, match=r"damaged: .*malformed.*\\x8dFTER"), door(closed):
        pass


def test_an_index_that_misses_a_row_is_refused_at_every_door(closed: Path, door):
    patch(closed, b"+\x01[0.4, 0.4, 0.2]\x02", b"+\x01[0.4, 0.4, 0.2]\x05")  # the row that it leads to
    with pytest.raises(StoreError, match=r"is damaged: .*index compositions_of_spectra"), door(closed):
        pass


def test_of_a_large_store_what_is_learned_from_or_shown_is_looked_at_when_it_is_read(
    harmed: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trouble, "SMALL", 0)
    for door in (DOORS["read"], DOORS["amend"]):
        with door(harmed) as store:
            assert store.status().spectra == 3 and store.spectra_of(["r001-01"]).shape == (1, 4)
            with pytest.raises(StoreError, match="r001-02"):
                store.spectra_of(["r001-01", "r001-02"])
            with pytest.raises(StoreError, match="r001-02"):
                store.spectra(hold_out=True)
    patch(harmed, b'["Co", "V", "Zr"]', b'["Co", "V", "Nb"]')
    with pytest.raises(StoreError, match=r"1 row of settings changed \(elements"), DOORS["read"](harmed):
        pass


def test_who_runs_on_learns_from_nothing_that_changed_since_it_began(store: CampaignStore):
    record_all(store)
    assert len(store.spectra(hold_out=False)[0]) == 2
    store._db.execute("DROP TRIGGER checksum_of_spectra_update")
    store._db.execute("UPDATE spectra SET state = 'flagged' WHERE id = 'r001-01'")
    with pytest.raises(StoreError, match="r001-01"):
        store.spectra(hold_out=False)


def test_an_unexpected_error_over_harm_is_said_in_words_and_another_stays_a_bug(
    harmed: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trouble, "SMALL", 0)
    with pytest.raises(StoreError, match="1 row of spectra changed"), DOORS["read"](harmed):
        raise KeyError("of what was harmed")
    with pytest.raises(sqlite3.IntegrityError), DOORS["amend"](harmed.parent) as store, store.transaction():
        store._db.execute("INSERT INTO suggestions VALUES ('r001-01', 1, 9, 9, '[]', 0, '', '', '', NULL, NULL)")
    with pytest.raises(KeyError), DOORS["read"](harmed.parent):
        raise KeyError("of a bug")


def test_a_page_that_breaks_while_the_store_is_open_is_said_in_words(store: CampaignStore, tmp_path: Path):
    record_all(store)
    with store.transaction():
        for number in range(400):
            store.log("line", f"{number} " + "x" * 100)
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store._db.close()
    with pytest.raises(StoreError, match=r"damaged: .*\d rows of log"), CampaignStore.read_only(tmp_path) as reader:
        content = bytearray((tmp_path / FILE_NAME).read_bytes())
        start = content.index(b"line100 x") // 4096 * 4096
        content[start : start + 4096] = bytes(4096)
        (tmp_path / FILE_NAME).write_bytes(content)
        reader._db.execute("PRAGMA shrink_memory")
        reader.log_lines()


# --- held, full, without handles, not ours to write


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_store_that_somebody_else_holds_is_one_sentence(closed: Path):
    with file_of(closed) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(CampaignBusy, match="held by another process for over 30 s"),
            DOORS["amend"](closed) as store,
            store.transaction(),
        ):
            pass
        other.execute("ROLLBACK")
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE campaign SET news = 0")
        other.execute("COMMIT")
        for door in DOORS.values():
            with pytest.raises(CampaignBusy, match="held by another process for over 30 s"), door(closed):
                pass


def test_a_full_disk_is_called_so_and_leaves_the_store_whole(store: CampaignStore, tmp_path: Path):
    store._db.close()
    with pytest.raises(StoreError, match="disk is full") as caught, DOORS["amend"](tmp_path) as door:
        (pages,) = door._db.execute("PRAGMA page_count").fetchone()
        door._db.execute(f"PRAGMA max_page_count={pages}")
        with door.transaction():
            door.log("line", "x" * 50_000)
    assert "damaged" not in str(caught.value) and "Make room" in str(caught.value)
    with DOORS["read"](tmp_path) as reader:
        assert reader.log_lines() == [] and harmed_rows(reader._db) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
def test_too_many_open_files_is_called_so(closed: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(int(one.name) for one in Path("/proc/self/fd").iterdir()) + 1, hard)
    )
    gaps = []
    try:
        while True:
            gaps.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        with pytest.raises(StoreError, match="Too many files are open"), DOORS["read"](closed):
            pass
    finally:
        for gap in gaps:
            os.close(gap)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def medium(closed: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a folder with a store on a medium that can't be written."""
    folder = tmp_path / "medium"
    folder.mkdir()
    for words in (["mount", "--bind", closed, folder], ["mount", "-o", "remount,bind,ro", folder]):
        if subprocess.run(words, capture_output=True).returncode:
            subprocess.run(["umount", folder], capture_output=True)
            pytest.skip("needs root, to mount a folder read-only")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_campaign_on_a_read_only_medium_can_be_looked_at_but_not_changed(medium: Path, closed: Path):
    with CampaignStore.read_only(medium) as store:
        assert store.n_spectra() == 3 and len(store.spectra(hold_out=False)[0]) == 2
    with pytest.raises(StoreError, match=r"can't be (written|opened)"), DOORS["amend"](medium) as store:
        store.log("hello")
    assert [path.name for path in closed.iterdir()] == [FILE_NAME]


# --- the copy


def test_the_store_is_copied_once_a_round_has_ended_and_the_copy_needs_no_other_file(
    store: CampaignStore, tmp_path: Path
):
    store.keep_copy()
    assert not (tmp_path / COPY_NAME).exists(), "no round has ended"
    record_all(store)
    store.start_stage(1, "decide")
    with store.transaction():
        store.end_stage(1, "decide", "done")
    store.keep_copy()
    first = (tmp_path / COPY_NAME).stat().st_mtime_ns
    store.keep_copy()
    assert (tmp_path / COPY_NAME).stat().st_mtime_ns == first, "it says all that there is to say"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copyfile(tmp_path / COPY_NAME, elsewhere / FILE_NAME)
    with CampaignStore.open(elsewhere) as copy:
        np.testing.assert_allclose(copy.spectra_of(["r001-01"])[0], SPECTRUM, rtol=1e-6)
        assert len(copy.taken()) == len(ALLOYS) and copy.suggestions() == BATCH


def test_a_damaged_store_takes_no_copy_s_place(store: CampaignStore, tmp_path: Path):
    record_all(store)
    store.start_stage(1, "decide")
    store.keep_copy()
    before = (tmp_path / COPY_NAME).read_bytes()
    store._db.execute("DROP TRIGGER checksum_of_spectra_update")
    store._db.execute("UPDATE spectra SET round = 2 WHERE id = 'r001-01'")
    store.start_stage(2, "decide")
    with pytest.raises(StoreError, match="r001-01"):
        store.keep_copy()
    assert (tmp_path / COPY_NAME).read_bytes() == before and not list(tmp_path.glob(".partial*"))
