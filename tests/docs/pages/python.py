"""The public Python names, each at work."""

import re

from tests.docs.blocks import PAGES, Page, Reader


def check(reader: Reader) -> None:
    names = reader.names
    assert {"q1", "delta_q"} <= names["peak"].figures.keys() == names["peaks"].figures.keys()
    assert names["glasses"].elements == ("Zr", "Cu", "Al") and names["peak"].reason == ""
    assert not set(names["batch"].rows.tolist()) & set(names["next_batch"].rows.tolist())
    assert names["prediction"].mean.shape == (10, len(names["spectra"].axis))
    assert names["campaign"].status().state == "exhausted"
    page = PAGES[reader.name].read_text()
    tables = {name: getattr(names["campaign"], name)() for name in ("curve", "measurements", "map")}
    tables["generate"] = names["campaign"].generate("Co30V40Zr30")
    for name, table in tables.items():
        told = re.search(rf"^`campaign\.{name}\(.*?\)`, a row.*?\n\n(.*?)\n\n", page + "\n\n", re.DOTALL | re.MULTILINE)
        assert told is not None
        named = {each for line in told[1].splitlines() for each in re.findall(r"`(\w+)`", line.split("|")[1])}
        assert named and named <= {*table.columns, "two_theta", "r"}, "columns are called as the page says"


PAGE = Page(check=check)
