"""glassmap plans the experiments of an alloy campaign and maps where metallic glass forms.

The names below are the public Python API; docs/python.md shows each at work. They are loaded when they are first asked
for, so that `import glassmap` costs nothing and nobody waits for a library that they don't use.

The folders beside this file are links: `glassmap.agent` is the folder `agent` of the repository.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glassmap.agent.config.campaign import CampaignConfig
    from glassmap.agent.data.composition import CompositionSpace
    from glassmap.agent.data.context import Context
    from glassmap.agent.data.dataset import SpectraSet, read_dataset
    from glassmap.agent.data.scan_files import read_scan, read_scans
    from glassmap.agent.errors import GlassmapError
    from glassmap.agent.models.baselines import BASELINES
    from glassmap.agent.models.config import TrainingConfig
    from glassmap.agent.models.ensemble import Ensemble
    from glassmap.agent.peaks.batched import measure_peaks
    from glassmap.agent.peaks.reference import fit_peak
    from glassmap.agent.planning.acquisition import plan_batch
    from glassmap.flows.campaign import Campaign
    from glassmap.flows.planner import Planner

__version__ = "0.9.0"  # of the package as well; stores, workers and shards of a map compare it

__all__ = [
    "BASELINES",
    "Campaign",
    "CampaignConfig",
    "CompositionSpace",
    "Context",
    "Ensemble",
    "GlassmapError",
    "Planner",
    "SpectraSet",
    "TrainingConfig",
    "__version__",
    "fit_peak",
    "measure_peaks",
    "plan_batch",
    "read_dataset",
    "read_scan",
    "read_scans",
]

_HOMES = {
    "BASELINES": "glassmap.agent.models.baselines",
    "Campaign": "glassmap.flows.campaign",
    "CampaignConfig": "glassmap.agent.config.campaign",
    "CompositionSpace": "glassmap.agent.data.composition",
    "Context": "glassmap.agent.data.context",
    "Ensemble": "glassmap.agent.models.ensemble",
    "GlassmapError": "glassmap.agent.errors",
    "Planner": "glassmap.flows.planner",
    "SpectraSet": "glassmap.agent.data.dataset",
    "TrainingConfig": "glassmap.agent.models.config",
    "fit_peak": "glassmap.agent.peaks.reference",
    "measure_peaks": "glassmap.agent.peaks.batched",
    "plan_batch": "glassmap.agent.planning.acquisition",
    "read_dataset": "glassmap.agent.data.dataset",
    "read_scan": "glassmap.agent.data.scan_files",
    "read_scans": "glassmap.agent.data.scan_files",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for (PEP 562).

    Raises:
        AttributeError: If there is no such name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'glassmap' has no attribute {name!r}; it offers {', '.join(__all__)}.")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what is public, loaded or not."""
    return sorted({*globals(), *__all__})
