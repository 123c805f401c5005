"""Composition tables as EDX programs and spreadsheets write them: each column by its name, no unit guessed."""

import datetime
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.data.composition_table import CompositionTable, is_composition_table, read_composition_table
from glassmap.agent.errors import GlassmapError

ROWS = [("a", "47", "28", "25"), ("b", "50", "30", "20")]
AT = [[47.0, 28.0, 25.0], [50.0, 30.0, 20.0]]
HEAD = ("sample", "Co (at.%)", "V (at.%)", "Zr (at.%)")
Cells = tuple[str, ...]


def text(head: Cells = HEAD, rows: list[Cells] | None = None, *, separator: str = ",") -> str:
    return "\n".join(separator.join(row) for row in [head, *(ROWS if rows is None else rows)]) + "\n"


def read(folder: Path, content: str | bytes, name: str = "edx.csv", **settings: Any) -> CompositionTable:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_composition_table(path, **settings)


def refusal(folder: Path, content: str | bytes, name: str = "edx.csv", **settings: Any) -> str:
    with pytest.raises(GlassmapError) as refused:
        read(folder, content, name, **settings)
    return str(refused.value)


def book(*sheets: list[list[Any]]) -> bytes:
    from openpyxl import Workbook

    made, packed = Workbook(), io.BytesIO()
    for k, rows in enumerate(sheets):
        sheet = made.worksheets[0] if k == 0 else made.create_sheet(f"Sheet{k + 1}")
        for row in rows:
            sheet.append(row)
    made.save(packed)
    return packed.getvalue()


def ods(rows: Sequence[Sequence[str | float]]) -> bytes:
    """The smallest OpenDocument sheet."""

    def cell(value: str | float) -> str:
        if isinstance(value, str):
            return f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'
        number = f'office:value-type="float" office:value="{value}"'
        return f"<table:table-cell {number}><text:p>{value}</text:p></table:table-cell>"

    body = "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows)
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "content.xml",
            f'<?xml version="1.0"?><office:document-content {spaces}><office:body><office:spreadsheet>'
            f'<table:table table:name="EDX">{body}</table:table></office:spreadsheet></office:body>'
            "</office:document-content>",
        )
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
    return packed.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        text(),
        text(separator="\t"),
        text(rows=[tuple(cell + ",0" if cell.isdigit() else cell for cell in row) for row in ROWS], separator=";"),
        "\ufeff" + text(),
        text().encode("utf-16"),
        "EDX of wafer 7,,,\n\n" + text(),
        "EDX of wafer 7\nProject: x\n" + text(),
        text().replace("b,", ",,,\nb,", 1),
        text(("sample", "Co", "V", "Zr"), [("", "at.%", "at.%", "at.%"), *ROWS]),
        text((*HEAD, "Total"), [(*row, "100") for row in ROWS]),
        text(("sample", "Co (at.%)", "Co error", "V (at.%)", "V sigma (at.%)", "Zr (at.%)", "sd"),
             [(a, b, "1", c, "1", d, "1") for a, b, c, d in ROWS]),
        text(("", *HEAD), [(str(k), *row) for k, row in enumerate(ROWS)]),
        text(rows=[tuple(cell + " %" if cell.isdigit() else cell for cell in row) for row in ROWS]),
        text((*HEAD, "Co (wt.%)", "V (wt.%)", "Zr (wt.%)"), [(*row, "42", "22", "36") for row in ROWS]),
    ],
)  # fmt: skip
def test_separators_encodings_titles_units_and_other_columns_leave_the_shares_as_they_are(
    content: str | bytes, tmp_path: Path
):
    table = read(tmp_path, content)
    assert (table.samples, table.elements) == (("a", "b"), ("Co", "V", "Zr"))
    np.testing.assert_allclose(100 * table.compositions, AT)


@pytest.mark.parametrize(
    "name",
    ["At% {}", "{} At%", "at.% {}", "{} [at.%]", "{}_at%", "{} (Atomic %)", "{} Atomic %", "Atomic % {}",
     "{} norm. at.%", "{} (norm. at.%)", "{} at. %", "{} K (at.%)", "{} L [at%]", "{}-K at%", "{} (atomic percent)"],
)  # fmt: skip
def test_shares_in_at_percent_are_known_by_many_names(name: str, tmp_path: Path):
    table = read(tmp_path, text(("sample", *map(name.format, ("Co", "V", "Zr")))))
    assert table.elements == ("Co", "V", "Zr")
    np.testing.assert_allclose(100 * table.compositions, AT)


