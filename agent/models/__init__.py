"""What goes from composition to spectrum.

`protocol` says what a model is, `base_model` what one needs to be stacked. Networks (with their training), a Gaussian
process and randomised trees have a file each, as have simpler models to compare with. `base_models` lists those that
are stacked, `stacking` weighs them by their protocol alone, and `ensemble` is what everybody else uses.
"""
