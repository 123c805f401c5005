"""Files that are called by the hash of their content, so that it can be told whether they are what was written.

A map is called `HASH.parquet`, an archive of spectra `round-003-HASH.h5`, a checkpoint's halves `HASH.safetensors` and
`HASH.json`, the hash being of both.
"""

import re
from errno import EIO
from hashlib import sha256
from pathlib import Path

_DIGITS = 16
_HASH_IN_NAME = re.compile(rf"(?:^|-)([0-9a-f]{{{_DIGITS}}})$")
_BLOCK = 1 << 20  # bytes


def hash_of(*paths: Path) -> str:
    """Return the hash of some files' contents, one after the other, as it stands in a name."""
    found = sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    return found.hexdigest()[:_DIGITS]


def parts_of(path: Path) -> tuple[Path, ...]:
    """Return the files that a name is the hash of: itself, or both halves of a checkpoint, called by its JSON half."""
    return (path.with_suffix(".safetensors"), path) if path.suffix == ".json" else (path,)


def is_named_by_content(path: Path) -> bool:
    """Return whether a name holds a hash; that of an archive by glassmap 0.2 doesn't."""
    return _HASH_IN_NAME.search(path.stem) is not None


def harm_of(path: Path) -> str | None:
    """Return how a file isn't what was written, "is missing" or "was changed"; None where it is. Loads nothing.

    Args:
        path: Of a checkpoint the JSON half. Where its name holds no hash, as of an archive by glassmap 0.2, it is only
            looked for.

    Raises:
        OSError: If it can't be looked at for a reason that says nothing of it, such as rights or handles.
    """
    named = _HASH_IN_NAME.search(path.stem)
    try:
        found = hash_of(*parts_of(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        lost = Path(error.filename)
        return "is missing" if lost == path else f"lacks its other half, {lost.name}"
    except OSError as error:
        if error.errno != EIO:
            raise
        return "lies where the disk can't be read any more"
    return None if named is None or named[1] == found else "was changed or cut off since it was written"
