"""One file stops nothing: whatever its name, time and content are, it is set aside and the others are taken."""

import errno
import inspect
import os
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glassmap.agent.data import scan_files
from glassmap.agent.data.raw_scan import RawScan
from glassmap.agent.data.scan_files import read_scans
from glassmap.agent.outside_text import visible
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.data import read_batch, read_log
from glassmap.flows.actions import abandon
from glassmap.flows.backends.lab import intake
from glassmap.flows.backends.lab.backend import Laboratory
from glassmap.flows.backends.lab.drop_folders import quiet_files
from glassmap.flows.backends.lab.intake import take_in
from glassmap.flows.backends.protocol import Filed, Ledger
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.orders import write_orders
from tests.support.campaigns import rows, run
from tests.support.command_line import does
from tests.support.lab_campaigns import drop_scan, drop_table, files, order, states, write_campaign
from tests.support.laboratory import scan_text

STRANGE = {
    "x" * 249 + ".xy": "a name of 252 bytes",
    "ü" * 124 + ".xy": "one of 248, two for each letter",
    "a\x1b]0;title\x07\nb.xy": "one that acts on a terminal",
    "late.xy": "a time after 2262",
    "early.xy": "a time before 1970",
}


def test_strange_names_and_times_stop_nothing(lab: Path):
    for name in STRANGE:
        (lab / "drop" / name).write_text("rubbish")
    os.utime(lab / "drop" / "late.xy", ns=(2**63 + 10**9, 2**63 + 10**9))
    os.utime(lab / "drop" / "early.xy", ns=(-(10**18), -(10**18)))
    drop_table(lab, {"r001-01": drop_scan(lab, order(lab)[0])})
    found = dict[str, tuple[str, str]]()
    for _ in range(2):
        run(lab)
        found = files(lab)
        assert found.pop("edx.csv")[0] == found.pop("r001-01.xy")[0] == "used"
        assert set(found) == {visible(name) for name in STRANGE}
        assert {state for state, _ in found.values()} == {"quarantined"}
        assert len(rows(lab, "SELECT id FROM files")) == len(found) + 2, "each once"
    kept = [path.read_text() for path in (lab / "quarantine").iterdir() if path.suffix == ".xy"]
    assert kept == ["rubbish"] * len(found)


def test_folders_in_folders_are_looked_through_however_deep(tmp_path: Path):
    deep = tmp_path / "/".join("d" * 200)
    deep.mkdir(parents=True)
    (deep / "junk.xy").write_text("rubbish")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        (found,) = quiet_files(tmp_path, [tmp_path], quiet_seconds=0)
    finally:
        sys.setrecursionlimit(before)
    assert found.path == deep / "junk.xy"


def test_whatever_goes_wrong_with_a_file_sets_aside_that_file_alone(lab: Path, monkeypatch: pytest.MonkeyPatch):
    samples = order(lab)
    drop_table(lab, {s["sample"]: drop_scan(lab, s) for s in samples[:6]})
    errors = [OverflowError, RecursionError, MemoryError, ValueError, AssertionError]
    raised = {(lab / "drop" / f"r001-0{k}.xy").read_bytes(): error for k, error in enumerate(errors, start=1)}

    def read(path: Path, **asked: Any) -> list[RawScan]:
        if error := raised.get(path.read_bytes()):
            raise error("of a kind that nobody thought of")
        return read_scans(path, **asked)

    monkeypatch.setattr(intake, "read_scans", read)
    run(lab)
    assert states(lab)["r001-06"] == "measured"
    for k, error in enumerate(errors, start=1):
        state, reason = files(lab)[f"r001-0{k}.xy"]
        assert state == "quarantined" and f"{error.__name__}: of a kind that nobody thought of" in reason
    kept = [path.read_bytes() for path in (lab / "quarantine").iterdir() if path.suffix == ".xy"]
    assert sorted(kept) == sorted(raised)


def test_what_the_computer_lacks_is_no_file_s_fault_and_stops(lab: Path, monkeypatch: pytest.MonkeyPatch):
    drop_table(lab, {"r001-01": drop_scan(lab, order(lab)[0])})
    for number, place, name in (
        (errno.ENOSPC, intake, "write_whole"),
        (errno.EROFS, intake, "write_whole"),
        (errno.EMFILE, scan_files, "combine"),  # a reader tells that as the file's own
    ):

        def fail(*arguments: object, lacks: int = number) -> None:
            raise OSError(lacks, os.strerror(lacks))

        with monkeypatch.context() as patched:
            patched.setattr(place, name, fail)
            with pytest.raises(OSError, match=os.strerror(number)):
                run(lab)
        assert not [state for state, _ in files(lab).values() if state == "quarantined"]
    run(lab)
    assert states(lab)["r001-01"] == "measured", "once there is room"


