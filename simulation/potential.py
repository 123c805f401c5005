"""Embedded-atom potentials: files as people have them, checked before a run, and generated Zhou tables.

A generated table knows the pure metals: X. W. Zhou, R. A. Johnson, H. N. G. Wadley, Phys. Rev. B 69, 144113 (2004).
What happens between two of them is a mixing rule's guess, and the potential is called synthetic wherever it is named.
"""

import csv
import hashlib
import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import periodictable

from glassmap.agent.errors import SimulationError
from glassmap.agent.shapes import Table

Style = Literal["eam/alloy", "eam/fs"]
GENERATED = ("zhou", "zhou-fitted")
SYNTHETIC = "mixing rule, synthetic"  # stands in the file, the store and every picture
MASS_TOLERANCE = 0.05  # relative; a file in other units misses by far more, isotopes by less
HIGH = 1.15  # rho_0 / rho_e
POINTS = 2000  # of a generated table, for density and distance


class ZhouMetal(NamedTuple):
    """The parameters of one metal, in the paper's names; energies in eV, lengths in Å."""

    re: float
    fe: float
    rhoe: float
    rhos: float
    alpha: float
    beta: float
    A: float
    B: float
    kappa: float
    lam: float
    Fn0: float
    Fn1: float
    Fn2: float
    Fn3: float
    F0: float
    F1: float
    F2: float
    F3: float
    eta: float
    Fe: float
    low: float  # rho_n / rho_e: 0.85, but 0.25 for Pt in the authors' own program


def _read_metals() -> dict[str, ZhouMetal]:
    """Read Table III of the paper."""
    rows = csv.reader(files("glassmap.simulation").joinpath("zhou_metals.csv").read_text().splitlines())
    next(rows)
    return {element: ZhouMetal(*map(float, values)) for element, *values in rows}


ZHOU_METALS = _read_metals()


@dataclass(frozen=True)
class Potential:
    """An embedded-atom potential in the format of DYNAMO's setfl files, as LAMMPS reads it."""

    name: str
    """What records, tables and pictures call it."""
    text: str
    """The file."""
    style: Style
    """LAMMPS pair style: one density function an element, or one for each pair (Finnis-Sinclair)."""
    elements: tuple[str, ...]
    """Symbols, in the file's order."""
    cutoff: float
    """Å."""
    is_synthetic: bool = False
    """Whether cross terms come from a mixing rule."""
    notes: tuple[str, ...] = ()
    """What of the file LAMMPS leaves aside."""

    @cached_property  # every simulation's key asks for it
    def digest(self) -> str:
        """Eight hexadecimal digits that change with the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]

    @property
    def header(self) -> str:
        """What the file's first line says of it."""
        return self.text.partition("\n")[0].strip("# \r")

    def check_elements(self, elements: tuple[str, ...]) -> None:
        """Refuse a system that the potential does not know.

        Raises:
            SimulationError: If an element is missing; says which ones there are.
        """
        if missing := [element for element in elements if element not in self.elements]:
            raise SimulationError(
                f"The potential {self.name} must know every element of the system, got none for "
                f"{', '.join(missing)}; it holds {', '.join(self.elements)}. Choose another potential file"
                + (
                    f", or {GENERATED[0]!r}, which knows {', '.join(ZHOU_METALS)}."
                    if set(elements) <= set(ZHOU_METALS)
                    else "."
                )
            )


def load_potential(source: str, elements: tuple[str, ...]) -> Potential:
    """Load the potential that a user names, and hold it against the system.

    Args:
        source: Path of an `eam/alloy` or `eam/fs` file, or `zhou` (mixing rule) or `zhou-fitted` (fitted cross terms,
            Zr-Cu-Al only) to generate one.
        elements: Symbols of the system.

    Raises:
        SimulationError: If the file can't be taken or lacks an element.
    """
    if source in GENERATED:
        return zhou_potential(elements, fitted=source == "zhou-fitted")
    potential = read_potential(Path(source))
    potential.check_elements(elements)
    return potential


