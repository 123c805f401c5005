"""Which alloys a campaign may make, by rank, and how a composition is read and written in at.%."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import periodictable

from glassmap.agent.data.simplex_grid import Limit, SimplexGrid
from glassmap.agent.errors import CompositionError
from glassmap.agent.shapes import (
    Composition,
    Compositions,
    GridCompositions,
    GridSpectra,
    Groups,
    Mask,
    Parts,
    Ranks,
    Rows,
    Spectra,
)

SUM_TOLERANCE_AT_PCT = 0.5  # EDX and rounded tables miss 100 by less; more is a missing element or a wrong unit
ROUNDING_AT_PCT = 5e-3  # a sum that misses 100 by no more is taken for rounding, and closed without a word

SYMBOLS = frozenset(element.symbol for element in periodictable.elements if element.number > 0)
_TERM = r"(?:(\d{1,6}(?:\.\d{1,6})?)(?:\s*\*?\s*([A-Z][a-z]?))?|([A-Z][a-z]?))"  # 40 | 2 Zr | 2*Zr | Zr
_SIDE = re.compile(rf"\s*[+-]?\s*{_TERM}(?:\s*[+-]\s*{_TERM})*\s*")
_SHARE = re.compile(r"\s*([A-Z][a-z]?)\s*(-?\d+(?:\.\d+)?)\s*")


# Atomic fraction; what is closer than this is one alloy. Two other things: what reads alike to people, in at.% to one
# decimal as `label` writes it (READS_ALIKE_AT_PCT of the spectra archive), and how far a laboratory may miss a target
# (`backend.tolerance_at_pct`).
SAME_ALLOY = 1e-6


@dataclass(frozen=True)
class CompositionSpace:
    """Every alloy of `elements` on a simplex grid that keeps to the bounds and limits; `len(space)` counts them.

    Alloys are numbered by rank, 0 to `len(space) - 1`, in lexicographic order of their parts; one part is
    `step_at_pct` at.%, so a grid point is exact.

    >>> space = CompositionSpace(("Co", "V", "Zr"), limits=("Zr + Co >= 40",))
    >>> space.labels(np.array([0, len(space) - 1]))
    ['Co1V1Zr98', 'Co98V1Zr1']
    """

    elements: tuple[str, ...]
    """Chemical symbols, two or more; their order is the order of every composition's columns."""
    step_at_pct: int = 1
    """Grid step in at.%; divides 100."""
    bounds_at_pct: Mapping[str, tuple[float | int, float | int]] = field(
        default_factory=dict[str, tuple[float | int, float | int]], hash=False
    )
    """Lowest and highest share of an element in at.%, both included."""
    edges: bool = False
    """Whether an element may be absent; without it every alloy holds at least one step of every element."""
    max_elements: int | None = None
    """Most elements in one alloy; needs `edges`."""
    limits: tuple[str, ...] = ()
    """Linear limits in at.%, such as `"Zr + Cu >= 40"`, `"2 Zr - Al <= 30"` or `"Zr >= Cu"`."""
    _grid: SimplexGrid = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check every rule once and count the space.

        Raises:
            CompositionError: If a setting breaks its rule, or no alloy meets all of them.
        """
        bounds = {element: (float(low), float(high)) for element, (low, high) in self.bounds_at_pct.items()}
        object.__setattr__(self, "elements", tuple(self.elements))
        object.__setattr__(self, "bounds_at_pct", bounds)
        object.__setattr__(self, "limits", tuple(self.limits))
        self._check_settings()
        ranges = self._ranges()
        limits = [_parse_limit(limit, self.elements, self.step_at_pct) for limit in self.limits]

        def grid_under(limits: list[Limit]) -> SimplexGrid:
            most = self.max_elements or len(self.elements)
            return SimplexGrid.build(100 // self.step_at_pct, ranges, limits, max_nonzero=most)

        object.__setattr__(self, "_grid", grid_under(limits))
        if not self._grid.size:
            impossible = [text for text, limit in zip(self.limits, limits, strict=True) if not grid_under([limit]).size]
            raise CompositionError(
                f"No alloy of {'-'.join(self.elements)} in steps of {self.step_at_pct} at.% meets "
                + (f"the limit {impossible[0]!r}" if impossible else "all bounds, limits and max_elements together")
                + "; relax it, or take a smaller step_at_pct."
            )

    def _check_settings(self) -> None:
        if len(self.elements) < 2 or len(set(self.elements)) < len(self.elements):
            raise CompositionError(f"elements must be two or more different symbols, got {list(self.elements)}.")
        if unknown := [element for element in self.elements if element not in SYMBOLS]:
            raise CompositionError(f"{unknown[0]!r} is no chemical symbol; write it as in ['Co', 'V', 'Zr'].")
        if self.step_at_pct < 1 or 100 % self.step_at_pct:
            raise CompositionError(f"step_at_pct must divide 100, got {self.step_at_pct}; try 1, 2, 4, 5 or 10.")
        if strangers := [element for element in self.bounds_at_pct if element not in self.elements]:
            raise CompositionError(f"bounds_at_pct names {strangers[0]!r}, which is not among {list(self.elements)}.")
        if self.max_elements is not None and (not self.edges or self.max_elements < 1):
            raise CompositionError(
                f"max_elements must be 1 or more and needs edges = true, without which every alloy holds all "
                f"{len(self.elements)} elements; got {self.max_elements} with edges = {str(self.edges).lower()}."
            )

    def _ranges(self) -> list[tuple[int, int]]:
        """Return the lowest and highest parts of each element, checked one by one and then together."""
        step, ranges = self.step_at_pct, list[tuple[int, int]]()
        for element in self.elements:
            low, high = self.bounds_at_pct.get(element, (0.0, 100.0))
            if not 0 <= low <= high <= 100:
                raise CompositionError(
                    f"Bounds of {element} must be 0 <= low <= high <= 100 at.%, got ({low}, {high})."
                )
            lowest = max(math.ceil(Fraction(str(low)) / step), 0 if self.edges else 1)
            highest = math.floor(Fraction(str(high)) / step)
            if lowest > highest:
                raise CompositionError(
                    f"{element} is impossible: no multiple of {step} at.% lies within its {low:g} to {high:g} at.%"
                    + ("" if self.edges else ", 0 aside as edges = false")
                    + "; widen the bounds."
                )
            ranges.append((lowest, highest))
        least, most = (step * sum(ends) for ends in zip(*ranges, strict=True))
        if not least <= 100 <= most:
            named = ", ".join(f"{e} {a * step} to {b * step}" for e, (a, b) in zip(self.elements, ranges, strict=True))
            raise CompositionError(
                f"No alloy sums to 100 at.%: {named} allow {least} to {most} at.%; widen the bounds."
            )
        return ranges

    def __len__(self) -> int:
        return self._grid.size

    def parts(self, ranks: Ranks) -> Parts:
        """Return the alloys of the given ranks in integer parts of `step_at_pct`, shape `(n, e)`.

        Raises:
            CompositionError: If a rank lies outside the space.
        """
        if ranks.size and (ranks.min() < 0 or ranks.max() >= len(self)):
            raise CompositionError(f"Ranks run from 0 to {len(self) - 1}, got {ranks.min()} to {ranks.max()}.")
        return self._grid.unrank(ranks)

    def rank(self, parts: Parts) -> Ranks:
        """Return the ranks of alloys given in parts, shape `(n,)`; undoes `parts`.

        Raises:
            CompositionError: If a row lies outside the space.
        """
        ranks = self._grid.rank(parts)
        if (outside := np.flatnonzero(ranks < 0)).size:
            row = outside[0]
            shares = " ".join(f"{e}{p * self.step_at_pct}" for e, p in zip(self.elements, parts[row], strict=True))
            raise CompositionError(f"Row {row} ({shares}) lies outside the space; ask `contains` first.")
        return ranks

    def contains(self, parts: Parts) -> Mask:
        """Return which rows of parts are alloys of the space, shape `(n,)`."""
        return self._grid.rank(parts) >= 0

    def admits(self, compositions: Compositions) -> Mask:
        """Return which compositions, on the grid or off it, keep to the bounds and limits, shape `(n,)`."""
        at_pct = 100 * compositions
        low, high = np.array([self.bounds_at_pct.get(element, (0.0, 100.0)) for element in self.elements]).T
        admitted = ((at_pct >= low - ROUNDING_AT_PCT) & (at_pct <= high + ROUNDING_AT_PCT)).all(axis=1)
        for text in self.limits:
            limit = _parse_limit(text, self.elements, self.step_at_pct)
            slack = ROUNDING_AT_PCT * max(map(abs, limit.factors))
            admitted &= at_pct / self.step_at_pct @ np.array(limit.factors) <= limit.most + slack
        return admitted

    def snap(self, compositions: Compositions) -> Ranks:
        """Return the rank of the alloy nearest to each composition, shape `(n,)`."""
        targets = compositions * self._grid.total
        return np.array([self._grid.nearest(target) for target in targets], dtype=np.int64)

    def compositions(self, ranks: Ranks) -> Compositions:
        """Return the alloys of the given ranks as atomic fractions, shape `(n, e)`."""
        return self.parts(ranks) / self._grid.total

    def labels(self, ranks: Ranks) -> list[str]:
        """Return the names of the alloys of the given ranks in at.%, such as `Co20V30Zr50`."""
        rows = (self.parts(ranks) * self.step_at_pct).tolist()
        return ["".join(f"{e}{p}" for e, p in zip(self.elements, row, strict=True) if p) for row in rows]

    def sample(self, n: int, rng: np.random.Generator) -> Ranks:
        """Draw `n` ranks in order, one uniformly from each nth of the space, so that every alloy is equally likely."""
        ranks = ((np.arange(n) + rng.random(n)) * (len(self) / n)).astype(np.int64)
        return np.minimum(ranks, len(self) - 1)


def _parse_limit(text: str, elements: tuple[str, ...], step_at_pct: int) -> Limit:
    """Bring `"Zr + Cu >= 40"` to integer factors on parts.

    Raises:
        CompositionError: If the text is no linear limit, or names an element outside the space.
    """
    left, sense, right = text.partition("<=") if "<=" in text else text.partition(">=")
    if not (sense and _SIDE.fullmatch(left) and _SIDE.fullmatch(right)):
        raise CompositionError(f"Can't read the limit {text!r}; write it as in 'Zr + Cu >= 40' or '2 Zr - Al <= 30'.")
    factors, constant = dict.fromkeys(elements, Fraction(0)), Fraction(0)
    for side, sign in ((left, 1), (right, -1)):
        for minus, factor, element, bare in re.findall(rf"(-?)\s*{_TERM}", side):
            amount = Fraction(factor or 1) * sign * (-1 if minus else 1)
            if not (element or bare):
                constant -= amount
            elif (element or bare) in factors:
                factors[element or bare] += amount
            else:
                raise CompositionError(
                    f"The limit {text!r} names {element or bare}, which is not among {list(elements)}."
                )
    if not any(factors.values()):
        raise CompositionError(f"The limit {text!r} binds no element; write it as in 'Zr + Cu >= 40'.")
    scale = math.lcm(*(f.denominator for f in factors.values())) * (1 if sense == "<=" else -1)
    return Limit(tuple(int(f * scale) * step_at_pct for f in factors.values()), math.floor(constant * scale))


def elements_of(text: str) -> tuple[str, ...]:
    """Return the elements that `"Zr50Cu40Al10"` (an alloy) or `"Zr-Cu-Al"` (a system) names, in its order.

    Raises:
        CompositionError: If a symbol is unknown or named twice, or anything else stands there.
    """
    readable = re.fullmatch(r"\s*[A-Z][a-z]?\d*\.?\d*([\s-]*[A-Z][a-z]?\d*\.?\d*)*\s*", text)
    symbols = tuple(re.findall(r"[A-Z][a-z]?" if readable else r"[A-Za-z]+", text))
    unknown = [symbol for symbol in symbols if symbol not in SYMBOLS]
    if unknown or not readable or len(set(symbols)) < len(symbols):
        raise CompositionError(
            f"{text!r} must name chemical elements, each once, got {unknown[0] if unknown else text!r}; write "
            "Zr50Cu40Al10 for an alloy in at.%, Zr-Cu-Al for a system."
        )
    return symbols


def parse_composition(text: str, elements: Sequence[str]) -> Composition:
    """Read a composition in at.% such as `"Co30V40Zr30"`.

    Args:
        text: Symbols, each followed by its share in at.%; elements left out hold 0.
        elements: Symbols, in the order of the result.

    Returns:
        Atomic fractions, shape `(e,)`, closed to a sum of 1.

    Raises:
        CompositionError: If the text can't be read, repeats or names an unknown element, holds a negative share,
            or misses 100 at.% by more than 0.5.
    """
    shares = _SHARE.findall(text)
    if not shares or "".join(_SHARE.split(text)[::3]):
        raise CompositionError(f"Can't read the composition {text!r}; write at.% as in 'Co30V40Zr30'.")
    symbols = [symbol for symbol, _ in shares]
    for symbol in symbols:
        if symbol not in elements:
            raise CompositionError(
                f"The composition {text!r} names {symbol} which is not among {', '.join(elements)}; "
                "name an alloy of these."
            )
        if symbols.count(symbol) > 1:
            raise CompositionError(f"The composition {text!r} names {symbol} more than once; name each element once.")
    table = np.zeros((1, len(elements)))
    for symbol, share in shares:
        table[0, elements.index(symbol)] = float(share)
    return close_compositions(table, elements=elements, names=[text])[0][0]


def close_compositions(
    table_at_pct: Compositions, *, elements: Sequence[str], names: Sequence[str]
) -> tuple[Compositions, list[str]]:
    """Turn a table in at.% into atomic fractions whose rows sum to 1.

    Args:
        table_at_pct: Shares in at.%, shape `(n, e)`.
        elements: Symbols of the columns.
        names: What to call each row in a message, such as a file or sample name.

    Returns:
        Atomic fractions, shape `(n, e)`, and notes for the user on the rows whose sum was not 100.

    Raises:
        CompositionError: If a share is missing or negative, a row misses 100 at.% by more than 0.5, or the table
            holds atomic fractions.
    """
    sums = table_at_pct.sum(axis=1)
    for wrong, what in ((~np.isfinite(table_at_pct), "no number"), (table_at_pct < 0, "negative")):
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise CompositionError(
                f"{names[row]}: the share of {elements[column]} is {what} ({table_at_pct[row, column]:g}); "
                "correct it, or write 0 for an absent element."
            )
    off = np.flatnonzero(np.abs(sums - 100) > SUM_TOLERANCE_AT_PCT)
    if off.size:
        row = off[0]
        remedy = (
            "it looks like atomic fractions; write at.%, that is, multiply by 100"
            if abs(sums[row] - 1) <= SUM_TOLERANCE_AT_PCT / 100
            else "look for a missing element, or for wt.% instead of at.%"
        )
        others = f" (and {off.size - 1} more)" if off.size > 1 else ""
        raise CompositionError(
            f"{names[row]}{others}: shares must sum to 100 ± {SUM_TOLERANCE_AT_PCT} at.%, got {sums[row]:g}; {remedy}."
        )
    closed = np.flatnonzero(np.abs(sums - 100) > ROUNDING_AT_PCT)
    notes = list[str]()
    if closed.size:
        some = ", ".join([names[int(row)] for row in closed[:5]] + ["…"] * (closed.size > 5))
        notes.append(
            f"{closed.size} of {len(sums)} compositions summed to "
            f"{sums[closed].min():.2f}-{sums[closed].max():.2f} at.% and were closed to 100: {some}."
        )
    return table_at_pct / sums[:, None], notes


def check_fractions(compositions: Compositions, n_elements: int, name: str) -> None:
    """Refuse a table that does not hold atomic fractions of `n_elements` elements.

    Raises:
        CompositionError: If it has another number of columns, or a row doesn't sum to 1.
    """
    if compositions.shape[1] != n_elements:
        raise CompositionError(f"{name} needs {n_elements} columns, one per element, got {compositions.shape[1]}.")
    sums = compositions.sum(axis=1)
    if (wrong := np.flatnonzero(~(np.abs(sums - 1) < 5e-3))).size:
        raise CompositionError(
            f"Rows of {name} must be atomic fractions that sum to 1, got {sums[wrong[0]]:g} in row {wrong[0]}; "
            "divide at.% by 100."
        )


def label(composition: Composition, elements: Sequence[str]) -> str:
    """Name a measured composition in at.% to one decimal, such as `Co30.2V39.9Zr29.9`; absent elements are left out."""
    shares = [f"{share:.1f}".removesuffix(".0") for share in composition * 100]
    return "".join(f"{e}{share}" for e, share in zip(elements, shares, strict=True) if float(share))


def distinct_alloys(compositions: Compositions) -> tuple[GridCompositions, Rows, Groups]:
    """Return the distinct alloys in lexicographic order, the first row of each, and which of them each row is."""
    digits = round(-math.log10(SAME_ALLOY))
    alloys, first, group = np.unique(compositions.round(digits), axis=0, return_index=True, return_inverse=True)
    return alloys, first, group.reshape(-1)  # NumPy 2.0 kept a second dimension


def average_replicates(compositions: Compositions, spectra: Spectra) -> tuple[GridCompositions, GridSpectra, Groups]:
    """Return the distinct alloys, the mean spectrum of each, and which of them each sample is of."""
    alloys, _, group = distinct_alloys(compositions)
    means = np.zeros((len(alloys), spectra.shape[1]))
    np.add.at(means, group, spectra)
    return alloys, means / np.bincount(group)[:, None], group
