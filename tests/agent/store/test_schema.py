import fcntl
import inspect
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

import glassmap
from glassmap.agent.errors import CampaignBusy, StoreError
from glassmap.agent.store import schema
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import FILE_NAME
from glassmap.agent.store.records import Pause
from glassmap.agent.store.schema import MIGRATIONS, migrate

FROZEN = {  # a migration's name, and the start of the SHA-256 of its text
    "first_tables": "d920487e097a4741",
    "failures_and_progress": "e8df790cd809dd99",
    "laboratory": "c5c5e5bad54d8576",
    "contents": "3fc122a5dc758cf2",
    "notices": "30d82e7ecfcc1fa7",
    "status_as_data": "67119bbeb0dd4e80",
    "peak_figures": "477c8ba0b894c55d",
    "steady_clock": "4bde8a9fe11c9502",
    "row_checksums": "65f43277a51f186c",
    "flags_of_what_is_used": "9270d018772d76a1",
    "marks_of_spectra": "c46c0a1c621bce5c",
    "contexts_of_samples": "d4cc941e1c61728f",
    "reasons_of_suggestions": "4b426fab67313f0b",
    "nothing_held_out": "a6a28cc8576e01e8",
    "scans_of_files": "b8fd3ec749c2af71",
    "wafers": "556265d162020acc",
    "notes": "87667a7124387190",
}


def test_a_migration_is_never_edited_as_stores_have_seen_it():
    """Who needs other tables writes another migration, and adds its line here."""
    texts = {name: inspect.getsource(migration) for name, migration in MIGRATIONS.items()}
    assert {name: sha256(text.encode()).hexdigest()[:16] for name, text in texts.items()} == FROZEN


def test_migrations_are_recorded_and_applied_once(store: CampaignStore, tmp_path: Path):
    query = "SELECT migration_set, name FROM _sqlite_migrations"
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        found = sorted(connection.execute(query).fetchall())
    names = sorted(MIGRATIONS)
    assert found == [("glassmap", name) for name in names]