def read_potential(path: Path) -> Potential:
    """Read and check an `eam/alloy` or `eam/fs` file, as LAMMPS takes it; which of the two it is shows in its tables.

    Raises:
        SimulationError: If the file is missing, cut off, holds NaN or anything but numbers, is in other than `metal`
            units, or a mass is not the element's.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SimulationError(
            f"The potential {path} can't be read ({error}). Give the path of an eam/alloy or eam/fs file, or one of "
            f"{', '.join(GENERATED)}."
        ) from error
    if b"\0" in content:
        raise SimulationError(
            f"The potential {path} can't be read, as it is no text. Give the path of an eam/alloy or eam/fs file."
        )
    try:
        text = content.decode()
    except UnicodeDecodeError:  # an author's name
        text = content.decode("latin-1")
        found = parse_potential(text, name=path.name)
        return replace(found, notes=("It isn't UTF-8 and was read as Latin-1.", *found.notes))
    return parse_potential(text, name=path.name)


def parse_potential(text: str, *, name: str) -> Potential:
    """Read and check a file's text, as `read_potential` does."""
    lines = text.split("\n")  # no other character ends a line for LAMMPS, such as the … of Windows
    rule = f"{name} must be an eam/alloy or eam/fs file (three lines of comment, elements, grid, tables)"
    units = re.search(r"UNITS:\s*(\S+)", " ".join(lines[:1]))  # where LAMMPS looks for it
    if units and units[1] != "metal":
        raise SimulationError(
            f"{name} must be in metal units (eV, Å), its header says {units[1]!r}. Convert the file; LAMMPS would do "
            "so silently."
        )
    try:
        count, *elements = _words(lines[3])
        n_rho, d_rho, n_r, d_r, cutoff = _words(lines[4])[:5]
        n_rho, n_r, d_rho, d_r, cutoff = int(n_rho), int(n_r), float(d_rho), float(d_r), float(cutoff)
        if int(count) != len(elements) or not elements or min(n_rho, n_r) < 5:
            raise ValueError(f"{count} elements are announced, {len(elements)} named; {n_rho} and {n_r} points")
    except (IndexError, ValueError) as error:
        raise SimulationError(f"{rule}, its header can't be read: {error}. Is it another kind of file?") from error
    if not (d_rho > 0 and d_r > 0 and cutoff > 0):
        raise SimulationError(
            f"{rule}, got steps of {d_rho:g} and {d_r:g} Å and a cutoff of {cutoff:g} Å; correct them."
        )
    if cutoff > n_r * d_r * (1 + 1e-6):
        raise SimulationError(
            f"{name}: its cutoff, {cutoff:g} Å, lies beyond its tables, {n_r} points {d_r:g} Å apart, which end at "
            f"{(n_r - 1) * d_r:g} Å. LAMMPS would go on with what stands in the last point; write a cutoff of "
            f"{(n_r - 1) * d_r:g} Å into line 5, or fetch a table that reaches as far."
        )
    found = _split_tables(lines[5:], n_elements=len(elements), n_rho=n_rho, n_r=n_r)
    if found is None:
        raise SimulationError(
            f"{rule}, and its tables must hold, for each of {len(elements)} elements, {n_rho} values of the energy and "
            f"{n_r} of the density (eam/fs: for each pair), then {n_r} for each pair; they do not. The file is cut off "
            "or damaged; fetch it again."
        )
    style, heads, numbers, notes = found
    if comments := [line.partition("#")[2].strip() for line in lines[3:5] if "#" in line]:
        notes = (f"Comments in its header are left aside, as LAMMPS does: {', '.join(comments)[:100]}.", *notes)
    for element, head in zip(elements, heads, strict=True):
        _check_mass(name, element, head)
    try:
        table = np.array(numbers, dtype=np.float64)
    except ValueError as error:
        raise SimulationError(f"{rule}, and its tables hold what is no number: {error}. Fetch it again.") from error
    if not np.isfinite(table).all():
        raise SimulationError(
            f"{name}: {int((~np.isfinite(table)).sum())} of {table.size} table entries are NaN or infinite. LAMMPS "
            "would run with them and find nothing but NaN; fetch the file again."
        )
    return Potential(name, text, style, tuple(elements), cutoff, is_synthetic=SYNTHETIC in lines[0], notes=notes)


def _words(line: str) -> list[str]:
    """Return the words of a line before a comment."""
    return line.partition("#")[0].split()


