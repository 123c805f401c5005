"""How well the first peak is read off made-up spectra whose peak is known: one difficulty at a time, then all at once.

A spectrum is a halo, or the lines of a crystal, or both, on a background, with noise. The halo is a pseudo-Voigt with a
half width to either side, and its Δq the sum of the two. Heights, backgrounds and noise are in units of its height.
"""

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from glassmap.agent.data.spectrum import q_from_two_theta
from glassmap.agent.peaks.batched import fitted_profiles, measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, Q1
from glassmap.agent.peaks.find import RELATIVE_HEIGHT
from glassmap.agent.peaks.reference import fit_peak
from glassmap.agent.shapes import Axis, PerSample, Spectra

SHARE = "crystalline_share"  # of the first peak's area, that lines hold
ALLOWED = 0.03  # of Δq
AXES: dict[str, Axis] = {
    "q": np.arange(0.9, 5.05, 0.005),
    "q, steps of 0.015": np.arange(0.9, 5.05, 0.015),
    "2θ": q_from_two_theta(np.arange(13.0, 95.0, 0.03), wavelength=1.5406),
}
REACH = 1.5  # half widths to either side of a halo, over which its area and that of its lines are taken
STEP = 0.001  # 1/Å, by which they are added up
CRYSTAL = 0.16  # 1/Å; a lone peak that is narrower is a crystal's, by Ren et al., Sci. Adv. 4, eaaq1566 (2018)
LINE_WIDTHS = 0.03, 0.08  # 1/Å, of lines that stand on a halo

Column = Float[np.ndarray, "n 1"]
Curves = Float[np.ndarray, "n p"]


class Settings(TypedDict, total=False):
    """What a case differs by from the simplest one: see `make`."""

    widths: tuple[float, float]
    lorentzian: float | None
    ratio: float | None
    background: str | None
    noise: float | None
    line: float | None
    lines: int
    shoulder: float
    halo: bool
    axis: str


class Case(NamedTuple):
    """Some spectra that differ from the simplest by one difficulty."""

    family: str
    level: str
    settings: Settings


class Made(NamedTuple):
    """Made-up spectra, and what is to be read off them."""

    q: Axis
    spectra: Spectra
    delta_q: PerSample  # 1/Å; of the halo where there is one
    q1: PerSample  # 1/Å
    crystalline_share: PerSample  # NaN of a lone peak that may be a crystal's or a halo


def _flat(q: Axis, size: Column) -> Curves:
    return 0.4 * size + 0 * q


def _sloped(q: Axis, size: Column) -> Curves:
    return 0.6 - size * (q - 0.9) / 8


def _exponential(q: Axis, size: Column) -> Curves:
    return 0.2 + size * np.exp(-(q - 0.9) / 0.6)


def _inverse(q: Axis, size: Column) -> Curves:
    return size / q


def _hump(q: Axis, size: Column) -> Curves:
    return 0.2 + 0.4 * size * np.exp2(-(np.square(q - 4.4) / 0.75**2))


BACKGROUNDS: dict[str, Callable[[Axis, Column], Curves]] = {
    "flat": _flat,
    "sloped": _sloped,
    "exponential rise": _exponential,  # towards low q, a quarter to a whole halo high
    "rise as 1/q": _inverse,
    "hump at 4.4 1/Å": _hump,  # 1.5 1/Å wide, under the second peak
}

