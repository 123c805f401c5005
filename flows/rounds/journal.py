"""The campaign's log for machines: a line of JSON a stage, in the folder's `log.jsonl`.

The audit log for people, who did what and why, is in the store (`glassmap log`).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

FILE_NAME = "log.jsonl"


@contextmanager
def timed(folder: Path, **about: Any) -> Iterator[dict[str, Any]]:
    """Write a line once the block ends, however it ends but by a kill.

    Args:
        folder: The campaign's.
        about: What is known before: stage, round, attempt.

    Yields:
        The line's content, for what is known after: JSON types.
    """
    line: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **about}
    began = monotonic()
    try:
        yield line
    except BaseException as error:
        line |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        raise
    finally:
        line["seconds"] = round(monotonic() - began, 3)
        with (folder / FILE_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
