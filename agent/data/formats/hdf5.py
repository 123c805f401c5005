"""An HDF5 file as a tree of groups and datasets, from its bytes alone.

No other file is opened: links into others are kept as such, virtual datasets and external storage are refused when they
are asked for, and so is what needs a plug-in to be unpacked. Sizes are looked at before anything is.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from glassmap.agent.errors import DatasetError
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import Numbers

MAX_VALUES = 16_000_000  # of a dataset, unpacked
MAX_OBJECTS = 50_000  # of a file; a map of 441 entries has some 10,000
MAX_NAMES = 1000  # of an attribute
MAX_TEXT = 4_000_000  # bytes
MAX_STEPS = 30  # of a path
_OWN_FILTERS = {1, 2, 3, 4, 5, 6, 32000}  # deflate, shuffle, checksum, szip, nbit, scale and offset, LZF
_VARIABLE_LENGTH = 9  # class of HDF5's types
_TEXT = 3
_PLAIN = (0, 1, _TEXT)  # classes of HDF5's types: integers, floats and texts
_ATTRIBUTES = ("NX_class", "default", "signal", "axes", "axis", "units", "unit", "long_name")


class Elsewhere(NamedTuple):
    """A link into another file."""

    path: str
    file: str


class Alias(NamedTuple):
    """A link to a path within the file."""

    target: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """One dataset, which is read when it is asked for."""

    path: str
    address: int  # in the file: two paths may lead to one dataset
    shape: tuple[int, ...]  # (0,) of a virtual one, since other files may be opened to tell it
    is_virtual: bool
    is_numbers: bool
    attributes: dict[str, list[str]]
    source: Any  # of h5py
    content: bytes = field(repr=False)  # of the file

    @property
    def size(self) -> int:
        """How many values it has."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def unit(self) -> str:
        """Its attribute `units`, in lower case; empty where there is none."""
        return next(
            (said[0].strip().lower() for name in ("units", "unit") if (said := self.attributes.get(name))),
            "",
        )

    def numbers(self) -> Numbers:
        """Read it.

        Raises:
            DatasetError: If it lies in another file, needs a plug-in, is too large or holds no numbers.
        """
        self._check()
        if not self.is_numbers:
            raise DatasetError(f"{self._shown!r} holds no numbers. Export it again.")
        return np.asarray(self.source[()], dtype=np.float64)

    def text(self) -> str:
        """Read the one text that it holds; empty where it holds something else.

        Raises:
            DatasetError: As `numbers`.
        """
        if self.is_numbers or self.size != 1 or not self._is_short_text():
            return ""
        self._check()
        return (_texts(self.source[()]) or [""])[0]

    def _is_short_text(self) -> bool:
        """Tell whether its text, if its length isn't fixed, is as long as texts are; the library doesn't look."""
        kind = self.source.id.get_type()
        if kind.get_class() != _TEXT or not kind.is_variable_str():
            return kind.get_class() == _TEXT and kind.get_size() <= MAX_TEXT
        at = self.source.id.get_offset()
        return at is not None and _integer(self.content, at, 4) <= MAX_TEXT

    @property
    def _shown(self) -> str:
        return visible(self.path)[-60:]

    def _check(self) -> None:
        properties = self.source.id.get_create_plist()
        if self.is_virtual or properties.get_external_count():
            raise DatasetError(
                f"The values of {self._shown!r} lie in another file, and no other file is opened. Copy them here."
            )
        filters = {properties.get_filter(k)[0] for k in range(properties.get_nfilters())}
        if others := sorted(filters - _OWN_FILTERS):
            raise DatasetError(
                f"{self._shown!r} is packed by filter {', '.join(map(str, others))}, which isn't HDF5's own. Repack "
                "the file: h5repack -f GZIP=1 OLD NEW."
            )
        if self.size > MAX_VALUES:
            raise DatasetError(f"{self._shown!r} has {self.size} values; {MAX_VALUES} are read at most. Split it.")


