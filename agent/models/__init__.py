"""What goes from composition to spectrum. `protocol` says what a model is and `base_model` what one needs besides to be
stacked; networks (with their training), a Gaussian process and randomised trees each have a file, as have simpler models
to compare with; `base_models` lists those that are stacked, `stacking` weighs them by their protocol alone, and
`ensemble` is what everybody else uses.
"""
