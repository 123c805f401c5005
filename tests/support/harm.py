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


def place_of(folder: Path, content: bytes, *, before: bytes = b"") -> int:
    """Return where some bytes stand in a campaign's store, with others soon after them."""
    store = (folder / STORE).read_bytes()
    place = store.index(content)
    while before not in store[place : place + len(content) + len(before) + 16]:
        place = store.index(content, place + 1)
    return place


def spectrum_in(folder: Path, measurement: str) -> int:
    """Return where a measurement's spectrum stands in a campaign's store."""
    ((intensity,),) = rows(folder, f"SELECT intensity FROM spectra WHERE id = '{measurement}'")
    return place_of(folder, intensity)


def suggestion_in(folder: Path, suggestion: str) -> int:
    """Return where the row of what was asked for stands in a campaign's store: its id, and soon after its alloy."""
    ((composition,),) = rows(folder, f"SELECT composition FROM suggestions WHERE id = '{suggestion}'")
    return place_of(folder, suggestion.encode(), before=composition.encode())
