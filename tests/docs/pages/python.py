"""The public Python names, each at work."""

import re

from tests.docs.blocks import PAGES, Page, Reader


def check(reader: Reader) -> None:
    names = reader.names
    assert {"q1", "delta_q"} <= names["peak"].figures.keys() == names["peaks"].figures.keys()
    assert names["glasses"].elements == ("Zr", "Cu", "Al") and names["peak"].reason == ""
    assert not set(names["batch"].rows.tolist()) & set(names["next_batch"].rows.tolist())
    assert names["prediction"].mean.shape == (10, len(names["spectra"].axis))
    assert names["campaign"].status.state == "exhausted"
    page = PAGES[reader.name].read_text()
    for table in ("curve", "measurements", "map"):
        told = re.search(rf"^`campaign\.{table}`, a row.*?\n\n(.*?)\n\n", page + "\n\n", re.DOTALL | re.MULTILINE)
        assert told is not None
        named = {name for line in told[1].splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])}
        assert named and named <= set(getattr(names["campaign"], table).columns), "columns are called as the page says"


PAGE = Page(check=check)
