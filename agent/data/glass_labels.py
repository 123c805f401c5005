"""Tables that say of alloys or samples whether they are a glass, as the literature, a DSC or a person's eye has it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glassmap.agent.data.composition import SAME_ALLOY, elements_of, label, parse_composition
from glassmap.agent.data.composition_table import NAME_COLUMNS, read_cells, read_shares
from glassmap.agent.errors import DatasetError
from glassmap.agent.shapes import Composition, Compositions, Mask

GLASS_COLUMN, ALLOY_COLUMN = "glass", "alloy"
YES, NO = ("true", "yes", "1", "1.0"), ("false", "no", "0", "0.0")


class GlassLabels(NamedTuple):
    """What a table says of `n` alloys of a system."""

    samples: tuple[str, ...]  # names; empty where a row has none
    compositions: Compositions  # atomic fraction; NaN where a row says none
    is_glass: Mask
    others: int  # rows left out: of other elements, or of nothing that is named


def read_labels(path: Path, elements: tuple[str, ...]) -> GlassLabels:
    """Read a table with a header, a column `glass` of true and false, and what is meant: samples, alloys or shares.

    Samples are named by a column `file`, `sample` or `id`, alloys by a column `alloy` such as `Co30V40Zr30`, or by a
    column for each element such as `Co (at.%)`. A row without a label is left out, and so is one of other elements.

    Args:
        path: CSV in UTF-8, or the first sheet of an Excel file.
        elements: Of the campaign.

    Raises:
        DatasetError: If the table can't be read, a column is missing, a label is neither true nor false, or one sample
            or alloy is said to be both.
        CompositionError: If an alloy can't be read.
    """
    table = read_cells(path)
    names = {name.strip().lower(): name for name in table}
    if GLASS_COLUMN not in names:
        raise DatasetError(
            f"{path.name}: a table of labels has a column `glass` of true and false; got the columns {list(table)}."
        )
    said = [_label(cell, row, path) for row, cell in enumerate(table[names[GLASS_COLUMN]], start=1)]
    named = next((names[name] for name in NAME_COLUMNS if name in names), None)
    samples = [""] * len(said) if named is None else [cell.strip() for cell in table[named]]
    own, unknown = {names[GLASS_COLUMN], named}, np.full(len(elements), np.nan)
    if ALLOY_COLUMN in names:
        cells = zip(table[names[ALLOY_COLUMN]], samples, strict=True)
        found = [_alloy(cell, elements) if cell.strip() else unknown if sample else None for cell, sample in cells]
    else:
        found = _shares_of(table, [name for name in table if name not in own], samples, elements)
    if found is None and named is None:
        raise DatasetError(
            f"{path.name}: a table of labels says what it speaks of, by a column `sample`, one called `alloy` or one "
            f"for each element such as {elements[0]} (at.%); got the columns {list(table)}."
        )
    compositions = [unknown if sample else None for sample in samples] if found is None else found
    labelled = [row for row, is_glass in enumerate(said) if is_glass is not None]
    rows = [row for row in labelled if compositions[row] is not None]
    labels = GlassLabels(
        tuple(samples[row] for row in rows),
        np.array([compositions[row] for row in rows], dtype=np.float64).reshape(-1, len(elements)),
        np.array([said[row] for row in rows], dtype=bool),
        len(labelled) - len(rows),
    )
    _refuse_contradictions(labels, elements, path)
    return labels


def _label(cell: str, row: int, path: Path) -> bool | None:
    """Return what a cell says; None where it is empty."""
    word = cell.strip().lower()
    if word and word not in (*YES, *NO):
        raise DatasetError(
            f"{path.name}, row {row}: a label is true or false, or empty where nobody knows; got {cell!r}. Correct it."
        )
    return None if not word else word in YES


def _alloy(cell: str, elements: tuple[str, ...]) -> Composition | None:
    """Return the composition that a cell names; None where it has other elements."""
    symbols = elements_of(cell)
    found = parse_composition(cell.strip(), symbols)
    return _among(dict(zip(symbols, found.tolist(), strict=True)), elements)


def _shares_of(
    table: dict[str, list[str]], columns: list[str], samples: list[str], elements: tuple[str, ...]
) -> list[Composition | None] | None:
    """Return the compositions of a table's rows by its columns of shares; None where it has no such column."""
    try:
        symbols, fractions = read_shares(table, columns, samples)
    except DatasetError:
        if any(name.split(" ")[0] in elements for name in columns):
            raise  # meant as shares
        return None
    return [_among(dict(zip(symbols, row, strict=True)), elements) for row in fractions.tolist()]


def _among(shares: Mapping[str, float], elements: tuple[str, ...]) -> Composition | None:
    """Return a composition in the order of the campaign's elements; None where it has others."""
    if any(share > 0 for symbol, share in shares.items() if symbol not in elements):
        return None
    return np.array([shares.get(element, 0.0) for element in elements])


def _refuse_contradictions(labels: GlassLabels, elements: tuple[str, ...], path: Path) -> None:
    """Refuse a table that says of one sample, or of one alloy that names none, both that it is a glass and is none."""
    digits = round(-math.log10(SAME_ALLOY))
    said: dict[str, bool] = {}
    for sample, alloy, is_glass in zip(labels.samples, labels.compositions, labels.is_glass.tolist(), strict=True):
        if said.setdefault(sample or str(alloy.round(digits)), is_glass) != is_glass:
            raise DatasetError(
                f"{path.name}: {sample or label(alloy, elements)} is said both to be a glass and to be none. Name the "
                "samples, or take one of the rows out."
            )
