"""Whether samples of one alloy differ by more than their noise, and which column of the data explains it.

Where they do, composition alone doesn't say what a film is like: a set holds several materials, and a model of
composition learns their mean. Pairs of samples of nearly one composition tell: those that share a wafer, a rate or
whatever else is recorded are held against those that don't.

Letters: n samples, q points, p pairs.
"""

import math
from collections.abc import Mapping
from itertools import permutations
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.spatial import KDTree  # pyright: ignore[reportMissingTypeStubs]

from glassmap.agent.data.context import WAFER
from glassmap.agent.data.dataset import AXIS_UNITS, SpectraSet
from glassmap.agent.shapes import Compositions, Spectra

ONE_ALLOY_AT_PCT = 1.0  # distance of composition vectors up to which samples are of one alloy, as EDX tells them apart
MOST_SAMPLES = 3000  # that are looked at, drawn evenly; of more, pairs would fill the memory
FEWEST_PAIRS = 20  # that share a value, and that don't, for a column to be judged by
EXPLAINS = 0.25  # share of the difference that a column must explain to be named
PERMUTED = 100  # times that a column is permuted for each that is judged: p < 0.01 over all of them (Bonferroni)
GOES_WITH = 0.95  # share of the samples whose value of one column follows from that of another


class Explained(NamedTuple):
    """What a column explains of how far samples of one alloy differ, as half the mean squared difference of a pair."""

    column: str
    alike: float  # of pairs that share its value
    unlike: float  # of pairs that don't
    share: float  # of the difference of all pairs, that is gone where its value is shared


class Confounded(NamedTuple):
    """A column whose value says that of another, so that only samples which differ in the first tell of the second."""

    column: str
    other: str
    alike: (
        float  # half the mean squared difference of pairs that differ in the first and share the second; NaN: too few
    )
    unlike: float  # of pairs that differ in both


class Mixture(NamedTuple):
    """Samples of one alloy that differ by more than their noise."""

    pairs: int
    difference: float  # half the mean squared difference of a pair: an MSE that no model of composition can be below
    explained: tuple[Explained, ...]  # by the columns that explain something, the most first; never empty
    confounded: tuple[Confounded, ...]
    coarsest: str  # of those that explain something, the one with the fewest values

    def say(self) -> str:
        """Return it in sentences, with what to do about it."""
        first, *others = self.explained
        words = [
            f"Samples of one alloy (within {ONE_ALLOY_AT_PCT:g} at.%) differ by more than their noise: by an MSE of "
            f"{self.difference:.3g} ({self.pairs:,} pairs), but of {first.alike:.3g} where they share "
            f"`{first.column}`, which explains {100 * first.share:.0f} % of it."
        ]
        words += [
            f"`{one.column}` explains {100 * one.share:.0f} %: {one.alike:.3g} where it is shared, {one.unlike:.3g} "
            "where it isn't."
            for one in others
        ]
        for one in self.confounded:
            words.append(f"They are confounded: each `{one.column}` has one `{one.other}`.")
            if not math.isnan(one.alike + one.unlike):
                words.append(
                    f"Two of `{one.column}` with one `{one.other}` differ by {one.alike:.3g}, with two by "
                    f"{one.unlike:.3g}."
                )
        words.append("A model of composition alone learns the mean of them.")
        if self.coarsest == WAFER:
            words.append(
                "No other column explains it: record what changed from wafer to wafer (rate, power, pressure), and "
                "name it under `[space] context`; until then `--hold-out wafer` tells what a new wafer costs."
            )
        else:
            words.append(
                f'Name it under `[space] context`, as in `context = {{{self.coarsest} = "…"}}` (`--context '
                f"{self.coarsest}=…`), if it can be set for a new film."
            )
        return " ".join(words)


def mixture_of(spectra: SpectraSet, *, known: Mapping[str, np.ndarray] | None = None) -> Mixture | None:
    """Return what `find_mixture` finds in a data set that is prepared.

    Columns in the unit of the axis are left aside: they were read off the spectra, and are no cause of them.

    Args:
        spectra: The data set.
        known: What models are told already.
    """
    units = AXIS_UNITS[spectra.axis_name]
    columns = {
        name: values
        for name, values in spectra.coordinates.items()
        if values.ndim == 1 and spectra.units.get(name, "").casefold() not in units
    }
    return find_mixture(spectra.compositions, spectra.intensities, columns, known=known)


