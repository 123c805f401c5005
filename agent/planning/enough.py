"""Whether enough of a wafer is measured: what its points that are left would bring, known without any training.

A Gaussian process on the principal components of the wafer's spectra, or on their Δq, says how far off the alloys of
the wafer are foreseen now, and how far off they would be with all its points measured: that depends on where points
lie and not on what would be found there. Nor is less counted on than if the rest were foreseen as badly as each known
spectrum is by the others: where phases meet, spectra change by more than a smooth process believes. A phase that begins
where nothing is measured yet is foreseen by none, so that it is never enough while a point lies far from all that are
measured. Only spectra of the wafer itself tell, as those of two wafers differ by more than their alloys do. How often
it is right is in docs/results.md; `tests.benchmarks.enough` is the study.

Letters: n spectra that are known, k figures of each, p points of the wafer, r some of them.
Source: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), eq. 2.26, 5.10-5.12.
"""

import math
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float, Integer

from glassmap.agent.planning.convergence import On
from glassmap.agent.shapes import Compositions, PerSample, Spectra

FEWEST = 10  # spectra; fewer don't say how smooth a wafer is
COMPONENTS = 8  # of spectra; the others are taken for noise
LENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # of the kernel, distance of composition vectors (atomic fraction)
NOISES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 0.5)  # of a measurement, in the variance of the process
CAUTION = 2.0  # times what is expected is counted on: by the study the error falls by more in one case of ten
REACH_AT_PCT = 7.0  # from the nearest that is measured; what lies farther off may hold a phase that nothing tells of
LEAST_MSE = 1.0  # of intensity 0-100; a share of less is a gain that nobody sees
MOST = 450  # spectra, or points, that are looked at: evenly chosen of more, so that it takes less than a second
MOST_TO_CHOOSE = 200  # spectra that the kernels are chosen by
MOST_SAID = 0.95  # share of the MSE; more is counted on only where too little is known to say how much
NEXT = 5  # points that are named as the next

Figures = Float[np.ndarray, "n k"]
PerPoint = Float[np.ndarray, " p"]
PointCompositions = Float[np.ndarray, "p e"]
Left = Bool[np.ndarray, " p"]
PointRows = Integer[np.ndarray, " r"]
NextRows = Integer[np.ndarray, " next"]
FewRows = Integer[np.ndarray, " few"]
Covariance = Float[np.ndarray, "p p"]


class Kernel(NamedTuple):
    """How far a spectrum tells of others, atomic fraction, and how noisy it is, in the variance of the process."""

    length: float
    noise: float


class Served(NamedTuple):
    """What the figures that a kernel serves vary by, in the square of their unit."""

    variance: float  # of the process
    left_out: float  # mean squared error of each left out, foreseen by all others


class Rest(NamedTuple):
    """What the points of a wafer that are left would bring, measured all together; 0 of none."""

    gain: float  # fall of the error over the wafer's alloys to count on, in its unit; a share is at most 1
    farthest_at_pct: float  # of a point that is left from the nearest that is known
    next: NextRows  # the points that would bring most, the best first, each as if those before it were measured

    def is_enough(self, worth: float) -> bool:
        """Return whether they aren't worth measuring, by the gain that is worth it."""
        return self.gain < worth and self.farthest_at_pct <= REACH_AT_PCT