def _split_tables(
    lines: list[str], *, n_elements: int, n_rho: int, n_r: int
) -> tuple[Style, list[list[str]], list[str], tuple[str, ...]] | None:
    """Return style, words of each element's head line, numbers, and what is left aside; None where some are missing.

    As LAMMPS reads: a table begins on a line of its own, and what stands behind its last value is left aside, as is
    what stands behind the last table (`TextFileReader::next_dvector` of LAMMPS 22 Jul 2025). Where tables are not all
    too long by as much, a value may stand where none belongs, and the file is damaged.
    """
    rows = [words for line in lines if (words := _words(line))]
    blocks: dict[Style, int] = {"eam/alloy": 1, "eam/fs": n_elements}  # tables of the density of each element
    found: tuple[Style, list[list[str]], list[str], tuple[int, int]] | None = None
    for style, block in blocks.items():
        heads, numbers, aside = _read_tables(rows, n_elements, [n_rho] + [n_r] * block, n_r)
        if aside is not None and (found is None or aside < found[3]):
            found = style, heads, numbers, aside
    if found is None:
        return None
    style, heads, numbers, (surplus, behind) = found
    notes = [
        f"Each table has {surplus} more values than it says; the last are left aside, as LAMMPS does."
        if surplus
        else "",
        f"{behind} lines behind the last table are left aside, as LAMMPS does." if behind else "",
    ]
    return style, heads, numbers, tuple(note for note in notes if note)


