"""Titles of axes, in a file of their own, so that what needs no more loads no more."""

AXIS_TITLES = {"q": "q (Å⁻¹)", "two_theta": "2θ (°)", "r": "r (Å)"}
