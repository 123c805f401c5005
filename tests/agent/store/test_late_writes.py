from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile

import pytest

from glassmap.agent.errors import StoreError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import FILE_NAME
from glassmap.agent.store.inspection import inspect
from glassmap.agent.store.late_writes import read_late_writes
from tests.support.stores import file_of, record_all

LOG = f"{FILE_NAME}-wal"
FRAME = 24 + 4096
DOORS = {
    "run": CampaignStore.open,
    "amend": lambda folder: CampaignStore.amend(folder, person="ada"),
    "read": CampaignStore.read_only,
}


@pytest.fixture
def cut(store: CampaignStore, tmp_path: Path) -> Path:
    """Return the folder of a store whose process was killed after a few transactions."""
    record_all(store)
    for number in range(9):
        with store.transaction():
            store.log("line", str(number))
    folder = tmp_path / "cut"
    folder.mkdir()
    for name in (FILE_NAME, LOG):
        copyfile(tmp_path / name, folder / name)
    return folder


@contextmanager
def log_of(folder: Path) -> Iterator[bytearray]:
    """Change a log's bytes."""
    content = bytearray((folder / LOG).read_bytes())
    yield content
    (folder / LOG).write_bytes(content)


def test_a_log_is_read_as_sqlite_takes_it_over(cut: Path):
    late = read_late_writes(cut / FILE_NAME)
    with file_of(cut) as db:
        assert db.execute("SELECT COUNT(*) FROM log").fetchone() == (9,)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = (cut / FILE_NAME).read_bytes()
    assert late.dropped == 0 and len(late.pages) > 20
    assert all(content[4096 * (number - 1) : 4096 * number] == page for number, page in late.pages.items())


@pytest.mark.parametrize("missing", [1, 100, FRAME, FRAME + 5000])
def test_a_last_transaction_that_is_half_there_is_a_power_cut_s_and_no_harm(cut: Path, missing: int):
    with log_of(cut) as content:
        content[-missing:] = bytes(missing)
    with CampaignStore.read_only(cut) as store:
        assert 7 <= len(store.log_lines()) <= 8


@pytest.mark.parametrize(
    ("place", "door"),
    [(5, "read"), (40, "read"), (32 + 20 * FRAME + 3, "read"), (32 + 20 * FRAME + 20, "run"), (50_000, "amend")],
)
def test_a_log_that_was_harmed_is_refused_before_sqlite_drops_the_rest_of_it(cut: Path, place: int, door: str):
    with log_of(cut) as content:
        content[place] ^= 0xFF
    before = bytes(content)
    with pytest.raises(StoreError, match=r"campaign.db-wal: harmed, \d+ transactions stand behind"), DOORS[door](cut):
        pass
    assert (cut / LOG).read_bytes() == before
    assert any(harm.table == LOG for harm in inspect(cut / FILE_NAME).harms)


def test_what_stands_behind_the_harm_is_still_read_for_a_repair(cut: Path):
    whole = read_late_writes(cut / FILE_NAME).pages
    with log_of(cut) as content:
        content[32 + 20 * FRAME + 2000] ^= 0xFF
    harmed = read_late_writes(cut / FILE_NAME)
    assert harmed.dropped >= 9
    assert sum(harmed.pages.get(number) != page for number, page in whole.items()) <= 1