def test_a_store_of_the_first_version_is_brought_up_to_date_with_all_it_holds(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        migrate(connection, stop_before="failures_and_progress")
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


def write_version_5(folder: Path) -> None:
    """Write a store as version 0.1 had it: excluded, doubtful and retracted, waiting for approval, paused."""
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
        migrate(connection, stop_before="status_as_data")
        for statement in (
            "INSERT INTO settings VALUES ('elements', '[\"Co\", \"Zr\"]'), ('config', '{}'), ('go_on_with', 'null')",
            "INSERT INTO settings VALUES ('paused', '\"since 2026-03-01 12:30 by ada: the beam: off\"')",
            "INSERT INTO log (time, event, person) VALUES ('2026-01-01T00:00:00.000+00:00', 'campaign started', '')",
            "INSERT INTO log (time, event, person) VALUES ('2026-02-01T00:00:00.000+00:00', 'planned', '')",
            "INSERT INTO stages VALUES (1, 'measure', 'waiting', 3, '2026-01-01T00:00:00.000+00:00', NULL, NULL)",
            """INSERT INTO stages VALUES (2, 'measure', 'waiting', 1, '2026-01-01T00:00:00.000+00:00', NULL,
                'Round 2 waits for approval: `glassmap approve x`, or `reject` some first.')""",
            "INSERT INTO axes VALUES (1, 'q', NULL, x'000000000000f03f')",
            "INSERT INTO batches (round, separation, worst, mean) VALUES (2, 1, 1, 1)",
        ):
            connection.execute(statement)
        for place, state in enumerate(("used", "doubtful", "retracted")):
            id_ = f"r002-0{place + 1}"
            connection.execute("INSERT INTO suggestions VALUES (?, 2, ?, 0, '[0.5, 0.5]', 0)", [id_, place])
            connection.execute(
                """INSERT INTO spectra VALUES (?, ?, 2, 0, '[0.5, 0.5]', x'0000803f', 'lab', 'now', '{"hash": "a"}',
                ?, 'a reason', 1)""",
                [id_, id_, state],
            )
        connection.execute("INSERT INTO verdicts VALUES ('r002-03', 'abandoned', 'broke', 'ada', 'then')")


@pytest.mark.parametrize("door", [CampaignStore.read_only, CampaignStore.open], ids=["read", "written"])
def test_what_version_0_1_said_in_sentences_is_kept_as_data(tmp_path: Path, door):
    write_version_5(tmp_path)
    with door(tmp_path) as store:
        assert [one.state for one in store.suggestion_statuses(2)] == ["measured", "flagged", "abandoned"]
        assert [(m.state, m.reason, m.facts) for m in store.measurements()] == [
            (state, "a reason", {"hash": "a"}) for state in ("used", "flagged", "retracted")
        ]
        assert len(store.measurements_of("a")) == 3 and store.spectra_of(["r002-02"]).tolist() == [[1.0]]
        assert [stage.waiting_for for stage in store.stages()] == ["measurements", "approval"]
        assert [stage.error for stage in store.stages()] == [None, None]
        assert (store.began, store.go_on_with) == (datetime(2026, 1, 1, tzinfo=UTC), None)
        assert store.paused == Pause("ada", datetime(2026, 3, 1, 12, 30).astimezone(UTC), "the beam: off")
        status = store.status()
    assert (status.state, status.waiting_for, status.to_look_at.flagged) == ("paused", "approval", 1)
    zone = f"{datetime(2026, 3, 1).astimezone():%Z}"
    assert f"Paused since 2026-03-01 12:30 {zone} by ada: the beam: off. Round 2 waits for approval" in status.reason


def test_what_only_the_log_said_of_flags_and_retractions_is_data(tmp_path: Path):
    write_version_5(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE spectra SET reason = '' WHERE id = 'r002-01'")
        connection.execute("INSERT INTO suggestions VALUES ('r002-04', 2, 3, 0, '[0.5, 0.5]', 0)")
        connection.execute(
            "INSERT INTO spectra VALUES ('r002-04', 'r002-04', 2, 0, '[0.5, 0.5]', x'0000803f', 'lab', 'now', '{}', "
            "'used', '', 1)"
        )
        for event, subject, detail in (
            ("doubtful", "r002-01", "a line"),
            ("doubtful", "r002-04", "no film"),
            ("accepted", "r002-04", "it has one"),
            ("retracted", "r002-02", "before"),
            ("accepted", "r002-02", "again"),
            ("trained", "", ""),
            ("retracted", "r002-03", "the wrong wafer"),
        ):
            values = ["2026-02-01T00:00:00.000+00:00", event, subject, detail]
            connection.execute("INSERT INTO log (time, event, subject, detail) VALUES (?, ?, ?, ?)", values)
    with CampaignStore.open(tmp_path) as store:
        assert [(one.id, one.reason) for one in store.flagged_used()] == [("r002-01", "a line")]
        assert store.to_look_at().used_flagged == 1 and store.use_changed == ["r002-03"]


def test_a_migration_that_is_cut_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def cut(db: sqlite3.Connection) -> None:
        db.execute("ALTER TABLE log RENAME TO diary")
        raise KeyboardInterrupt

    write_version_5(tmp_path)
    monkeypatch.setitem(schema.MIGRATIONS, "status_as_data", cut)
    with pytest.raises(KeyboardInterrupt), CampaignStore.open(tmp_path):
        pass
    monkeypatch.undo()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        assert schema.version(db) == 5 and db.execute("SELECT count(*) FROM log").fetchone() == (2,)
    with CampaignStore.open(tmp_path) as store:
        assert store.n_spectra() == 3


def test_before_a_store_is_migrated_it_is_copied_once_and_whole(tmp_path: Path):
    write_version_5(tmp_path)
    for _ in range(2):
        with CampaignStore.open(tmp_path) as store:
            assert store.n_spectra() == 3
    copies = sorted(path.name for path in tmp_path.glob(f"{FILE_NAME}.*"))
    assert copies == [f"{FILE_NAME}.v5"] and not list(tmp_path.glob(".partial*"))
    with closing(sqlite3.connect(tmp_path / copies[0])) as copy:
        assert schema.version(copy) == 5
        states = copy.execute("SELECT state FROM spectra").fetchall()
    assert states == [("used",), ("doubtful",), ("retracted",)], "as it was"


def test_who_only_reads_an_older_store_writes_nothing_to_it_or_beside_it(tmp_path: Path):
    write_version_5(tmp_path)
    before = (tmp_path / FILE_NAME).read_bytes()
    with CampaignStore.read_only(tmp_path) as store:
        assert store.n_spectra() == 3
        with pytest.raises(sqlite3.OperationalError, match="readonly"), store.transaction():
            store.log("hello")
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_person_s_row_in_an_older_store_waits_for_the_migration_or_for_who_is_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_version_5(tmp_path)
    monkeypatch.setattr("glassmap.agent.store.connection.MIGRATION_SECONDS", 0.0)
    with (tmp_path / "campaign.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # an older process
        with pytest.raises(CampaignBusy, match="another process"), CampaignStore.amend(tmp_path, person="ada"):
            pass
    with CampaignStore.amend(tmp_path, person="ada") as store, store.transaction():
        store.end_pause()
    assert (tmp_path / f"{FILE_NAME}.v5").exists()
    with CampaignStore.read_only(tmp_path) as store:
        assert store.paused is None


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE halfway (id INTEGER)")
        raise RuntimeError("the power is off")

    with CampaignStore.open(tmp_path) as store, store.transaction():
        store.record_go_on(42)
    with monkeypatch.context() as later:
        later.setitem(MIGRATIONS, "fail", fail)
        with pytest.raises(RuntimeError, match="power"), CampaignStore.open(tmp_path):
            pass
    with CampaignStore.open(tmp_path) as store:
        assert store.go_on_with == 42
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'halfway'").fetchone() is None


def test_a_store_of_the_first_text_of_a_migration_that_was_edited_goes_on(tmp_path: Path):
    """Its `spectra` lacked a column; what was measured in rounds that went on counts as screened, as it was."""
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as connection:
        migrate(connection, stop_before="contents")
        connection.execute("ALTER TABLE spectra DROP COLUMN screened")
        for round_, status in ((1, "done"), (2, "waiting")):
            connection.execute(f"INSERT INTO stages VALUES ({round_}, 'measure', '{status}', 1, 'then', NULL, NULL)")
            connection.execute(
                """INSERT INTO spectra (id, round, hold_out, composition, intensity, backend, taken)
                VALUES (?, ?, 0, '[0.5, 0.5]', x'00000000', 'lab', 'then')""",
                [f"r00{round_}-01", round_],
            )
    for door in (CampaignStore.read_only, CampaignStore.open):
        with door(tmp_path) as store:
            assert {m.id: m.screened for m in store.measurements()} == {"r001-01": True, "r002-01": False}


# --- which version wrote it

*BEFORE, LAST = glassmap.__version__.split(".")
NEXT = ".".join([*BEFORE, str(int(LAST) + 1)])


def test_the_version_that_writes_is_recorded_and_a_change_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with CampaignStore.open(tmp_path) as store, store.transaction():
        store.log("campaign started")
    monkeypatch.setattr("glassmap.agent.store.written_by.__version__", NEXT)
    for _ in range(2):
        with CampaignStore.amend(tmp_path, person="ada") as store:
            pass
    with CampaignStore.read_only(tmp_path) as store:
        log = [(line.person, line.event, line.detail) for line in store.log_lines()]
    assert log[1:] == [("ada", "version", f"goes on with glassmap {NEXT}, after {glassmap.__version__}")]


def test_a_store_that_did_not_record_its_version_says_so_in_the_log(tmp_path: Path):
    write_version_5(tmp_path)
    with CampaignStore.open(tmp_path) as store:
        assert (
            store.log_lines()[-1].detail == f"goes on with glassmap {glassmap.__version__}, after one of 0.2 or before"
        )


@pytest.mark.parametrize("later", ["0.10.0", "1.0", NEXT])
@pytest.mark.parametrize("door", ["open", "amend", "read_only"])
def test_a_store_that_a_later_version_wrote_is_refused_in_words_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: str, door: str
):
    with monkeypatch.context() as tomorrow:
        tomorrow.setattr("glassmap.agent.store.written_by.__version__", later)
        with CampaignStore.open(tmp_path):
            pass
    words = f"written by a later glassmap \\({later}\\); this is {glassmap.__version__}. Update glassmap"
    person = {"person": "ada"} if door == "amend" else {}
    with pytest.raises(StoreError, match=words), getattr(CampaignStore, door)(tmp_path, **person):
        pass
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        assert connection.execute("SELECT value FROM settings WHERE key = 'version'").fetchone() == (f'"{later}"',)