@pytest.mark.parametrize("name", ["{} (wt.%)", "{} (Mass %)", "{} Weight %", "Wt% {}", "{} K (wt%)", "{} [norm. wt.%]"])
def test_shares_by_weight_are_converted_and_it_is_said(name: str, tmp_path: Path):
    rows: list[Cells] = [("a", "42", "22", "36")]
    table = read(tmp_path, text(("sample", *map(name.format, ("Co", "V", "Zr"))), rows))
    np.testing.assert_allclose(100 * table.compositions, [[46.62, 28.25, 25.81]], atol=1.0)
    moles = np.array([42 / 58.933194, 22 / 50.9415, 36 / 91.224])
    np.testing.assert_allclose(table.compositions[0], moles / moles.sum(), rtol=1e-5)
    assert any("converted from wt.%" in note for note in table.notes)


@pytest.mark.parametrize(
    "content",
    [
        "All results in atomic %,,,\n" + text(("sample", "Co", "V", "Zr")),
        text(("sample", "Co", "V", "Zr")) + "\nAll results in atomic%\n",
        "Result Type,Atomic %,,\n" + text(("sample", "Co K", "V K", "Zr L")),
        "sample,Atomic %,Atomic %,Atomic %\n" + text(("", "Co", "V", "Zr")),
        text(("sample", "Co", "V", "Zr"), [("unit", "at.%", "at.%", "at.%"), *ROWS]),
    ],
)
def test_a_unit_may_stand_in_a_title_or_in_a_row_of_its_own(content: str, tmp_path: Path):
    table = read(tmp_path, content)
    assert table.samples == ("a", "b")
    np.testing.assert_allclose(100 * table.compositions, AT, rtol=0, atol=1e-9)
    other = content.replace("Atomic", "Weight").replace("atomic", "weight").replace("at.%", "wt.%")
    np.testing.assert_allclose(read(tmp_path, other).compositions[0], [0.49193, 0.33904, 0.16904], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["2026-05-03 00:00:00", "1905-03-05 00:00:00"])
def test_a_date_that_a_program_wrote_as_text_is_no_sample(name: str, tmp_path: Path):
    assert "a date stands" in refusal(tmp_path, text(rows=[(name, *ROWS[0][1:])])).lower()


def test_a_header_may_be_a_comment(tmp_path: Path):
    assert read(tmp_path, "# " + text()).samples == ("a", "b")


def test_a_title_that_says_other_things_names_no_unit(tmp_path: Path):
    said = refusal(tmp_path, "Targets 5 at.% apart,,,\n" + text(("sample", "Co", "V", "Zr")))
    assert "unit of the column 'Co' must be at.% or wt.%" in said


def test_titles_of_both_units_name_none(tmp_path: Path):
    content = "Results in atomic %\nResults in weight %\n" + text(("sample", "Co", "V", "Zr"))
    assert "unit of the column 'Co' must be at.% or wt.%" in refusal(tmp_path, content)


def test_blanks_and_line_ends_of_any_kind_in_a_header_are_blanks(tmp_path: Path):
    table = read(tmp_path, text(("sample", '"Co\n(at.%)"', "V\u00a0(at.%)", "Zr  / at.%")))
    np.testing.assert_allclose(100 * table.compositions, AT, rtol=0, atol=1e-9)


def test_errors_of_one_name_beside_each_share_are_kept_apart(tmp_path: Path):
    head = ("sample", "Co (at.%)", "±", "V (at.%)", "±", "Zr (at.%)", "±")
    table = read(tmp_path, text(head, [("a", "47", "1", "28", "2", "25", "3")]))
    assert [table.others[name] for name in table.others] == [["1"], ["2"], ["3"]]


def test_columns_that_are_named_one_by_one_are_closed_with_what_the_others_hold(tmp_path: Path):
    head, row = ("sample", "O (at.%)", "Co (at.%)", "V (at.%)", "Zr (at.%)"), ("a", "6", "47", "28.2", "18.8")
    columns = {element: f"{element} (at.%)" for element in ("Co", "V", "Zr")}
    settings: dict[str, Any] = {"columns": columns, "unit": "at.%", "over": ("Co", "V", "Zr")}
    table = read(tmp_path, text(head, [row]), **settings)
    np.testing.assert_allclose(100 * table.compositions, [[50, 30, 20]], rtol=0, atol=1e-9)
    assert any("O 6.00 at.% were left out" in note for note in table.notes)
    normalized = read(tmp_path, text(head, [("a", "6", "50", "30", "20")]), **settings)
    np.testing.assert_allclose(100 * normalized.compositions, [[50, 30, 20]], rtol=0, atol=1e-9)
    assert "must sum to 100" in refusal(tmp_path, text(head, [("a", "6", "40", "28.2", "18.8")]), **settings)


