"""What a model says of every alloy of a space: figures of the first peak in one file, spectra for those who look
in another.
"""
