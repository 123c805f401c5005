"""Text that comes from outside, such as the names of files: shown whole, and made to act nowhere."""

import re
import unicodedata
from collections.abc import Sequence

_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode: control, format (such as right to left), half a pair, line ends
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def visible(text: str, *, keep: str = "") -> str:
    r"""Return a text with each character that would act, or is none, as its code.

    Args:
        text: Any.
        keep: Characters that stay, such as line ends.

    >>> print(visible("a\x1b[2Jb\nc"))
    a\x1b[2Jb\nc
    """
    if text.isprintable():
        return text
    return "".join(_code(c) if unicodedata.category(c) in _ACTING and c not in keep else c for c in text)


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def spreadsheet_cell(value: object) -> object:
    """Return a cell of a CSV file: a text that a spreadsheet would take for a formula begins with an apostrophe.

    >>> spreadsheet_cell("=1+1"), spreadsheet_cell("r001-01"), spreadsheet_cell(-1.5)
    ("'=1+1", 'r001-01', -1.5)
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def from_spreadsheet(cell: str) -> str:
    """Return what a cell of a CSV file says, without the apostrophe that `spreadsheet_cell` puts before a formula."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def plain_name(text: str, *, suffixes: Sequence[str] = ()) -> str:
    """Return a sample's name as names are compared: in one form of Unicode, without case, ends and a scan's suffix.

    A slash is part of a name, as in `W1/3`; a folder before the name of a file is its caller's to take off.

    Args:
        text: As a file, a table or an instrument has it.
        suffixes: In lower case, of which one is taken off; none by default.

    >>> plain_name(" W1/3.XY ", suffixes=(".xy",)), plain_name("probe-a\u0308") == plain_name("Probe-\u00e4")
    ('w1/3', True)
    """
    name = visible(unicodedata.normalize("NFC", text.strip()).casefold())
    return next((name.removesuffix(suffix) for suffix in suffixes if name.endswith(suffix) and name != suffix), name)
