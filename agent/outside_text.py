"""Text that comes from outside, such as the names of files: shown whole, and made to act nowhere."""

import re
import unicodedata

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