def weigh_rest(
    on: On,
    compositions: Compositions,
    measured: Spectra | PerSample,
    points: PointCompositions,
    left: Left,
    *,
    mse: float | None = None,
    threshold: float = math.nan,
) -> Rest | None:
    """Return what the points of a wafer that are left are expected to bring; None where too few spectra tell.

    Args:
        on: What has to settle. The gain of `mse` is a share of the MSE, that of `delta_q` is in 1/Å of its mean
            absolute error, that of `glass` the share of the wafer's alloys that would change sides.
        compositions: Of the spectra of the wafer that are learned from, atomic fraction, `(n, e)`.
        measured: The spectra, intensity 0-100, `(n, q)`; for `delta_q` and `glass` their Δq, 1/Å, `(n,)`, NaN without
            a first peak.
        points: Of the wafer, all of them, `(p, e)`.
        left: Which of them aren't measured.
        mse: The MSE that `mse` is a share of: the campaign's. Without one, that over the alloys of the wafer now; at
            least `LEAST_MSE`.
        threshold: Δq of a glass, 1/Å, for `glass`.
    """
    known = np.flatnonzero(np.isfinite(measured)) if measured.ndim == 1 else np.arange(len(measured))
    if len(known) < FEWEST:
        return None
    compositions, values = (part[_evenly(known, MOST)] for part in (compositions, measured))
    shown = np.sort(np.concatenate([_evenly(np.flatnonzero(part), MOST) for part in (left, ~left)]))
    points, is_left = points[shown], left[shown]
    figures, noise = (values[:, None], 0.0) if values.ndim == 1 else _scores(values)
    kernels = choose_kernels(compositions, figures)
    now, later, left_out = np.zeros(len(points)), np.zeros(len(points)), noise
    covariances = list[tuple[Covariance, float]]()
    for kernel, (variance, error) in kernels.items():
        covariance = variance * posterior(kernel, compositions, points)
        spread = variance * kernel.noise
        covariances.append((covariance, spread))
        now += np.diag(covariance)
        later += np.diag(_measuring(covariance, np.flatnonzero(is_left), spread))
        noise, left_out = noise + spread, left_out + error
    share = float(is_left.mean())
    if on == "mse":
        level = (float(now.mean()) + noise) / values.shape[1] if mse is None else mse
        fall = max(CAUTION * float((now - later).mean()), share * (left_out - noise))
        gain = fall / values.shape[1] / max(level, LEAST_MSE)
    elif on == "delta_q":
        expected = float((np.sqrt(now + noise) - np.sqrt(later + noise)).mean())
        fall = max(CAUTION * expected, share * (math.sqrt(left_out) - math.sqrt(noise)))
        gain = math.sqrt(2 / math.pi) * fall
    else:
        moves = np.sqrt(CAUTION * np.maximum(now - later, np.finfo(float).tiny))
        gain = _that_change_sides(next(iter(kernels)), compositions, values, points, moves, threshold)
    farthest = float(_distances(points[is_left], compositions).min(axis=1).max(initial=0.0))
    gain = min(max(gain, 0.0), math.inf if on == "delta_q" else 1.0)
    return Rest(gain, 100 * farthest, shown[_best(covariances, np.flatnonzero(is_left))])


def say_rest(on: On, gain: float, worth: float, farthest_at_pct: float) -> str:
    """Return in a clause what the points that are left would bring, what would be worth it, and where one is far."""
    match on:
        case "mse":
            fall = f"by {100 * gain:.1f} %" if gain < MOST_SAID else "by most of what it is"
            told = f"the others would lower the MSE {fall} (tolerance {100 * worth:g} %)"
        case "delta_q":
            told = f"the others would lower the error of Δq by {gain:.4f} Å⁻¹ (tolerance {worth:g} Å⁻¹)"
        case "glass":
            told = f"{100 * gain:.1f} % of its alloys would yet change sides of the glass boundary (tolerance "
            told += f"{100 * worth:g} %)"
    far = f", but one lies {farthest_at_pct:.0f} at.% from every one that is measured"
    return told + far * (gain < worth and farthest_at_pct > REACH_AT_PCT)


def choose_kernels(compositions: Compositions, figures: Figures) -> dict[Kernel, Served]:
    """Return the kernels by which figures are foreseen best, each with what is known of all that it serves.

    Each figure has the kernel of the largest leave-one-out predictive probability, at the variance at which left-out
    errors are as large as foretold.

    Args:
        compositions: Atomic fraction, `(n, e)`.
        figures: Each about a mean of its own, `(n, k)`.
    """
    few = _evenly(np.arange(len(figures)), MOST_TO_CHOOSE)
    values = figures[few] - figures[few].mean(axis=0)
    least = np.full(values.shape[1], math.inf)
    best = [Kernel(math.nan, math.nan)] * values.shape[1]
    served = [Served(0.0, 0.0)] * values.shape[1]
    distances = _distances(compositions[few], compositions[few])
    for length in LENGTHS:
        eigenvalues, vectors = np.linalg.eigh(_matern(distances, length))
        turned = vectors.T @ values
        for noise in NOISES:
            spectrum = np.maximum(eigenvalues, 0) + noise
            doubt = 1 / (vectors**2 / spectrum).sum(axis=1)[:, None]  # variance of each, left out, in the process's
            errors = doubt * (vectors @ (turned / spectrum[:, None]))
            variance = np.maximum((errors**2 / doubt).mean(axis=0), np.finfo(float).tiny)
            surprise = len(values) * np.log(variance) + np.log(doubt).sum()
            for better in np.flatnonzero(surprise < least).tolist():
                least[better], best[better] = surprise[better], Kernel(length, noise)
                left_out = float(np.square(errors[:, better]).mean())
                served[better] = Served(float(variance[better]), left_out)
    found = dict[Kernel, Served]()
    for kernel, one in zip(best, served, strict=True):
        before = found.get(kernel, Served(0.0, 0.0))
        found[kernel] = Served(before.variance + one.variance, before.left_out + one.left_out)
    return found