def test_a_copy_that_was_changed_is_made_again_from_what_was_dropped_and_else_not_learned_from(lab: Path):
    found = [drop_scan(lab, sample) for sample in order(lab)[:2]]
    run(lab)
    whole = (lab / "drop" / "r001-01.xy").read_bytes()
    for copy in (lab / "scans").iterdir():
        copy.write_bytes(copy.read_bytes()[:-3] + b"9\n\n")
    (lab / "drop" / "r001-02.xy").unlink()
    drop_table(lab, {"r001-01": found[0], "r001-02": found[1]})
    run(lab)
    assert files(lab)["r001-01.xy"][0] == "used" and files(lab)["r001-02.xy"][0] == "quarantined"
    assert "was lost or changed since. Drop it once more" in files(lab)["r001-02.xy"][1]
    assert whole in [copy.read_bytes() for copy in (lab / "scans").iterdir()]


def test_what_files_and_people_are_called_acts_in_no_command_page_or_spreadsheet(lab: Path):
    hostile = "=1\x1b]0;title\x07\x9b2J\u202e"
    (lab / "drop" / f"{hostile}.xy").write_text("rubbish")
    run(lab)
    with CampaignStore.amend(lab, person=hostile) as store:
        abandon(store, ["r001-01"], hostile)
        write_orders(store)
    shown = [does(command, lab) for command in ("ledger", "log", "orders", "status")]
    shown += [repr(line) for line in read_log(lab)] + [repr(read_batch(lab, 1).statuses)]
    assert all(r"\x1b]0" in text for text in shown[:3])
    assert not [text for text in shown if set(text) & {"\x1b", "\x07", "\x9b", "\u202e"}]
    assert order(lab)[0]["remark"] == f"'{hostile}" and float(order(lab)[0]["Co (at.%)"]) >= 0


# --- taking in alone, without a campaign's loop


class Empty:
    """A ledger of a campaign to which nothing has come yet."""

    read_again = False

    def suggestion(self, id_: str) -> None:
        return None

    def file_of(self, hash_: str) -> None:
        return None

    def spectra(self, **which: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
        return [], np.empty((0, 3)), np.empty((0, 96))

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **others: []


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    with open_campaign(write_campaign(tmp_path_factory.mktemp("hostile") / "lab")) as campaign:
        assert isinstance(campaign.backend, Laboratory)
        return campaign.backend


def take(backend: Laboratory, ledger: object) -> list[Filed]:
    return [event for event in take_in(backend, cast(Ledger, ledger)) if isinstance(event, Filed)]


LETTERS = st.binary(min_size=1, max_size=300).map(lambda name: name.replace(b"/", b"_").replace(b"\x00", b"_"))
ENDINGS = st.sampled_from([b".xy", b".csv", b".xrdml", b".brml", b".XY", b".xlsx", b".exe", b""])
CONTENTS = st.sampled_from(
    [b"", b"1 2\n2 3\n", b"sample,Co (at.%)\n=1,100\n", b"<" * 99, b"PK\x03\x04", b"\xff\xfe1 2"]
)


@settings(max_examples=60)
@given(LETTERS, ENDINGS, CONTENTS | st.binary(max_size=99), st.integers(-(2**33), 2**34))
@example(b"x" * 252, b".xy", b"", 2**34)
@example(b"\x1b[2J\x9b\r\n\xe2\x80\xae<img src=x>", b".csv", b"sample,Co (at.%)\n\x1b[2J,100\n", 0)
@example("".join(map(chr, range(0x80, 0xA0))).encode(), b".xy", b"", -1)
def test_a_hostile_name_time_and_content_come_to_one_entry_that_anybody_may_read(
    backend: Laboratory, letters: bytes, ending: bytes, content: bytes, seconds: int
):
    (drop,) = backend.settings.drop
    drop.mkdir(exist_ok=True)
    name = letters[: 255 - len(ending)] + ending
    path = Path(os.fsdecode(os.fsencode(drop) + b"/" + name))
    if name in (b".", b"..") or name.startswith((b".", b"~$")):
        return
    path.write_bytes(content)
    os.utime(path, (seconds, seconds))
    try:
        (event,) = take(backend, Empty())
    finally:
        path.unlink()
    entry = event.file
    assert entry.state in ("quarantined", "waiting") and entry.reason and abs(entry.modified) < 2**63
    called = [scan.sample + scan.name + scan.reason for scan in event.scans]
    for text in (entry.path, entry.reason, event.text, *(row.sample for row in event.samples), *called):
        assert text.encode() and not {unicodedata.category(c) for c in text} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    if entry.hash and entry.state == "quarantined":
        kept = {path.read_bytes() for path in (backend.folder / "quarantine").iterdir()}
        assert content in kept


def test_a_table_of_very_many_samples_is_read_in_a_second_or_two(backend: Laboratory):
    (drop,) = backend.settings.drop
    table = drop / "edx.csv"
    table.write_text("\n".join(["sample,Co (at.%),V (at.%),Zr (at.%)", *(f"s{k},20,30,50" for k in range(20_000))]))
    begun = time.process_time()
    (event,) = take(backend, Empty())
    table.unlink()
    assert len(event.samples) == 20_000 and time.process_time() - begun < 5


def test_a_scan_is_still_taken_beside_it_all(backend: Laboratory):
    (drop,) = backend.settings.drop
    (drop / "r001-01.xy").write_text(scan_text(np.array([0.2, 0.3, 0.5]), np.random.default_rng(0), ".xy"))
    (event,) = take(backend, Empty())
    assert event.file.state == "waiting" and "No composition table names r001-01" in event.file.reason
