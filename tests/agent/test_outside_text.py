"""Text from outside acts on no terminal and in no spreadsheet, and is read back as it was."""

import csv
import io
import unicodedata
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from glassmap.agent.data.composition_table import read_composition_table
from glassmap.agent.outside_text import from_spreadsheet, spreadsheet_cell, visible

ACTS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
HOSTILE = st.text(st.characters() | st.sampled_from("\x1b\x07\r\n\t\x00\x9b\u202e\u2028\ud800=+-@'[]/"), min_size=1)


@given(HOSTILE)
@example("a\x1b]0;title\x07b.xy")
def test_no_character_that_acts_is_shown(text: str):
    shown = visible(text)
    assert not {unicodedata.category(c) for c in shown} & ACTS
    assert shown.encode() and visible(shown) == shown
    assert visible(text, keep="\n").count("\n") == text.count("\n")


@given(HOSTILE.filter(lambda text: "\x00" not in text and text.isprintable()))
@example("=HYPERLINK(1)")
@example("'=1")
@example("-1+cmd")
def test_a_cell_of_text_is_no_formula_and_read_back_as_it_was(text: str):
    written = io.StringIO()
    csv.writer(written).writerow([spreadsheet_cell(text), spreadsheet_cell(-1.5)])
    cell, number = next(csv.reader(io.StringIO(written.getvalue())))
    assert cell[0] not in "=+-@\t\r\n" and number == "-1.5"
    assert from_spreadsheet(cell) == text


def test_a_sample_that_a_csv_file_of_ours_names_is_the_same_sample(tmp_path: Path):
    row = ",".join(map(str, (spreadsheet_cell("@1"), 20, 30, 50)))
    (tmp_path / "edx.csv").write_text(f"sample,Co (at.%),V (at.%),Zr (at.%)\n{row}\n")
    assert read_composition_table(tmp_path / "edx.csv").samples == ("@1",)