def _read_tables(
    rows: list[list[str]], n_elements: int, sizes: list[int], n_r: int
) -> tuple[list[list[str]], list[str], tuple[int, int] | None]:
    """Return heads, numbers, and how many values of each table and lines behind all are left aside.

    None where rows end too early, or some tables have more values to leave aside than others.

    Args:
        rows: Words of the lines behind the header.
        n_elements: How many elements there are.
        sizes: Of each table of an element.
        n_r: Size of each table of a pair.
    """
    heads, numbers, surplus, at = list[list[str]](), list[str](), set[int](), 0
    tables = [size for _ in range(n_elements) for size in (0, *sizes)] + [n_r] * (n_elements * (n_elements + 1) // 2)
    for size in tables:
        if size == 0:
            heads += rows[at : at + 1]
            at += 1
            continue
        found = held = 0
        while found < size and at < len(rows):
            taken = rows[at][: size - found]
            numbers += taken
            found += len(taken)
            held += len(rows[at])
            at += 1
        if found < size or len(surplus | {held - size}) > 1:
            return heads, numbers, None
        surplus.add(held - size)
    return heads, numbers, (surplus.pop(), len(rows) - at)


def _check_mass(name: str, element: str, head: list[str]) -> None:
    """Hold a mass against its element; it tells whether units and order are right."""
    try:
        known = float(getattr(periodictable, element).mass)
        mass = float(head[1])
    except (AttributeError, ValueError, IndexError) as error:
        raise SimulationError(f"{name}: the header of element {element!r} can't be read: {head}. ({error})") from error
    if not math.isclose(mass, known, rel_tol=MASS_TOLERANCE):
        raise SimulationError(
            f"{name}: the mass of {element} must be {known:g} g/mol, got {mass:g}. Are its units metal, and its "
            "elements in the order of the header?"
        )


# --- generated tables

# Between unlike atoms the mixing rule's phi(r) becomes s phi(t r). Fitted to the energy of formation and the lattice
# constant of ordered compounds (B2, and L1_2 both ways) as the published potential gives them: Y. Q. Cheng, E. Ma,
# H. W. Sheng, Phys. Rev. Lett. 102, 245501 (2009); tests/test_potential.py minimises them again. The form is that of
# L. Ward, A. Agrawal, K. M. Flores, W. Windl, arXiv:1209.0619 (2012).
FITTED_CROSS_TERMS = {
    frozenset(("Zr", "Cu")): (0.616, 0.959),
    frozenset(("Zr", "Al")): (1.545, 1.076),
    frozenset(("Cu", "Al")): (1.142, 1.068),
}


def zhou_potential(elements: tuple[str, ...], *, fitted: bool = False) -> Potential:
    """Tabulate the Zhou-Johnson-Wadley potential of up to 16 metals, unlike pairs by the mixing rule.

    Args:
        elements: Symbols, of `ZHOU_METALS`.
        fitted: Scale the unlike pairs of Zr-Cu-Al by `FITTED_CROSS_TERMS`; other pairs are then refused.

    Raises:
        SimulationError: If there are no parameters for an element, or no fitted cross terms for a pair.

    Source: X. W. Zhou, R. A. Johnson, H. N. G. Wadley, Phys. Rev. B 69, 144113 (2004), Eqs. 1 to 8 and Table III.
    """
    if unknown := [element for element in elements if element not in ZHOU_METALS]:
        raise SimulationError(
            f"A Zhou potential can be generated for {', '.join(ZHOU_METALS)}, got {', '.join(unknown)}. "
            "Give a potential file instead."
        )
    metals = [ZHOU_METALS[element] for element in elements]
    cutoff = math.sqrt(5) * max(metal.re for metal in metals)
    r = np.linspace(0, cutoff, POINTS)
    highest = max(100.0, 2 * max(m.rhoe for m in metals), *(_density(m, r)[0] for m in metals))
    rho = np.linspace(0, math.ceil(highest), POINTS)  # whole, so that the file doesn't hang on a last bit
    tables = []
    for element, metal in zip(elements, metals, strict=True):
        atom = getattr(periodictable, element)
        tables.append(f"{atom.number} {atom.mass:.6g} {metal.re * math.sqrt(2):.6g} fcc")
        tables += [_rows(_embedding(metal, rho)), _rows(_density(metal, r))]
    for i, first in enumerate(metals):
        for j, second in enumerate(metals[: i + 1]):
            s, t = (1.0, 1.0) if i == j or not fitted else _cross_term(elements[i], elements[j])
            tables.append(_rows(r * s * _mixed_pair(first, second, t * r)))
    kind = "zhou-fitted" if fitted else "zhou"
    how = (
        "unlike pairs fitted to compounds of PRL 102, 245501 (2009)" if fitted else "unlike pairs not fitted to alloys"
    )
    head = [
        f"{kind}: {SYNTHETIC}; UNITS: metal",
        "X. W. Zhou, R. A. Johnson, H. N. G. Wadley, Phys. Rev. B 69, 144113 (2004)",
        f"generated by glassmap; {how}",
        f"{len(elements)} {' '.join(elements)}",
        f"{POINTS} {rho[1]:.16e} {POINTS} {r[1]:.16e} {cutoff:.16e}",
    ]
    text = "\n".join(head + tables) + "\n"
    return Potential(f"{kind} ({SYNTHETIC})", text, "eam/alloy", tuple(elements), cutoff, is_synthetic=True)


def _cross_term(first: str, second: str) -> tuple[float, float]:
    try:
        return FITTED_CROSS_TERMS[frozenset((first, second))]
    except KeyError as error:
        known = ", ".join(sorted("-".join(sorted(pair)) for pair in FITTED_CROSS_TERMS))
        raise SimulationError(
            f"Fitted cross terms are there for {known}, got {first}-{second}. Use 'zhou' or a potential file."
        ) from error


def _rows(values: Table) -> str:
    return "\n".join(" ".join(f"{value:.10e}" for value in row) for row in np.split(values, range(5, len(values), 5)))


def _decay(r: Table, metal: ZhouMetal, *, slope: float, height: float, cut: float) -> Table:
    """Return height · exp(-slope (r / re - 1)) / (1 + (r / re - cut)^20)."""
    x = r / metal.re
    return height * np.exp(-slope * (x - 1)) / (1 + (x - cut) ** 20)


def _density(metal: ZhouMetal, r: Table) -> Table:
    """Return electron density at distance r, Eq. 3; level below 0.5 Å, where no atom comes."""
    return _decay(np.maximum(r, 0.5), metal, slope=metal.beta, height=metal.fe, cut=metal.lam)


def _pair(metal: ZhouMetal, r: Table) -> Table:
    """Return pair energy of like atoms, Eq. 2."""
    repulsion = _decay(r, metal, slope=metal.alpha, height=metal.A, cut=metal.kappa)
    return repulsion - _decay(r, metal, slope=metal.beta, height=metal.B, cut=metal.lam)


def _mixed_pair(first: ZhouMetal, second: ZhouMetal, r: Table) -> Table:
    """Return pair energy by the mixing rule, Eq. 4; of a metal with itself that is its own."""
    r = np.maximum(r, 0.5)
    f_first, f_second = _density(first, r), _density(second, r)
    return (f_second / f_first * _pair(first, r) + f_first / f_second * _pair(second, r)) / 2


def _embedding(metal: ZhouMetal, rho: Table) -> Table:
    """Return embedding energy, Eqs. 5 to 7."""
    below, near = rho / (metal.low * metal.rhoe) - 1, rho / metal.rhoe - 1
    x = np.maximum(rho, 1e-12) / metal.rhos
    sparse = metal.Fn0 + below * (metal.Fn1 + below * (metal.Fn2 + below * metal.Fn3))
    usual = metal.F0 + near * (metal.F1 + near * (metal.F2 + near * metal.F3))
    dense = metal.Fe * (1 - metal.eta * np.log(x)) * x**metal.eta
    energy = np.where(below < 0, sparse, np.where(near < HIGH - 1, usual, dense))
    return np.where(rho == 0, 0.0, energy)