def posterior(kernel: Kernel, compositions: Compositions, points: PointCompositions) -> Covariance:
    """Return how errors at some points go together once spectra are known, in the variance of the process."""
    of_known = _matern(_distances(compositions, compositions), kernel.length) + kernel.noise * np.eye(len(compositions))
    across = _matern(_distances(compositions, points), kernel.length)
    return _matern(_distances(points, points), kernel.length) - across.T @ np.linalg.solve(of_known, across)


def _measuring(covariance: Covariance, rows: PointRows, noise: float) -> Covariance:
    """Return the covariance once some points are measured, with a noise of that variance."""
    of_rows, across = covariance[np.ix_(rows, rows)] + noise * np.eye(len(rows)), covariance[rows]
    return covariance - across.T @ np.linalg.solve(of_rows, across)


def _that_change_sides(
    kernel: Kernel,
    compositions: Compositions,
    delta_q: PerSample,
    points: PointCompositions,
    moves: PerPoint,
    threshold: float,
) -> float:
    """Return the share of points whose expected Δq is expected to pass the threshold, as it moves by what is learned.

    Args:
        kernel: Of Δq.
        compositions: Whose Δq is known.
        delta_q: 1/Å.
        points: Of the wafer.
        moves: How far the expected Δq will move by measuring, 1/Å: a standard deviation.
        threshold: 1/Å.
    """
    # here, because its import takes longer than a light command does
    from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    of_known = _matern(_distances(compositions, compositions), kernel.length) + kernel.noise * np.eye(len(delta_q))
    across = _matern(_distances(points, compositions), kernel.length)
    middle = float(delta_q.mean())
    expected = middle + across @ np.linalg.solve(of_known, delta_q - middle)
    return float(np.mean(cast(PerPoint, ndtr(-np.abs(expected - threshold) / moves))))


def _best(covariances: list[tuple[Covariance, float]], left: PointRows) -> NextRows:
    """Return the points that are left which lower the error most, the best first."""
    best = list[int]()
    while len(best) < min(NEXT, len(left)):
        falls = sum(
            np.square(covariance[:, left]).sum(axis=0) / (np.diag(covariance)[left] + noise)
            for covariance, noise in covariances
        )
        best.append(int(left[np.argmax(np.where(np.isin(left, best), -math.inf, falls))]))
        covariances = [(_measuring(one, np.array(best[-1:]), noise), noise) for one, noise in covariances]
    return np.array(best, dtype=np.intp)


def _scores(spectra: Spectra) -> tuple[Figures, float]:
    """Return the principal components of spectra, and the variance of all others, summed over the points."""
    centred = spectra - spectra.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :COMPONENTS] * sizes[:COMPONENTS], float(np.square(sizes[COMPONENTS:]).sum() / len(spectra))


def _matern(distances: np.ndarray, length: float) -> np.ndarray:
    """Return the Matérn-5/2 kernel: a process that can be differentiated twice."""
    scaled = math.sqrt(5) / length * distances
    return (1 + scaled + scaled**2 / 3) * np.exp(-scaled)


def _distances(some: Compositions, others: PointCompositions) -> np.ndarray:
    # here, because its import takes longer than a light command does
    from scipy.spatial.distance import cdist  # pyright: ignore[reportMissingTypeStubs]

    return cast(np.ndarray, cdist(some, others))


def _evenly(rows: PointRows, most: int) -> FewRows:
    """Return at most so many rows, spread evenly over all."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.intp)]