WIDE = (0.3, 1.0)  # 1/Å, of halos
_BINS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
CASES: tuple[Case, ...] = (
    *(Case("width", f"{low:g} to {high:g} 1/Å", {"widths": (low, high)}) for low, high in pairwise(_BINS)),
    *(
        Case("profile", name, {"lorentzian": share})
        for name, share in (("Gaussian", 0.0), ("half and half", 0.5), ("Lorentzian", 1.0))
    ),
    *(Case("asymmetry", f"{ratio:g}", {"ratio": ratio}) for ratio in (0.5, 0.7, 1.0, 1.4, 2.0)),
    *(Case("background", name, {"background": name}) for name in BACKGROUNDS),
    *(Case("noise", f"{noise:.0%}", {"noise": noise}) for noise in (0.0, 0.01, 0.02, 0.05)),
    *(Case("axis", name, {"axis": name}) for name in AXES),
    Case("all at once", "halos", {"lorentzian": None, "ratio": None, "background": None, "noise": None}),
    *(
        Case("lines", f"one, {line:.0%} of the halo", {"line": line, "lines": 1, "widths": (0.35, 0.8)})
        for line in (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
    ),
    *(
        Case("lines", f"three, {line:.0%} of the halo", {"line": line, "lines": 3, "widths": (0.35, 0.8)})
        for line in (0.2, 1.0)
    ),
    Case(
        "all at once",
        "with a line",
        {
            "lorentzian": None,
            "ratio": None,
            "background": None,
            "noise": None,
            "line": None,
            "lines": 1,
            "widths": (0.35, 0.8),
        },
    ),
    *(
        Case("shoulder", f"{height:.0%} of the halo", {"shoulder": height, "widths": (0.3, 0.6)})
        for height in (0.2, 0.4, 0.6)
    ),
    Case("lines", "alone", {"halo": False, "line": 1.0, "lines": 3}),
)


def make(  # each difficulty is one setting
    n: int,
    rng: np.random.Generator,
    *,
    widths: tuple[float, float] = WIDE,
    lorentzian: float | None = 0.3,
    ratio: float | None = 1.0,
    background: str | None = "flat",
    noise: float | None = 0.01,
    line: float | None = 0.0,
    lines: int = 0,
    shoulder: float = 0.0,
    halo: bool = True,
    axis: str = "q",
) -> Made:
    """Return n spectra with a first peak between 2.3 and 3.1 1/Å.

    Args:
        n: How many.
        rng: Draws what isn't given.
        widths: Between which Δq lies, in 1/Å.
        lorentzian: Lorentzian share of the profile; None draws one from 0 to 1 for each.
        ratio: Right half width over left; None draws one from 0.5 to 2.
        background: A name of `BACKGROUNDS`; None draws one for each.
        noise: Standard deviation; None draws one from 0 to 0.05.
        line: Height of the lines; None draws one from 0.05 to 1.
        lines: How many stand within 0.6 half widths of the maximum, 0.03 to 0.08 1/Å wide.
        shoulder: Height of a second halo as wide as the first, beside it by 0.75 to 1.05 times their width: it makes a
            shoulder or a maximum of its own, and the first peak is without it. At 0.45 or more it stands to the right;
            to the left it would be the first peak.
        halo: Whether there is one; without, the lines are a crystal's, far apart, the first at q1.
        axis: A name of `AXES`.
    """
    q = AXES[axis]

    def column(low: float, high: float) -> Column:
        return rng.uniform(low, high, (n, 1))

    q1, delta_q = column(2.3, 3.1), column(*widths)
    eta = column(0, 1) if lorentzian is None else np.full((n, 1), lorentzian)
    lean = np.exp(column(-math.log(2), math.log(2))) if ratio is None else np.full((n, 1), ratio)
    left = delta_q / (1 + lean)
    right = delta_q - left
    names = list(BACKGROUNDS) if background is None else [background]
    kinds = rng.integers(len(names), size=(n, 1))
    size = column(0.25, 1)
    below = np.choose(kinds, [BACKGROUNDS[name](q, size) for name in names])
    scatter = column(0, 0.05) if noise is None else np.full((n, 1), noise)
    height = column(0.05, 1) if line is None else np.full((n, 1), line)
    places = q1 + (left + right) / 2 * rng.uniform(-0.6, 0.6, (n, lines))
    if not halo:
        places = q1 * np.array([1, 1.15, 1.41])[:lines]
    line_widths = rng.uniform(*LINE_WIDTHS, (n, lines))
    side = rng.choice((-1, 1), (n, 1)) if shoulder < RELATIVE_HEIGHT else 1
    beside = q1 + side * delta_q * column(0.75, 1.05)

    def halos(x: Axis | Curves) -> Curves:
        return halo * profile(x, q1, left, right, eta)

    def sharp(x: Axis | Curves) -> Curves:
        of_each = (
            profile(x, places[:, i, None], line_widths[:, i, None] / 2, line_widths[:, i, None] / 2, 0.5)
            for i in range(lines)
        )
        return height * sum(of_each, start=0 * (x + q1))

    spectra = below + halos(q) + sharp(q) + shoulder * profile(q, beside, left, right, eta)
    spectra += scatter * rng.standard_normal(spectra.shape)
    window = q1 + np.linspace(-1, 1, math.ceil(2 * REACH * widths[1] / STEP)) * REACH * delta_q / 2
    window = np.where(window < q1, q1 + (window - q1) * 2 * left / delta_q, q1 + (window - q1) * 2 * right / delta_q)
    area, area_of_lines = (np.trapezoid(part(window), window, axis=1) for part in (halos, sharp))
    share = area_of_lines / (area + area_of_lines)
    if not lines:
        alone = delta_q[:, 0]
        share = np.where(alone < CRYSTAL, 1.0, np.where(alone < WIDE[0], math.nan, 0.0))
    place, width = (q1, delta_q) if halo else (places, line_widths)
    return Made(q, 100 * spectra, width[:, 0], place[:, 0], share)


def profile(x: Axis | Curves, center: Column, left: Column, right: Column, lorentzian: Column | float) -> Curves:
    """The split pseudo-Voigt of height 1, by its half widths to either side of its centre."""
    u = np.square((x - center) / np.where(x < center, left, right))
    return lorentzian / (1 + u) + (1 - lorentzian) * np.exp2(-u)


def run(
    *,
    n: int = 400,
    fitted: int = 40,
    seed: int = 0,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """Read the peaks of the made-up spectra of `CASES` both ways.

    Args:
        n: Spectra a case.
        fitted: As many of them by `fit_peak` too, which takes 10 ms each.
        seed: Of the spectra.
        on_record: Called with every record as it is there.

    Returns:
        A record a case and way, with `family`, `level`, `way`, the number `n`, and the share `refused`; of Δq the
        relative `bias` (median), `scatter` (half of what the middle 68 % span) and `worst` (of the best nine tenths);
        `covered`, the share of true Δq within two standard errors (of `fit_peak`, which has them); `q1_bias` and
        `q1_scatter` in 1/Å; `share_bias` and `share_worst` of the crystalline share.
    """
    records = []
    for number, case in enumerate(CASES):
        made = make(n, np.random.default_rng([seed, number]), **case.settings)
        many = measure_peaks(made.q, torch.as_tensor(made.spectra))
        one_by_one = [fit_peak(made.q, spectrum) for spectrum in made.spectra[:fitted]]
        ways = {
            "measure_peaks": {name: values.numpy() for name, values in many.figures.items()},
            "fit_peak": {name: np.array([fit.figures[name] for fit in one_by_one]) for name in many.figures},
        }
        errors = np.array([fit.standard_errors[DELTA_Q.name] for fit in one_by_one])
        for way, figures in ways.items():
            record = {"family": case.family, "level": case.level, "way": way} | _judge(made, figures)
            covered = (
                np.abs(figures[DELTA_Q.name] - made.delta_q[: len(errors)]) <= 2 * errors if way == "fit_peak" else []
            )
            record["covered"] = float(np.mean(covered)) if len(covered) else math.nan
            records.append(record)
            on_record(record)
    return records


def _judge(made: Made, figures: dict[str, PerSample]) -> dict[str, Any]:
    n = len(figures[DELTA_Q.name])
    width = figures[DELTA_Q.name] / made.delta_q[:n] - 1
    place = figures[Q1.name] - made.q1[:n]
    share = figures.get(SHARE, np.full(n, math.nan)) - made.crystalline_share[:n]
    record: dict[str, Any] = {"n": n, "refused": float(np.isnan(width).mean())}
    record |= {"bias": _quantile(width, 0.5), "scatter": _spread(width), "worst": _quantile(np.abs(width), 0.9)}
    record |= {"q1_bias": _quantile(place, 0.5), "q1_scatter": _spread(place)}
    return record | {"share_bias": _quantile(share, 0.5), "share_worst": _quantile(np.abs(share), 0.9)}


def _quantile(values: PerSample, level: float) -> float:
    there = values[np.isfinite(values)]
    return float(np.quantile(there, level)) if len(there) else math.nan


def _spread(values: PerSample) -> float:
    return (_quantile(values, 0.84) - _quantile(values, 0.16)) / 2


def draw(records: Iterable[dict[str, Any]], picture: Path, *, before: Iterable[dict[str, Any]] = ()) -> None:
    """Draw bias and scatter of Δq by `measure_peaks`, a panel a family, to a PNG; `before` in grey beside."""
    then = {(one["family"], one["level"]): one for one in before if one["way"] == "measure_peaks"}
    ours = [record for record in records if record["way"] == "measure_peaks"]
    families = list(dict.fromkeys(record["family"] for record in ours))
    columns = min(3, len(families))
    rows = math.ceil(len(families) / columns)
    figure = Figure(figsize=(4.4 * columns, 2.8 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(families) :]:
        panel.set_axis_off()
    for panel, family in zip(panels, families, strict=False):
        mine = [record for record in ours if record["family"] == family]
        panel.axvspan(-100 * ALLOWED, 100 * ALLOWED, color="#d8e6f2", linewidth=0)
        old = [then.get((family, record["level"])) for record in mine]
        for found, color, shift in ((old, "0.6", 0.12), (mine, "#1f5f99", -0.12)):
            for place, record in enumerate(found):
                if record is not None:
                    at, wide = 100 * record["bias"], 100 * record["scatter"]
                    panel.errorbar(at, place + shift, xerr=wide, fmt="o", color=color, markersize=4, capsize=2)
        panel.set_yticks(
            range(len(mine)),
            [record["level"] + (f" ({record['refused']:.0%} refused)" if record["refused"] else "") for record in mine],
            fontsize=8,
        )
        panel.set(title=family, xlabel="error of Δq (%)", xlim=(-50, 50), ylim=(len(mine) - 0.5, -0.5))
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


EXAMPLES: dict[str, Settings] = {
    "symmetric": {"widths": (0.55, 0.56)},
    "leaning": {"widths": (0.6, 0.61), "ratio": 2.0},
    "on a rise towards low q": {"widths": (0.6, 0.61), "background": "exponential rise"},
    "beside a shoulder": {"widths": (0.5, 0.51), "shoulder": 0.4},
    "with a line on it": {"widths": (0.6, 0.61), "line": 0.5, "lines": 1},
    "a crystal": {"halo": False, "line": 1.0, "lines": 3},
}


def draw_examples(picture: Path) -> None:
    """Draw a spectrum of each kind with the curve that is fitted, and Δq as made and as read, to a PNG."""
    figure = Figure(figsize=(13.2, 6.4), layout="constrained")
    for panel, (name, settings) in zip(figure.subplots(2, 3).ravel(), EXAMPLES.items(), strict=True):
        made = make(1, np.random.default_rng(5), **settings)
        spectra = torch.as_tensor(made.spectra)
        peaks = measure_peaks(made.q, spectra)
        panel.plot(made.q, made.spectra[0], color="0.6", linewidth=1)
        panel.plot(made.q, fitted_profiles(made.q, spectra)[0], color="#1f5f99", linewidth=1.6)
        said = {key: values.item() for key, values in peaks.figures.items()}
        share = f", read {said[SHARE]:.2f}" if SHARE in said else ""
        panel.set_title(
            f"{name}: Δq made {made.delta_q[0]:.3f}, read {said[DELTA_Q.name]:.3f} Å$^{{-1}}$\n"
            f"crystalline share made {made.crystalline_share[0]:.2f}{share}",
            fontsize=9,
        )
        panel.set(xlim=(1.2, 4.8), yticks=[], xlabel="q (Å$^{-1}$)")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
