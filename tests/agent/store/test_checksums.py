import sqlite3
from pathlib import Path

import pytest

from glassmap.agent.store import schema
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.checksums import Harm, checksum, harmed_rows, recorded_checksum
from glassmap.agent.store.connection import FILE_NAME
from tests.support.stores import BATCH, SECOND, file_of, patch, record_all


def harms(folder: Path) -> list[Harm]:
    with file_of(folder) as db:
        return harmed_rows(db)


def test_what_any_statement_writes_has_its_checksum(store: CampaignStore):
    record_all(store)
    with store.transaction():
        store.record_pause("vacuum")  # REPLACE
        store.record_pause("µ-beam")
        store.set_measurement_state("r001-02", "flagged", "why not")
        store.record_progress(BATCH[0], 0.5)
        store.record_progress(BATCH[0], 0.75)
        store.clear_progress()
        store.log("hello")
    for _ in range(2):
        store.start_stage(1, "plan")  # INSERT or UPDATE
    assert harmed_rows(store._db) == []
    counted = dict(store._db.execute("SELECT tbl, COUNT(*) FROM checksums GROUP BY tbl").fetchall())
    for table in ("settings", "spectra", "suggestions", "stages", "log", "axes", "_sqlite_migrations"):
        assert counted[table] == store._db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] > 0
    assert "progress" not in counted, "what is deleted leaves none"


def test_a_checksum_that_is_computed_outside_is_the_one_recorded(store: CampaignStore):
    record_all(store)
    for table in ("spectra", "batches", "campaign", "settings"):
        stored = [name for (name,) in store._db.execute("SELECT name FROM pragma_table_info(?)", [table])]
        for row, *values in store._db.execute(f"SELECT rowid, {', '.join(stored)} FROM {table}").fetchall():
            assert checksum(table, row, values) == recorded_checksum(store._db, table, row)


@pytest.mark.parametrize(
    ("old", "new", "harm"),
    [
        (SECOND + b"\0\0\0\0\xab", SECOND + b"\0\0\0\0\xac", Harm("spectra", 2, "changed", "r001-02")),
        (SECOND, SECOND.replace(b"r001-02r", b"r001\xff02r"), Harm("spectra", 2, "changed", "r001\\xff02")),
        (SECOND, SECOND.replace(b"0.2]", b"0.3]"), Harm("spectra", 2, "changed", "r001-02")),
        (b"('used', 'flagged'", b"('usex', 'flagged'", Harm("sqlite_schema", None, "changed")),
    ],
    ids=["number", "text that is none any more", "composition", "schema"],
)
def test_bytes_that_changed_on_the_disk_are_found_in_their_row(closed: Path, old: bytes, new: bytes, harm: Harm):
    assert harms(closed) == []
    patch(closed, old, new)
    assert harms(closed) == [harm]


def test_a_row_that_came_or_went_by_no_statement_is_found(closed: Path):
    with file_of(closed) as db:
        sums = dict(db.execute("SELECT row, sum FROM checksums WHERE tbl = 'spectra'").fetchall())
        db.execute("DELETE FROM checksums WHERE tbl = 'spectra' AND row = 1")
        gone = checksum("spectra", 7, ["r001-07"])
        db.execute("INSERT INTO checksums VALUES ('spectra', 7, ?)", [gone])
        assert recorded_checksum(db, "spectra", 7) == gone and recorded_checksum(db, "spectra", 2) == sums[2]
    assert harms(closed) == [Harm("spectra", 1, "foreign", "r001-01"), Harm("spectra", 7, "lost")]


def test_a_checksum_that_was_harmed_itself_accuses_no_row(closed: Path):
    with file_of(closed) as db:
        (sum_,) = db.execute("SELECT sum FROM checksums WHERE tbl = 'spectra' AND row = 3").fetchone()
    patch(closed, sum_, sum_[:3] + b"\xff\0" + sum_[5:])
    assert harms(closed) == [Harm("spectra", 3, "unproven", "r001-03")]


def test_a_page_that_can_not_be_read_takes_its_own_rows_only(store: CampaignStore, tmp_path: Path):
    with store.transaction():
        for number in range(200):
            store.log("line", f"{number} " + "x" * 100)
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    closed = tmp_path / "closed"
    closed.mkdir()
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    start = content.index(b"line100 x") // 4096 * 4096
    content[start : start + 64] = bytes(64)
    (closed / FILE_NAME).write_bytes(content)
    found = harms(closed)
    assert {harm.table for harm in found} == {"log"}
    assert {harm.what for harm in found} == {"database disk image is malformed"}
    rows = [harm.row for harm in found if harm.row is not None]
    assert 101 in rows and 20 < len(rows) < 50 and rows == list(range(min(rows), max(rows) + 1))


def test_only_some_tables_and_rows_are_looked_at_where_only_they_are_read(closed: Path):
    patch(closed, SECOND, SECOND.replace(b"0.2]", b"0.3]"))
    with file_of(closed) as db:
        assert len(harmed_rows(db, ["spectra"])) == len(harmed_rows(db, ["spectra"], rows=[1, 2])) == 1
        assert harmed_rows(db, ["spectra"], rows=[1, 3]) == harmed_rows(db, ["suggestions"]) == []


def test_rows_of_older_stores_are_covered_when_they_are_brought_up_to_date(tmp_path: Path):
    with file_of(tmp_path) as db:
        schema.migrate(db, stop_before="row_checksums")
        db.execute("INSERT INTO log (time, event) VALUES ('then', 'begun')")
        assert harmed_rows(db) == [], "there is nothing to hold them against"
        schema.migrate(db)
        assert harmed_rows(db) == [] and recorded_checksum(db, "log", 1) is not None


def test_tables_that_a_later_version_changes_stay_covered_and_others_keep_their_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def later(db: sqlite3.Connection) -> None:
        db.execute("ALTER TABLE log ADD COLUMN mood TEXT NOT NULL DEFAULT 'fair'")
        db.execute("CREATE TABLE moods (name TEXT PRIMARY KEY) STRICT")
        db.execute("DROP TABLE progress")
        db.execute("ALTER TABLE notices RENAME TO told")

    with CampaignStore.open(tmp_path) as store:
        with store.transaction():
            store.log("hello")
            store.record_go_on(1)
            store.record_notice("key", {})
        store._db.execute("UPDATE checksums SET sum = x'00' WHERE tbl = 'settings'")
        monkeypatch.setitem(schema.MIGRATIONS, "later", later)
        schema.migrate(store._db)
        store._db.execute("INSERT INTO moods VALUES ('fair')")
        store._db.execute("UPDATE told SET key = 'other'")
        store.log("hello again")
        harm = [Harm("settings", row, "unproven", key) for row, key in ((1, "version"), (2, "go_on_with"))]
        assert harmed_rows(store._db) == harm, "nothing is made to fit"
