"""Who measures, as a campaign file says it: the one list of backends, and what their settings have in common.

A backend is a file that has its settings, a class `Settings`, and a function `open_backend` beside it; see
`glassmap.flows.backends.protocol`. It is imported when a campaign asks for it, so nothing here knows it.
"""

from collections.abc import Hashable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, cast

from pydantic import BeforeValidator, Field, SerializeAsAny

from glassmap.agent.config.settings import Count, Settings
from glassmap.agent.config.space import SpaceConfig, SpectrumConfig

# The file of each kind; a new backend is such a file and a line here.
BACKENDS = {
    "replay": "glassmap.flows.backends.replay",
    "simulation": "glassmap.flows.backends.simulation",
    "lab": "glassmap.flows.backends.lab.backend",
}
FIRST_KIND = "replay"  # of a table that doesn't say its kind


class BackendSettings(Settings):
    """The table `[backend]`: its kind, and what follows from it before anything is measured."""

    can_guide: ClassVar[bool] = True  # may go first, and show where measuring is worth it
    takes_deliveries: ClassVar[bool] = False  # orders go out, and people or programs bring what they have measured
    knows_context: ClassVar[bool] = False  # its samples have process variables, `[space] context`

    has_own_samples: ClassVar[bool] = False  # plans among samples that it knows, as those of a data set

    kind: str = Field(examples=["simulation"])
    """Who measures: replay (a data set), simulation or lab."""

    @property
    def has_test_set(self) -> bool:
        """Whether the backend has measured alloys that are never planned, to judge a model by."""
        return False

    def check(self, space: SpaceConfig, spectrum: SpectrumConfig) -> None:
        """Refuse a campaign that this backend can't measure; by default it can measure every one.

        Args:
            space: The campaign's alloys.
            spectrum: The axis of its spectra.

        Raises:
            ValueError: Says which setting, and what it must be.
        """

    def arrivals(self, folder: Path) -> set[Hashable]:
        """Return what lies there to be taken in, so that something new is noticed; by default nothing arrives.

        Args:
            folder: The campaign's.
        """
        return set()


def module_of(kind: str) -> ModuleType:
    """Return the file of a backend, `Settings` and `open_backend` in it."""
    return import_module(BACKENDS[kind])


def settings_of(kind: str) -> type[BackendSettings]:
    """Return the class of the settings of a kind."""
    return module_of(kind).Settings


def kind_of(table: Mapping[str, Any]) -> str:
    """Return the kind that a table of settings says, or means by not saying it."""
    return str(table.get("kind", FIRST_KIND))


def _read(table: Any) -> Any:
    """Read a table by the settings of its kind; what is wrong in it is reported with its place."""
    if not isinstance(table, Mapping):
        return table
    given = cast("Mapping[str, Any]", table)
    if (kind := kind_of(given)) not in BACKENDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, BACKENDS))}, got {kind!r}")
    return settings_of(kind).model_validate({**given, "kind": kind})


AnyBackend = Annotated[SerializeAsAny[BackendSettings], BeforeValidator(_read)]


class GuideConfig(Settings):
    """Another backend that goes first, such as a simulation, to show where measuring is worth it."""

    backend: AnyBackend
    """Who goes first; settings as in [backend]."""
    rounds: Count = 3
    """Rounds of the guide; then the campaign's own backend begins."""
