"""Wafers: the alloys that exist, the chamber that could make others, and what either costs."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from glassmap.agent.config.settings import Settings
from glassmap.agent.config.tables import TableConfig
from glassmap.agent.data.composition import parse_composition
from glassmap.agent.peaks.atomic_volume import atomic_volumes
from glassmap.agent.planning.sputtering import Chamber, Gun

Millimetres = Annotated[float, Field(gt=0, le=10_000)]
Watts = Annotated[float, Field(gt=0, le=1e6)]
PowerOrOff = Annotated[float, Field(ge=0, le=1e6)]  # W
Minutes = Annotated[float, Field(gt=0, le=1e6)]
Nanometres = Annotated[float, Field(gt=0, le=1e9)]
CostHours = Annotated[float, Field(ge=0, le=1e6)]


class CandidatesConfig(TableConfig):
    """The alloys that exist, of which batches are chosen; see `glassmap.agent.data.samples.read_samples`."""

    free: ClassVar = ("table", "sample", "columns", "unit", "others")  # more may come; what is ordered stays as it is

    table: tuple[Path, ...] = Field(min_length=1, examples=[["wafers.csv"]])
    """Tables (CSV, spreadsheets) or data sets of the samples that exist: sample, wafer, x and y (mm), at.%."""

    @field_validator("table", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, str | Path) else value


class GunConfig(Settings):
    """A sputter gun: what it holds, where it stands, what it gives."""

    target: str = Field(examples=["Co"])
    """What it sputters: an element or an alloy, such as Co or Co50Zr50 (at.%)."""
    azimuth: Annotated[float, Field(ge=-360, le=360)] = Field(examples=[0.0])
    """Where it stands, degrees about the wafer's centre from +x towards +y."""
    tilt: Annotated[float, Field(ge=0, lt=90)] = Field(examples=[30.0])
    """Degrees from the wafer's normal, as the centre of the wafer sees it."""
    distance: Millimetres = Field(examples=[120.0])
    """From the gun to the centre of the wafer, mm."""
    aim: Annotated[float, Field(ge=-1000, le=1000)] = 0.0
    """Where its axis meets the wafer, mm from the centre towards the gun."""
    rate: Annotated[float, Field(gt=0, le=1e6)] = Field(examples=[5.0])
    """Deposition rate at the centre of the wafer at `power`, nm/min."""
    power: Watts = Field(examples=[100.0])
    """The power at which `rate` was found, W."""
    powers: tuple[Watts, Watts] = Field(examples=[[20.0, 200.0]])
    """Lowest and highest power, W."""
    exponent: Annotated[float, Field(gt=0, le=50)] = 1.0
    """Exponent of the cosine that it emits by."""

    @field_validator("powers")
    @classmethod
    def _rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"powers must be [lowest, highest], got {list(value)}; swap them")
        return value


class MadeWafer(TableConfig):
    """A wafer that was made before: the powers it was made at, and the table that says what it holds."""

    table: Path = Field(examples=["w001.csv"])
    """The table of what it holds, as those of [candidates]."""
    wafer: str | None = Field(default=None, examples=["w001"])
    """The wafer's name in the table; may be left out where that holds no other."""
    powers: tuple[PowerOrOff, ...] | None = Field(default=None, examples=[[100.0, 100.0, 0.0]])
    """Power of each gun in their order, W, 0 where it was off; left out where nobody knows them."""
    minutes: Minutes | None = Field(default=None, examples=[30.0])
    """Minutes of deposition."""
    thickness: Nanometres | None = Field(default=None, examples=[300.0])
    """Thickness measured at the centre, nm."""

    @model_validator(mode="after")
    def _has_both(self) -> "MadeWafer":
        if self.thickness is not None and (self.minutes is None or self.powers is None):
            raise ValueError(
                "a thickness tells rates where powers and minutes are known, too; add them or leave it out"
            )
        return self


class WaferConfig(Settings):
    """The chamber; see `glassmap.agent.planning.sputtering`."""

    free: ClassVar = ("diameter", "pitch", "edge", "minutes", "thickness", "guns", "made")

    diameter: Millimetres = 100.0
    """Of a wafer, mm."""
    edge: Annotated[float, Field(ge=0, le=1000)] = 5.0
    """Millimetres from the rim that hold no point."""
    pitch: Millimetres = 3.0
    """Between the points of the grid that is measured, mm."""
    guns: tuple[GunConfig, ...] = Field(min_length=1)
    """The sputter guns, a table [[wafer.guns]] each."""
    minutes: Minutes | None = Field(default=None, examples=[30.0])
    """Minutes of deposition; this or `thickness`."""
    thickness: Nanometres | None = Field(default=None, examples=[300.0])
    """How thick the centre is to become, nm; this or `minutes`."""
    made: tuple[MadeWafer, ...] = ()
    """Wafers that were made, to calibrate rates and exponents by, a table [[wafer.made]] each."""

    @model_validator(mode="after")
    def _fits(self) -> "WaferConfig":
        if (self.minutes is None) == (self.thickness is None):
            raise ValueError("say either minutes or thickness (nm), which the centre is to have")
        if self.edge >= self.diameter / 2:
            raise ValueError(
                f"edge must leave some of the wafer, got {self.edge:g} mm of a radius {self.diameter / 2:g}"
            )
        for one in self.made:
            if one.powers is not None and (len(one.powers) != len(self.guns) or not any(one.powers)):
                raise ValueError(
                    f"made.powers need one a gun, {len(self.guns)}, 0 where it was off, got {list(one.powers)}"
                )
        return self

    def resolved(self, folder: Path) -> "WaferConfig":
        """Return the table with its paths taken from the campaign file's folder."""
        return self.model_copy(update={"made": tuple(one.resolved(folder) for one in self.made)})

    def chamber(self, elements: Sequence[str]) -> Chamber:
        """Return the chamber as the file describes it.

        Args:
            elements: Of the campaign, in its order.

        Raises:
            CompositionError: If a target can't be read or holds another element, or an element's density isn't known.
        """
        atomic_volumes(elements)
        of_one = {element: f"{element}100" for element in elements}
        guns = [
            Gun(
                name,
                parse_composition(of_one.get(gun.target, gun.target), elements),
                **gun.model_dump(exclude={"target"}),
            )
            for name, gun in zip(self.names, self.guns, strict=True)
        ]
        return Chamber(tuple(elements), tuple(guns))

    @property
    def names(self) -> tuple[str, ...]:
        """What the guns are called: their targets, numbered where two hold the same, such as Co and Zr-2."""
        seen = Counter[str]()
        names = list[str]()
        for gun in self.guns:
            seen[gun.target] += 1
            names.append(gun.target if seen[gun.target] == 1 else f"{gun.target}-{seen[gun.target]}")
        return tuple(names)


class CostConfig(Settings):
    """What measuring costs, h of work or beam."""

    wafer: CostHours = 8.0
    """Hours to make, mount and align a wafer."""
    point: CostHours = 0.05
    """Hours to measure one of its points."""

    def of(self, wafers: int, points: int) -> float:
        """Return the hours of so many wafers with so many points in all."""
        return math.fsum((self.wafer * wafers, self.point * points))
