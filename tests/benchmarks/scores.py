"""How good draws of a distribution are, beside what was measured: proper scores, intervals, and tests of two samples.

Plain arrays in, plain figures out. Letters: k draws, b alloys, q points, e elements.
"""

# scikit-learn and SciPy have no types
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import Any, cast

import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from glassmap.agent.shapes import Axis, Compositions, Groups, PerSample, Spectra

Draws = Float[np.ndarray, "k b q"]
FigureDraws = Float[np.ndarray, "k b"]  # NaN where a draw has no first peak

BIN = 0.05  # 1/Å, over which a classifier sees averages
BANDS = 8  # parts of the axis in each of which it sees how rough a spectrum is
SPLITS = 5  # of the alloys, for the classifier


def energy_scores(draws: Draws, measured: Spectra) -> PerSample:
    """Return the energy score of each alloy's draws, in the unit of intensity; smaller is better.

    E|f - y| - E|f - f'| / 2 with the root mean square over the points as the norm, estimated without bias from a finite
    number of draws; of a single draw, which stands for a forecast without spread, |f - y|. Its expectation is least for
    draws of the distribution that the measurement comes from. Source: Gneiting & Raftery, J. Am. Stat. Assoc. 102, 359
    (2007), eq. 22; the fair estimator: Ferro, Q. J. R. Meteorol. Soc. 140, 1917 (2014).
    """
    k, _, points = draws.shape
    scores = np.empty(len(measured))
    for alloy, truth in enumerate(measured):  # one at a time: all pairs of draws of all alloys are large
        mine = draws[:, alloy].astype(np.float64)
        scores[alloy] = np.sqrt(np.square(mine - truth).mean(1)).mean()
        if k > 1:
            mine = mine - truth  # near zero, where squares lose least
            products = mine @ mine.T / points
            squares = np.diag(products)
            apart = np.sqrt((squares[:, None] + squares - 2 * products).clip(0))
            scores[alloy] -= apart.sum() / (2 * k * (k - 1))
    return scores


def crps(draws: FigureDraws, measured: PerSample) -> PerSample:
    """Return the continuous ranked probability score of each alloy's draws of a figure, in its unit: smaller is better.

    The energy score of one number. Draws without the figure are left out; NaN where the measurement has none, or
    no draw.
    """
    there = np.isfinite(draws)
    count = there.sum(0)
    away = np.where(there, np.abs(draws - measured), 0).sum(0) / np.where(count, count, np.nan)
    ranked = np.sort(draws, axis=0)  # NaN last
    rank = np.arange(1, len(draws) + 1)[:, None]
    apart = (np.where(np.isfinite(ranked), ranked, 0) * (2 * rank - count - 1) * (rank <= count)).sum(0)
    return away - apart / np.where(count > 1, count * (count - 1), np.inf)


def interval(draws: FigureDraws, level: float) -> tuple[PerSample, PerSample]:
    """Return the ends of the central interval that is to hold a share of measurements; NaN below two draws.

    The ranks are those that hold it for any number of draws: k + 1 places lie between and beside k draws.
    """
    ranked, count = np.sort(draws, axis=0), np.isfinite(draws).sum(0)  # NaN last
    ends: list[PerSample] = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        rank = (share * (count + 1) - 1).clip(0, np.maximum(count - 1, 0))
        below = np.floor(rank).astype(int)
        above = np.minimum(below + 1, np.maximum(count - 1, 0))
        low, high = (np.take_along_axis(ranked, place[None], axis=0)[0] for place in (below, above))
        ends.append(np.where(count > 1, low + (rank - below) * (high - low), np.nan))
    return ends[0], ends[1]


def probability_above(draws: FigureDraws, threshold: float) -> PerSample:
    """Return the share of each alloy's draws that lie above a threshold; NaN where no draw has the figure."""
    there = np.isfinite(draws).sum(0)
    return (draws > threshold).sum(0) / np.where(there, there, np.nan)


def reliability(said: PerSample, happened: PerSample, *, classes: int = 5) -> list[tuple[float, float, int]]:
    """Return of each class of equal width of a probability: what was said on the mean, what happened, how often."""
    place = np.minimum((said * classes).astype(int), classes - 1)
    return [
        (float(said[place == k].mean()), float(happened[place == k].mean()), int((place == k).sum()))
        for k in range(classes)
        if (place == k).any()
    ]


def roughness(spectra: Spectra) -> PerSample:
    """Return how rough each spectrum is: the root mean square of its second differences, intensity."""
    return np.sqrt(np.square(np.diff(spectra, 2, axis=1)).mean(1))


def alloy_groups(compositions: Compositions, reach: float) -> Groups:
    """Return a number for each sample, the same for those that are at most `reach` (atomic fraction) apart."""
    pairs = KDTree(compositions).query_pairs(reach, output_type="ndarray")
    n = len(compositions)
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return cast(Any, connected_components)(links, directed=False)[1]


def spectrum_view(q: Axis, spectra: Spectra) -> Float[np.ndarray, "n f"]:
    """Return what a classifier sees of spectra: their averages over `BIN`, and how rough each of `BANDS` parts is."""
    places = np.digitize(q, np.arange(q[0], q[-1], BIN)) - 1
    averages = [spectra[:, places == place].mean(1) for place in np.unique(places)]
    parts = np.array_split(np.diff(spectra, 2, axis=1), BANDS, axis=1)
    return np.stack([*averages, *(np.log(np.square(part).mean(1) + 1e-12) for part in parts)], axis=1)


def two_sample_auc(generated: Float[np.ndarray, "b f"], measured: Float[np.ndarray, "b f"], *, groups: Groups) -> float:
    """Return how well a classifier tells what was generated from what was measured: the area under its ROC curve.

    0.5 where it can't, which is perfect; 1 where it always can. It is judged on groups that it did not learn from.
    Source: Lopez-Paz & Oquab, ICLR 2017.

    Args:
        generated: What it sees of each, such as a `spectrum_view` beside the composition; NaN where there is nothing.
        measured: As of `generated`; row k of both is of alloy k.
        groups: Alloys that are learned from or judged together.
    """
    seen, both = np.concatenate([generated, measured]), np.concatenate([groups, groups])
    labels = np.repeat([0, 1], [len(generated), len(measured)])
    said = np.empty(len(labels))
    for learn, judge in GroupKFold(SPLITS, shuffle=True, random_state=0).split(seen, labels, both):
        classifier = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, random_state=0)
        said[judge] = classifier.fit(seen[learn], labels[learn]).predict_proba(seen[judge])[:, 1]
    return float(roc_auc_score(labels, said))