def find_mixture(
    compositions: Compositions,
    spectra: Spectra,
    columns: Mapping[str, np.ndarray],
    *,
    known: Mapping[str, np.ndarray] | None = None,
) -> Mixture | None:
    """Return how samples of one alloy differ and what explains it; None where nothing that is recorded does.

    A column that is as good as different for every sample, as a measured figure is, is left aside: it explains nothing
    that could be set. So is one of which permuted values explain as much in any of a hundred draws a column. Samples of
    which a column says nothing don't count there.

    Args:
        compositions: Atomic fractions `(n, e)`.
        spectra: Prepared, `(n, q)`.
        columns: What is recorded of the samples, one value each; empty text and NaN say nothing.
        known: What models are told already (the context): only pairs that share all of it are looked at.
    """
    known = known or {}
    if len(compositions) > MOST_SAMPLES:
        rows = np.linspace(0, len(compositions) - 1, MOST_SAMPLES).astype(np.intp)
        compositions, spectra = compositions[rows], spectra[rows]
        columns, known = ({name: v[rows] for name, v in part.items()} for part in (columns, known))
    near = cast(Any, KDTree(compositions)).query_pairs(ONE_ALLOY_AT_PCT / 100, output_type="ndarray")
    pairs = cast(np.ndarray, near)
    for values in known.values():
        pairs = pairs[values[pairs[:, 0]] == values[pairs[:, 1]]]
    if len(pairs) < 2 * FEWEST_PAIRS:
        return None
    differences = _half_squared_differences(spectra, pairs)
    difference = float(differences.mean())
    judged: list[tuple[Explained, np.ndarray, Bool[np.ndarray, " p"]]] = []
    for name, values in columns.items():
        say = ~((values == "") | (values != values))
        told = say[pairs].all(1)
        alike: Bool[np.ndarray, " p"] = values[pairs[:, 0]] == values[pairs[:, 1]]
        if name in known or min((alike & told).sum(), (~alike & told).sum()) < FEWEST_PAIRS:
            continue
        within, across = (float(differences[which & told].mean()) for which in (alike, ~alike))
        of_all = float(differences[told].mean())
        judged.append((Explained(name, within, across, 1 - within / of_all if of_all else 0.0), say, told))
    draws = np.random.default_rng(0)
    found = [
        one
        for one, say, told in judged
        if one.share >= EXPLAINS
        and not _explains_by_chance(
            columns[one.column], say, pairs[told], differences[told], one.alike, PERMUTED * len(judged), draws
        )
    ]
    if not found:
        return None
    found.sort(key=lambda one: -one.share)
    names = [one.column for one in found]
    confounded: list[Confounded] = []
    for column, other in permutations(names, 2):
        if _follows(columns[column], columns[other]):
            apart = columns[column][pairs[:, 0]] != columns[column][pairs[:, 1]]
            alike = columns[other][pairs[:, 0]] == columns[other][pairs[:, 1]]
            parts = (differences[apart & alike], differences[apart & ~alike])
            means = (float(part.mean()) if len(part) >= FEWEST_PAIRS else math.nan for part in parts)
            confounded.append(Confounded(column, other, *means))
    coarsest = min(names, key=lambda name: len(np.unique(columns[name])))
    return Mixture(len(pairs), difference, tuple(found), tuple(confounded), coarsest)


def _explains_by_chance(
    column: np.ndarray,
    say: Bool[np.ndarray, " n"],
    pairs: Integer[np.ndarray, "p 2"],
    differences: Float[np.ndarray, " p"],
    within: float,
    times: int,
    draws: np.random.Generator,
) -> bool:
    """Return whether pairs that share a value differ as little when the samples' values are permuted, in any draw."""
    values = np.full(len(column), -1)
    values[say] = np.unique(column[say], return_inverse=True)[1]
    for _ in range(times):
        values[say] = draws.permutation(values[say])
        alike = values[pairs[:, 0]] == values[pairs[:, 1]]
        if alike.any() and differences[alike].mean() <= within:
            return True
    return False


def _half_squared_differences(spectra: Spectra, pairs: Integer[np.ndarray, "p 2"]) -> Float[np.ndarray, " p"]:
    parts = np.array_split(pairs, max(1, len(pairs) // 2000))  # so that memory stays small
    return np.concatenate([np.square(spectra[part[:, 0]] - spectra[part[:, 1]]).mean(1) / 2 for part in parts])


def _follows(column: np.ndarray, other: np.ndarray) -> bool:
    """Return whether a sample's value of one column says that of another, nearly always."""
    right = 0
    for value in np.unique(column):
        counts = np.unique(other[column == value], return_counts=True)[1]
        right += int(counts.max())
    return right >= GOES_WITH * len(column)
