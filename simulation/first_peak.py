"""The first peak of a simulated structure; apart from `structure.py`, which a dashboard reads without torch."""

from glassmap.agent.peaks.reference import Peak, fit_peak
from glassmap.simulation.structure import Q, Structure, structure_factor


def first_peak(structure: Structure) -> Peak:
    """Fit the first peak of S(q), un-windowed, by `fit_peak`."""
    return fit_peak(Q, structure_factor(structure, Q))
