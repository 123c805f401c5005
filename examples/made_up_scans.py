"""Make a folder of scans as a laboratory's, for who has none at hand: three wafers of a made-up Ni-Nb-Zr.

    python examples/made_up_scans.py mine

writes `mine/scans` (a scan a point, columns of text over 2θ, Cu Kα1, behind a beam stop, on a glass slide),
`mine/edx.csv` (sample, wafer, place, at.%), `mine/slide.xy` (the bare slide) and, as in any such folder, some that are
wrong: a file that breaks off, a point without a film, a clamp in the beam, a scan and a row without their other half.
Nothing in them was measured; the halos lie where atoms of that size put them and the glass is where we put it.
"""

import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float

WAVELENGTH = 1.5406  # Å, Cu Kα1
TWO_THETA = np.arange(8.0, 80.0, 0.1)  # degrees
Q = 4 * np.pi * np.sin(np.radians(TWO_THETA / 2)) / WAVELENGTH  # 1/Å
VOLUMES = np.array([10.9, 18.0, 23.3])  # Å3, of an atom of Ni, Nb and Zr
GLASS, REACH = np.array([0.5, 0.22, 0.28]), 0.24  # where its middle is put, and how far it reaches; atomic fractions
STEP = 10.0  # mm between points of a wafer
RADIUS = 38.0  # mm


def composition(wafer: int, x: float, y: float) -> Float[np.ndarray, "3"]:
    """Return the atomic fractions that three guns at 120° put at a place in mm; each wafer has other powers."""
    powers = np.log(np.array([[1, 0.7, 1.7], [1, 1.7, 0.7], [2.4, 1, 1]])[wafer])
    guns = np.radians([90.0, 210.0, 330.0])
    shares = np.exp(powers + (x * np.cos(guns) + y * np.sin(guns)) / 30)
    return shares / shares.sum()


def counts(shares: Float[np.ndarray, "3"], film: float, rng: np.random.Generator) -> Float[np.ndarray, " q"]:
    """Return the counts of a film of that thickness (1: as usual, 0: none) on its slide."""
    q1 = 9.3 * float(shares @ VOLUMES) ** -0.433  # 1/Å; see `glassmap.agent.peaks.atomic_volume`
    inside = 1 / (1 + np.exp((np.linalg.norm(shares - GLASS) - REACH) / 0.025))
    width = 0.24 + 0.56 * inside  # 1/Å: crystals of some nm outside, a halo inside
    halo = 900 / (1 + 4 * ((Q - q1) / width) ** 2) + 260 / (1 + 4 * ((Q - 1.7 * q1) / (1.6 * width)) ** 2)
    slide = 350 / (1 + 4 * ((Q - 1.65) / 0.7) ** 2)
    stop = 1 / (1 + np.exp((0.8 - Q) / 0.05))
    return rng.poisson(4 * stop * (film * halo + (1.15 - 0.3 * film) * slide + 500 / Q)).astype(float)


def write(path: Path, intensity: Float[np.ndarray, " q"], keep: int | None = None) -> None:
    """Write one scan as columns of text; `keep` letters of it, where the writing broke off."""
    rows = (f"{x:.2f} {y:.0f}" for x, y in zip(TWO_THETA, intensity, strict=True))
    path.write_text("\n".join([*rows, ""])[:keep])


def make(folder: Path, step: float = STEP) -> None:
    """Write scans, table and bare slide; fewer points with a larger step (mm)."""
    rng = np.random.default_rng(0)
    (folder / "scans").mkdir(parents=True)
    table = ["sample,wafer,x (mm),y (mm),Ni (at.%),Nb (at.%),Zr (at.%)"]
    places = np.arange(-30.0, 30.1, step)
    for wafer in range(3):
        on = [(x, y) for y in places for x in places if np.hypot(x, y) <= RADIUS]
        for number, (x, y) in enumerate(on, start=1):
            shares, sample = composition(wafer, x, y), f"W{wafer + 1}-{number:02d}"
            table.append(f"{sample},W{wafer + 1},{x:g},{y:g}," + ",".join(f"{100 * share:.2f}" for share in shares))
            intensity = counts(shares, 0.03 if sample == "W3-02" else 1.0, rng)
            if sample == "W2-05":  # the clamp, a steel spring
                intensity += 20000 * np.exp(-(((Q - 3.07) / 0.012) ** 2))
            if sample != "W1-06":  # whose scan was forgotten
                write(folder / "scans" / f"{sample}.xy", intensity, keep=4801 if sample == "W1-03" else None)
    write(folder / "scans" / "align.xy", counts(GLASS, 1.0, rng))
    write(folder / "slide.xy", counts(GLASS, 0.0, rng))
    (folder / "edx.csv").write_text("\n".join([*table, ""]))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