@dataclass(frozen=True, eq=False)
class Group:
    """One group, with what it leads to."""

    path: str
    attributes: dict[str, list[str]]
    members: dict[str, "Group | Dataset | Elsewhere | Alias"] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Its class of NeXus, such as `NXdata`; empty where it says none."""
        return (self.attributes.get("NX_class") or [""])[0]

    def said(self, name: str) -> str:
        """Return an attribute, empty where there is none."""
        return (self.attributes.get(name) or [""])[0]


def read_tree(content: bytes) -> tuple[Group, Any]:
    """Return the root of a file, and the open file, which whoever asks for its datasets closes at the end.

    Raises:
        DatasetError: If it holds too many objects.
        OSError: If it is damaged; h5py raises RuntimeError, KeyError, ValueError and TypeError, too.
    """
    import h5py  # pyright: ignore[reportMissingTypeStubs]  # takes a moment, and most campaigns don't need it

    _check_texts(content)
    hdf5: Any = h5py
    file: Any = hdf5.File.in_memory(content)
    try:
        root = Group("/", _attributes(file))
        groups: dict[int, Group] = {_address(hdf5, file): root}
        left, seen = [(file, root)], 0
        while left:
            source, group = left.pop()
            for name in source:
                if (seen := seen + 1) > MAX_OBJECTS:
                    raise DatasetError(f"It holds more than {MAX_OBJECTS} groups and datasets. Is it a scan? Split it.")
                path = f"{group.path.rstrip('/')}/{name}"
                link = source.get(name, getlink=True)
                if isinstance(link, hdf5.ExternalLink):
                    group.members[name] = Elsewhere(path, str(link.filename))
                elif isinstance(link, hdf5.SoftLink):
                    group.members[name] = Alias(str(link.path))
                else:
                    item = source[name]
                    address = _address(hdf5, item)
                    if isinstance(item, hdf5.Dataset):
                        group.members[name] = _dataset(item, path, address, content)
                    elif isinstance(item, hdf5.Group):
                        if address not in groups:
                            groups[address] = Group(path, _attributes(item))
                            left.append((item, groups[address]))
                        group.members[name] = groups[address]
    except BaseException:
        file.close()
        raise
    return root, file


def _check_texts(content: bytes) -> None:
    """Refuse heaps of texts, and texts of attributes, on which the library would never end or take all memory.

    The layouts are those of the format's specification. III.E: behind the letters and the size of a heap there are
    objects with their number, their size and their bytes, filled up to eight; number 0 is the room left over, by its
    whole size. IV.A.2.m: before the name of an attribute, a version and the sizes of name, type and space; behind them
    of each text its length, the place of its heap and its number there.

    Raises:
        DatasetError: If so.
    """
    is_whole = True
    at = content.find(b"GCOL")
    while is_whole and at >= 0:
        place, end = at + 16, at + _integer(content, at + 8, 8)
        while is_whole and place + 16 <= min(end, len(content)):
            size = _integer(content, place + 8, 8)
            step = size if _integer(content, place, 2) == 0 else 16 + (size + 7) // 8 * 8
            place, is_whole = place + step, step >= 16 and place + step <= end
        at = content.find(b"GCOL", at + 4)
    for name in _ATTRIBUTES:
        for found in re.finditer(re.escape(name.encode()) + rb"\0", content):
            is_whole = is_whole and _is_short(content, found.start())
    if not is_whole:
        raise DatasetError("It is no whole HDF5 file: its texts are damaged. Export it again.")


def _is_short(content: bytes, name: int) -> bool:
    """Tell whether the texts of the attribute whose name stands there are no longer than texts are."""
    for head, version, fill in ((8, 1, 8), (8, 2, 1), (9, 3, 1)):
        start = name - head
        if start < 0 or content[start] != version:
            continue
        lengths = [-(-_integer(content, start + k, 2) // fill) * fill for k in (2, 4, 6)]
        kind, space, texts = name + lengths[0], name + sum(lengths[:2]), name + sum(lengths)
        if texts >= len(content) or content[kind] & 15 != _VARIABLE_LENGTH:
            continue
        dimensions = space + (8 if content[space] == 1 else 4)
        sizes = [_integer(content, dimensions + 8 * k, 8) for k in range(min(int(content[space + 1]), 4))]
        count = min(int(math.prod(sizes)), MAX_NAMES)
        return all(_integer(content, texts + 16 * k, 4) <= MAX_TEXT for k in range(count))
    return True


def _integer(content: bytes, at: int, size: int) -> int:
    return int.from_bytes(content[at : at + size], "little")


def _address(hdf5: Any, item: Any) -> int:
    return int(hdf5.h5o.get_info(item.id).addr)


def _dataset(item: Any, path: str, address: int, content: bytes) -> Dataset:
    is_virtual = bool(item.is_virtual)
    shape = None if is_virtual else item.shape
    shape = (0,) if shape is None else tuple(shape)
    return Dataset(path, address, shape, is_virtual, item.dtype.kind in "iuf", _attributes(item), item, content)


def _attributes(item: Any) -> dict[str, list[str]]:
    held, found = item.attrs, dict[str, list[str]]()
    for name in _ATTRIBUTES:
        if name in held:
            identity = held.get_id(name)
            shape = identity.shape
            if shape is not None and np.prod(shape, dtype=np.float64) > MAX_NAMES:
                raise DatasetError(f"An attribute {name!r} has more than {MAX_NAMES} values. Export it again.")
            if identity.get_type().get_class() in _PLAIN:
                found[name] = _texts(held[name])
    return found


def _texts(value: Any) -> list[str]:
    """Return a value as texts: one, or one for each of an array."""
    values: list[Any] = np.ravel(value)[:16].tolist()
    return [(one.decode("utf-8", errors="replace") if isinstance(one, bytes) else str(one)).strip() for one in values]


def member(root: Group, group: Group, path: str, steps: int = 0) -> Group | Dataset | None:
    """Return what a path leads to from a group, or from the root where it begins with a slash; None if to nothing.

    Raises:
        DatasetError: If it leads into another file.
    """
    node: Group | Dataset | None = root if path.startswith("/") else group
    for step in path.split("/"):
        if step in ("", "."):
            continue
        if not isinstance(node, Group) or steps > MAX_STEPS:
            return None
        found = node.members.get(step)
        if isinstance(found, Elsewhere):
            raise DatasetError(
                f"{visible(found.path)[-60:]!r} is a link into another file, {visible(found.file)[:60]!r}, and no "
                "other file is opened. Copy its data into this one."
            )
        node, steps = member(root, node, found.target, steps + 1) if isinstance(found, Alias) else found, steps + 1
    return node


def groups_in(group: Group) -> Iterator[Group]:
    """Yield a group and all within it, each once, in their order."""
    seen = set[int]()
    left = [group]
    while left:
        found = left.pop()
        if id(found) not in seen:
            seen.add(id(found))
            yield found
            left += reversed([one for one in found.members.values() if isinstance(one, Group)])


def datasets_of(root: Group, group: Group) -> Iterator[tuple[str, Dataset]]:
    """Yield the datasets of a group, those that are links within the file too, by their names in lower case."""
    for name, found in group.members.items():
        if isinstance(found, Alias):
            try:
                found = member(root, group, found.target)
            except DatasetError:  # into another file, which nobody may need
                continue
        if isinstance(found, Dataset):
            yield name.lower(), found