def test_x_ray_lines_are_no_unit(tmp_path: Path):
    head = ("sample", "Co K", "V K", "Zr L")
    assert "must be at.% or wt.%" in refusal(tmp_path, text(head))
    np.testing.assert_allclose(100 * read(tmp_path, text(head), unit="at.%").compositions, AT)


@pytest.mark.parametrize(
    "word",
    [
        "Mean",
        "Std. deviation",
        "Min",
        "Max.",
        "Average",
        "Sigma",
        "Mittelwert",
        "Mean value:",
        "Sigma mean:",
        "Std. Abw.",
        "σ",
    ],
)
def test_rows_of_statistics_are_no_samples_and_are_named(word: str, tmp_path: Path):
    table = read(tmp_path, text(rows=[*ROWS, (word, "1.5", "1", "2.5")]))
    assert table.samples == ("a", "b") and any(word in note for note in table.notes)


@pytest.mark.parametrize("cell", ["<LOD", "n.d.", "47 ± 1", "<0.1", "1.234,5"])
def test_a_share_that_is_no_number_is_refused_as_it_stands(cell: str, tmp_path: Path):
    said = refusal(tmp_path, text(rows=[ROWS[0], ("b", cell, "30", "70")], separator="\t"))
    assert "Row 2 (b)" in said and cell in said and "Co" in said


@pytest.mark.parametrize("name", ["Xx (at.%)", "Rest (at.%)", "Oxygen (at.%)", "at.% Others"])
def test_shares_of_no_known_element_are_refused(name: str, tmp_path: Path):
    said = refusal(tmp_path, text(("sample", "Co (at.%)", "V (at.%)", name)))
    assert "no chemical symbol" in said and name in said


OXYGEN = text(("sample", "O (at.%)", *HEAD[1:]), [("a", "6", "47", "28.2", "18.8")])


def test_a_composition_is_of_the_elements_that_are_asked_for_and_what_was_left_out_is_said(tmp_path: Path):
    table = read(tmp_path, OXYGEN, over=("Co", "V", "Zr"))
    assert table.elements == ("Co", "V", "Zr")
    np.testing.assert_allclose(100 * table.compositions, [[50, 30, 20]])
    assert any("O 6.00 at.%" in note and "closed to 100" in note for note in table.notes)
    assert read(tmp_path, OXYGEN).elements == ("O", "Co", "V", "Zr")
    unknown = OXYGEN.replace(",6,", ",<LOD,").replace("18.8", "24.8")
    np.testing.assert_allclose(read(tmp_path, unknown, over=("Co", "V", "Zr")).compositions.sum(), 1)
    assert "holds shares of Ti" in refusal(tmp_path, OXYGEN, over=("Co", "Ti"))


def test_the_column_of_names_is_said_where_it_is_called_otherwise(tmp_path: Path):
    numbered = text(("Spectrum", *HEAD[1:]))
    said = refusal(tmp_path, numbered)
    assert "'Spectrum'" in said and "--sample-column" in said and "backend.table.sample" in said
    assert read(tmp_path, numbered, sample="Spectrum").samples == ("a", "b")


def test_no_share_or_place_is_taken_for_the_column_of_names(tmp_path: Path):
    rows = [(str(k), "0", *row[1:]) for k, row in enumerate(ROWS)]
    said = refusal(tmp_path, text(("X (mm)", "Y (mm)", *HEAD[1:]), rows))
    assert "'X (mm)'" in said and "add a column `sample`" in said and "--sample-column" not in said
    behind = [(*row[1:], f"P{k}") for k, row in enumerate(ROWS)]
    assert "--sample-column 'Punkt'" in refusal(tmp_path, text((*HEAD[1:], "Punkt"), behind))


def test_names_keep_their_slashes_and_letters(tmp_path: Path):
    rows: list[Cells] = [("W1/3", *ROWS[0][1:]), ("probe-\u00e4", *ROWS[1][1:])]
    assert read(tmp_path, text(rows=rows)).samples == ("W1/3", "probe-\u00e4")
    assert read(tmp_path, text(rows=rows).encode("latin-1")).samples == ("W1/3", "probe-\u00e4")


def test_places_are_in_mm(tmp_path: Path):
    head = ("sample", "X (µm)", "Y (mm)", *HEAD[1:])
    table = read(tmp_path, text(head, [("a", "1500", "-2", *ROWS[0][1:]), ("b", "", "4", *ROWS[1][1:])]))
    assert table.x is not None and table.y is not None
    np.testing.assert_array_equal(table.x, [1.5, np.nan])
    np.testing.assert_array_equal(table.y, [-2, 4])
    assert read(tmp_path, text()).x is None
    assert "place on the stage" in refusal(tmp_path, text(head, [("a", "left", "0", *ROWS[0][1:])]))


