"""Every error that glassmap raises on purpose.

    GlassmapError
    ├── CompositionError    a composition or a composition space breaks a rule
    │   └── SpaceExhausted  no allowed composition is left to plan
    ├── SpectrumError       a spectrum or its axis breaks a rule
    ├── DatasetError        a file of spectra or a composition table can't be taken
    ├── ModelError          a model is asked for what it can't do, or a checkpoint can't be read
    ├── CampaignError       a campaign file holds an unknown or impossible setting
    ├── StoreError          the campaign store is missing, damaged, not ours to write or of a later version
    │   └── CampaignBusy    another process is at the campaign
    ├── MissingExtra        an optional part of glassmap is asked for and not installed
    ├── ClusterError        a Dask cluster can't be reached, or fails what it was asked for
    ├── MeasurementError    a backend could not measure an alloy
    └── SimulationError     a potential, a protocol or LAMMPS itself can't be used, whatever the alloy

A message says the rule, the value found and the remedy. The command line prints it and ends with 3, with 5 where
the campaign is busy.
"""


class GlassmapError(Exception):
    """Anything that glassmap refuses; catch this to catch all of them."""


class CompositionError(GlassmapError):
    """A composition or a composition space breaks a rule."""


class SpaceExhausted(CompositionError):
    """No allowed composition is left to plan."""


class SpectrumError(GlassmapError):
    """A spectrum or its axis breaks a rule."""


class DatasetError(GlassmapError):
    """A file of spectra or a composition table can't be taken."""


class ModelError(GlassmapError):
    """A model is asked for what it can't do, or a checkpoint can't be read."""


class CampaignError(GlassmapError):
    """A campaign file holds an unknown or impossible setting."""


class StoreError(GlassmapError):
    """The campaign store is missing, damaged, not ours to write or of a later version."""


class CampaignBusy(StoreError):
    """Another process is at the campaign."""


class MissingExtra(GlassmapError):
    """An optional part of glassmap is asked for and not installed."""


class ClusterError(GlassmapError):
    """A Dask cluster can't be reached, or fails what it was asked for."""


class MeasurementError(GlassmapError):
    """A backend could not measure an alloy; `cpu_seconds` is what trying has cost, where that counts."""

    def __init__(self, message: str, *, cpu_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.cpu_seconds = cpu_seconds


class SimulationError(GlassmapError):
    """A potential, a protocol or LAMMPS itself can't be used, whatever the alloy."""
