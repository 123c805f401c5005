"""What goes from composition to spectrum: networks, a Gaussian process, trees, how they are stacked, and simpler
models beside them.
"""
