"""How well a chamber of one gun an element tells the compositions of wafers of unknown powers that others made.

Of each wafer the places (mm) and compositions are known. The guns' azimuths are begun where each element rises fastest;
all else is begun as of any such chamber, and fitted.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.data.dataset import read_dataset
from glassmap.agent.data.samples import Samples, samples_of
from glassmap.agent.planning.sputtering import (
    Calibration,
    Chamber,
    Deposition,
    Gun,
    Known,
    calibrate,
    points_of,
)
from glassmap.agent.shapes import PerPoint

KNOWN = Known(azimuth=30.0, tilt=15.0, distance=0.3, aim=30.0)
TURNED = Known(rate=0.0, exponent=0.0, power_exponent=0.0, azimuth=0.0, tilt=0.0, distance=0.0, aim=0.0, turn=15.0)
HELD = TURNED._replace(turn=0.0)
Record = dict[str, Any]


def run(datasets: Sequence[Path], on_record: Callable[[Record], object] = lambda _: None) -> list[Record]:
    """Fit every wafer for itself, then each by a chamber that was fitted to the others of its system.

    Returns:
        Records with `dataset`, `wafer`, `points`, and root mean squares in at.% over points and elements: `own` (of a
        chamber fitted to the wafer alone), `quadratic` (of log-ratios that are quadratic in x and y, to compare),
        `together` (of one chamber for all wafers), `others` (of a chamber fitted to the others, with the three rates of
        this one alone), `others_turned` (the same, with how the wafer lay turned, which is `turn` degrees) and `spread`
        (of the compositions about their mean).
    """
    records = list[Record]()
    for path in datasets:
        spectra = read_dataset(path)
        samples = samples_of(spectra)
        each = {name: samples.select(samples.on(name)) for name in samples.wafer_names}
        together = _fit(spectra.elements, [*each.values()])
        for k, (name, one) in enumerate(each.items()):
            others = _fit(spectra.elements, [other for other in each.values() if other is not one])
            turned = calibrate(others.chamber, [_deposition(one)], TURNED)
            record = {
                "dataset": path.stem,
                "wafer": name,
                "points": len(one),
                "spread": _rms(one.compositions - one.compositions.mean(axis=0)),
                "quadratic": _quadratic(one),
                "own": _fit(spectra.elements, [one]).rms_at_pct,
                "together": together.rms_by_wafer[k],
                "others": calibrate(others.chamber, [_deposition(one)], HELD).rms_at_pct,
                "others_turned": turned.rms_at_pct,
                "turn": turned.turns[0],
            }
            records.append(record)
            on_record(record)
    return records


def guns_of(elements: Sequence[str], azimuths: Sequence[float], *, exponent: float) -> tuple[Gun, ...]:
    """Return a gun an element, as they usually stand."""
    return tuple(
        Gun(
            element,
            pure,
            azimuth=azimuth,
            tilt=30.0,
            distance=150.0,
            rate=5.0,
            power=100.0,
            powers=(20.0, 200.0),
            exponent=exponent,
        )
        for element, pure, azimuth in zip(elements, np.eye(len(elements)), azimuths, strict=True)
    )


def _fit(elements: tuple[str, ...], wafers: Sequence[Samples]) -> Calibration:
    """Fit a chamber with a gun an element."""
    slopes = np.mean([_slopes(one) for one in wafers], axis=0)  # (elements, 2)
    guns = guns_of(elements, np.degrees(np.arctan2(slopes[:, 1], slopes[:, 0])).tolist(), exponent=1.5)
    return calibrate(Chamber(elements, guns), [_deposition(one) for one in wafers], KNOWN)


def _deposition(one: Samples) -> Deposition:
    return Deposition(None, one.x, one.y, one.compositions, name=one.wafers[0])


def _slopes(one: Samples) -> np.ndarray:
    """Return how fast each element's logarithm rises along x and y, 1/mm, `(e, 2)`."""
    places = np.column_stack([np.ones(len(one)), one.x, one.y])
    return np.linalg.lstsq(places, np.log(one.compositions.clip(1e-3)), rcond=None)[0][1:].T


def _quadratic(one: Samples) -> float:
    """Return what log-ratios miss that are quadratic in x and y, at.%."""
    x, y = one.x, one.y
    places = np.column_stack([np.ones(len(one)), x, y, x**2, x * y, y**2])
    logarithms = np.log(one.compositions.clip(1e-3))
    ratios = logarithms - logarithms[:, :1]
    shares = np.exp(places @ np.linalg.lstsq(places, ratios, rcond=None)[0])
    return _rms(shares / shares.sum(axis=1, keepdims=True) - one.compositions)


def _rms(missed: PerPoint | np.ndarray) -> float:
    return 100 * float(np.sqrt(np.mean(np.square(missed))))


def draw(path: Path) -> None:
    """Draw what the model says: guns over a wafer, what each gives along the wafer, and what lies where."""
    from matplotlib.figure import Figure

    elements = ("Co", "V", "Zr")
    guns = guns_of(elements, [180.0, 60.0, -60.0], exponent=1.5)
    chamber, colours = Chamber(elements, guns), ("tab:blue", "tab:red", "tab:green")
    figure = Figure(figsize=(12, 4), layout="constrained")
    side, along, disc = figure.subplots(1, 3)
    side.plot([-50, 50], [0, 0], lw=4, color="black")
    for gun, colour in zip(guns[:2], colours, strict=False):
        x, _, z = gun.place
        side.plot([x, 0], [z, 0], ":", color=colour)
        angles = np.linspace(-np.pi / 2, np.pi / 2, 91)
        facing = np.arctan2(gun.direction[2], gun.direction[0])
        lobe = 60 * np.cos(angles) ** gun.exponent
        side.fill(x + lobe * np.cos(facing + angles), z + lobe * np.sin(facing + angles), alpha=0.3, color=colour)
        side.annotate(gun.name, (x, z), ha="center", va="bottom", xytext=(0, 6), textcoords="offset points")
    side.set(aspect="equal", xlabel="x (mm)", ylabel="z (mm)", ylim=(-15, 160), title="Each gun emits about its axis")
    x = np.linspace(-45, 45, 91)
    rates = chamber.rates(np.array([[100.0, 100.0, 60.0]]), x, np.zeros(91))[0]
    for gun, rate, colour in zip(guns, rates, colours, strict=True):
        along.plot(x, rate, color=colour, label=gun.name)
    along.set(xlabel="x (mm), y = 0", ylabel="nm/min", title="What arrives, at 100, 100 and 60 W", ylim=(0, None))
    along.legend()
    px, py = points_of(100.0, 5.0, 3.0)
    shares = chamber.compositions(np.array([[100.0, 100.0, 60.0]]), px, py)[0]
    disc.scatter(px, py, c=((shares - shares.min(0)) / np.ptp(shares, axis=0))[:, [1, 2, 0]], s=16)
    for row in (0, len(px) // 2, len(px) - 1):
        name = "".join(f"{e}{100 * share:.0f}" for e, share in zip(elements, shares[row], strict=True))
        disc.annotate(
            name,
            (px[row], py[row]),
            ha="center",
            va="center",
            fontsize=9,
            bbox={"color": "white", "alpha": 0.8, "pad": 1},
        )
    disc.set(aspect="equal", xlabel="x (mm)", ylabel="y (mm)", title="What lies where (at.%)")
    figure.savefig(path, dpi=110)
