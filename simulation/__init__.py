"""Melt-quench molecular dynamics. Not there yet."""
