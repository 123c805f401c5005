"""Spectra with known first peaks."""

import math

import numpy as np
import torch

from glassmap.agent.peaks.batched import measure_peaks

Q = np.arange(0.9, 5.05, 0.005)  # 1/Å
BACKGROUND = 700 * np.exp(-0.25 * Q)  # counts; a falling background as the synchrotron sets have


def pseudo_voigt(q1, delta_q, *, height=100.0, share=0.0):
    """A pseudo-Voigt on `Q`; a pair of half widths instead of `delta_q` makes it lean to a side."""
    left, right = delta_q if isinstance(delta_q, tuple) else (delta_q / 2, delta_q / 2)
    u = (Q - q1) / np.where(q1 > Q, 2 * left, 2 * right)
    return height * (share / (1 + 4 * u**2) + (1 - share) * np.exp(-4 * math.log(2) * u**2))


def measure_peak(q, intensity):
    """`measure_peaks` of one spectrum: its figures, and whether they are trusted."""
    peaks = measure_peaks(q, torch.tensor(intensity)[None])
    return {name: values.item() for name, values in peaks.figures.items()}, peaks.found.item()
