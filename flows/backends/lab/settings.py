"""A laboratory's settings: where results arrive, how they are read, and how long a round waits for them."""

from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from glassmap.agent.config.backends import BackendSettings
from glassmap.agent.config.space import SpaceConfig, SpectrumConfig
from glassmap.agent.config.tables import TableConfig

Patience = Annotated[float, Field(ge=0, le=1_000_000)]


class Settings(BackendSettings):
    """Where results arrive, how they are read, and how long a round waits for them."""

    free: ClassVar = (
        *("drop", "table", "tolerance_at_pct", "minimum_share", "patience_hours", "quiet_seconds", "flagged"),
        "wavelength",  # of files that lack theirs
    )
    can_guide: ClassVar = False
    takes_deliveries: ClassVar = True
    knows_context: ClassVar = True

    drop: tuple[Path, ...] = Field(default=(Path("drop"),), min_length=1)
    """Folders that results arrive in; they are only read."""
    columns: Literal["q", "two_theta"]
    """What the first column of a scan of text is; instrument files say theirs."""
    wavelength: Annotated[float, Field(ge=0.05, le=5)] | None = Field(default=None, examples=[1.5406])
    """Wavelength of scans over 2θ that don't say theirs, Å; 1.5406 for Cu Kα1."""
    composition: Literal["measured", "target"] = "measured"
    """Whether a scan waits for its row of a composition table, or takes the target."""
    table: TableConfig = TableConfig()
    """How composition tables are read; a table of its own."""
    tolerance_at_pct: Annotated[float, Field(gt=0, le=20)] = 1.0
    """How far each element may be off, at.%, to match a scan by its composition."""
    minimum_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of a batch that has to be in to go on without the rest."""
    patience_hours: Patience = 72.0
    """Hours since the order before it goes on without the rest."""
    quiet_seconds: Patience = 10.0
    """Seconds that a file has to lie unchanged; else it is still being written."""
    flagged: Literal["use", "hold"] = "hold"
    """Whether flagged measurements are learned from before a person decides."""

    def check(self, space: SpaceConfig, spectrum: SpectrumConfig) -> None:
        """Refuse a campaign whose axis is left open, or whose table has a column for another element."""
        given = spectrum.model_dump(include={"low", "high", "points"})
        if missing := [name for name, value in given.items() if value is None]:
            raise ValueError(
                f"a lab's spectra need spectrum.{', spectrum.'.join(missing)}: the range in q (1/Å) that every "
                "scan covers, and the number of points of the common axis"
            )
        unknown = [element for element in self.table.columns if element not in space.elements]
        if unknown and self.table.others == "refuse":
            raise ValueError(f"backend.table.columns names {unknown[0]}, which is not among space.elements")

    def arrivals(self, folder: Path) -> set[Hashable]:
        """Return the files in the drop folders that are whole and quiet."""
        from glassmap.flows.backends.lab.drop_folders import quiet_files

        return set(quiet_files(folder, self.drop, quiet_seconds=self.quiet_seconds))