# --- workbooks

XLSX: list[Any] = list(HEAD)


def test_a_workbook_s_numbers_are_named_as_it_shows_them(tmp_path: Path):
    table = read(tmp_path, book([XLSX, [3.0, 47, 28, 25], [3.5, 50.0, 30, 20]]), "edx.xlsx")
    assert table.samples == ("3", "3.5")
    np.testing.assert_allclose(100 * table.compositions, AT)


@pytest.mark.parametrize("name", [datetime.datetime(2026, 5, 3), datetime.date(2026, 5, 3), datetime.time(3, 5)])
def test_a_date_is_no_sample(name: object, tmp_path: Path):
    said = refusal(tmp_path, book([XLSX, ["a", 47, 28, 25], [name, 50, 30, 20]]), "edx.xlsx")
    assert "A date stands where the sample's name belongs, row 2" in said


def test_the_sheet_that_is_a_table_is_read_and_it_is_said(tmp_path: Path):
    good = [XLSX, ["a", 47, 28, 25], ["b", 50, 30, 20]]
    table = read(tmp_path, book([["notes"], ["made by"]], [["EDX"], [], *good, ["Mean", 48.5, 29, 22.5]]), "edx.xlsx")
    assert table.samples == ("a", "b") and any("Sheet2" in note for note in table.notes)
    assert "Several of its sheets" in refusal(tmp_path, book(good, good), "edx.xlsx")


@pytest.mark.parametrize("cell", ["XFD1048576", "D5000000", "AAAA3"])
def test_a_cell_far_out_is_refused_before_it_takes_all_memory(cell: str, tmp_path: Path):
    far = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(book([XLSX, ["a", 47, 28, 25]]))) as good,
        zipfile.ZipFile(far, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in good.namelist():
            new.writestr(name, good.read(name).replace(b'r="D2"', f'r="{cell}"'.encode()))
    assert "more than 4000000 cells" in refusal(tmp_path, far.getvalue(), "edx.xlsx")


def test_open_document_sheets_are_read(tmp_path: Path):
    table = read(tmp_path, ods([list(HEAD), ["a", 47.0, 28.0, 25.0], ["b", 50.0, 30.0, 20.0]]), "edx.ods")
    assert table.samples == ("a", "b")
    np.testing.assert_allclose(100 * table.compositions, AT)


# --- what is a table


@pytest.mark.parametrize(
    ("content", "is_one"),
    [
        (text(), True),
        (text(("Spectrum", *HEAD[1:])), True),
        (text(("Spectrum", "Co", "V", "Zr")), True),
        ("EDX of wafer 7\n\n" + text(), True),
        ("2theta,I\n20,100\n21,100\n", False),
        ("q,I,S\n1,100,10\n2,100,10\n", False),
        ("20,100\n21,100\n", False),
    ],
)
def test_a_table_is_told_from_a_scan_by_its_header(content: str, is_one: bool, tmp_path: Path):
    path = tmp_path / "file.csv"
    path.write_text(content)
    assert is_composition_table(path) is is_one


def test_a_place_s_unit_may_stand_in_the_row_below_its_name(tmp_path: Path):
    head = ("sample", "x", "y", "Co", "V", "Zr")
    units = ("", "um", "(mm)", "at.%", "at.%", "at.%")
    table = read(tmp_path, text(head, [units, ("a", "1500", "2", "47", "28", "25")]))
    assert table.samples == ("a",) and table.x is not None and table.y is not None
    assert (table.x.tolist(), table.y.tolist()) == ([1.5], [2.0])


def test_a_column_that_says_its_unit_is_not_given_another(tmp_path: Path):
    named = {"Co": "Co (at.%)", "V": "V (at.%)", "Zr": "Zr (at.%)"}
    assert "'Co (at.%)' says another unit than wt.%" in refusal(tmp_path, text(), columns=named, unit="wt.%")


def test_a_refusal_that_names_its_file_has_no_cause_of_its_own(tmp_path: Path):
    (tmp_path / "edx.csv").write_text("sample,Co (at.%),V (at.%)\na,1\n")
    with pytest.raises(GlassmapError, match=r"^edx\.csv, line 2: 2 cells") as refused:
        read_composition_table(tmp_path / "edx.csv")
    assert refused.value.__cause__ is not refused.value
