"""Harm to files, as a failing disk does it."""

from pathlib import Path

from glassmap.agent.store.schema import FILE_NAME as STORE
from tests.support.campaigns import rows


def flip(file: Path, *, at: int | None = None, count: int = 1) -> None:
    """Flip every bit of some bytes; in the middle by default."""
    content = bytearray(file.read_bytes())
    at = len(content) // 2 if at is None else at
    content[at : at + count] = bytes(byte ^ 0xFF for byte in content[at : at + count])
    file.write_bytes(content)


def place_of(folder: Path, content: bytes) -> int:
    """Return where some bytes stand in a campaign's store; they are there once."""
    store = (folder / STORE).read_bytes()
    assert store.count(content) == 1
    return store.index(content)


def spectrum_in(folder: Path, measurement: str) -> int:
    """Return where a measurement's spectrum stands in a campaign's store."""
    ((intensity,),) = rows(folder, f"SELECT intensity FROM spectra WHERE id = '{measurement}'")
    return place_of(folder, intensity)


def suggestion_in(folder: Path, suggestion: str) -> int:
    """Return where the row of what was asked for stands in a campaign's store: its id, and soon after its alloy."""
    ((composition,),) = rows(folder, f"SELECT composition FROM suggestions WHERE id = '{suggestion}'")
    store, id_, alloy = (folder / STORE).read_bytes(), suggestion.encode(), composition.encode()
    place = store.index(id_)
    while alloy not in store[place : place + len(id_) + len(alloy) + 8]:
        place = store.index(id_, place + 1)
    return place
