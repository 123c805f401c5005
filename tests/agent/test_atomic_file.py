"""Files that are there whole or not at all, also when the power is cut."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from glassmap.agent.atomic_file import whole_file, write_by_content, write_whole
from glassmap.agent.content_hash import harm_of
from tests.support.power import Disk


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    disk = Disk(root, monkeypatch)
    yield disk
    disk.end()


def test_a_power_cut_leaves_a_file_that_was_written_under_its_name_and_in_its_new_folders(disk: Disk, tmp_path: Path):
    written = disk.root / "a" / "b" / "spectrum.xy"
    write_whole(written, b"1 2 3")
    assert disk.content(written) == b"1 2 3"
    write_whole(written, b"4 5 6")
    assert disk.content(written) == b"4 5 6"
    assert (disk.cut(tmp_path / "cut") / "a" / "b" / "spectrum.xy").read_bytes() == b"4 5 6"


def test_a_power_cut_leaves_a_file_that_is_called_by_its_content(disk: Disk):
    def write(place: Path) -> None:
        place.write_bytes(b"spectra")

    path = write_by_content(disk.root / "maps", "round-001-{}.h5", write)
    assert disk.content(path) == b"spectra" and harm_of(path) is None


def test_the_disk_of_these_tests_loses_what_was_not_synced(disk: Disk):
    root = disk.root
    (root / "plain").write_bytes(b"1")
    assert disk.content(root / "plain") is None
    write_whole(root / "other", b"2")
    assert disk.content(root / "plain") == b"", "its name came along, its content didn't"
    (root / "other").rename(root / "renamed")
    assert (disk.content(root / "renamed"), disk.content(root / "other")) == (None, b"2")


def test_a_write_that_fails_leaves_the_file_of_before_and_nothing_beside(tmp_path: Path):
    path = tmp_path / "map.parquet"
    write_whole(path, b"before")

    def fail(place: Path) -> None:
        place.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError), whole_file(path) as place:
        fail(place)
    with pytest.raises(OSError):
        write_by_content(tmp_path, "{}.parquet", fail)
    assert [found.name for found in tmp_path.iterdir()] == ["map.parquet"] and path.read_bytes() == b"before"
