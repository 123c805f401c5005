"""The backends there are, by the kind that a campaign file names."""

from collections.abc import Callable
from pathlib import Path

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.flows.backends.lab.backend import Laboratory
from glassmap.flows.backends.protocol import MeasurementBackend
from glassmap.flows.backends.replay import Replay
from glassmap.flows.backends.simulation import MolecularDynamics

BACKENDS: dict[str, Callable[[CampaignConfig, Path], MeasurementBackend]] = {
    "replay": Replay,
    "simulation": MolecularDynamics,
    "lab": Laboratory,
}
