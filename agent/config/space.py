"""What a campaign looks for: the alloys of its space, and the axis of their spectra."""

from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from glassmap.agent.config.settings import Settings
from glassmap.agent.data.composition import SYMBOLS, CompositionSpace
from glassmap.agent.data.context import Held, Value, label_of
from glassmap.agent.data.exported import EXTRAS
from glassmap.agent.errors import CompositionError

AtPct = Annotated[float, Field(ge=0, le=100)]
Factor = Annotated[float, Field(gt=0, le=1e6)]
ContextValue = Annotated[float, Field(strict=True, ge=-1e9, le=1e9)] | Annotated[str, Field(max_length=100)]
OnAxis = Annotated[float, Field(ge=0, le=10_000)]  # 1/Å, degrees or Å

# What a data set, a composition table or a point told from Python calls something else
_TAKEN = {"_id", "file", "sample", "id", "composition", "intensity", "q", "two_theta", "r", "wavelength"} | {
    *("state", "remark", "target", "counts", "hash", "notes", *EXTRAS)  # what orders and exports say beside
}


class SpaceConfig(Settings):
    """The alloys that may be planned; see `glassmap.agent.data.composition.CompositionSpace`."""

    free: ClassVar = ("step_at_pct", "bounds_at_pct", "edges", "max_elements", "limits")  # from the next plan on

    elements: tuple[str, ...]
    step_at_pct: Annotated[int, Field(gt=0, le=100)] = 1
    bounds_at_pct: dict[str, tuple[AtPct, AtPct]] = Field(default={})
    edges: bool = False
    max_elements: Annotated[int, Field(gt=0, le=118)] | None = None
    limits: tuple[str, ...] = ()
    # Process variables beside the composition, such as {deposition_rate = "high"}: every model learns each spectrum's
    # own, and plans and maps are held at these values. A list gives a map a value; its first is the one that counts.
    context: dict[str, ContextValue | tuple[ContextValue, ...]] = Field(default={})

    @field_validator("context")
    @classmethod
    def _is_a_context(cls, context: dict[str, Value | tuple[Value, ...]]) -> dict[str, Value | tuple[Value, ...]]:
        for name, values in context.items():
            if not name.strip() or name in _TAKEN or name in SYMBOLS:
                raise ValueError(f"a process variable can't be called {name!r}: that name is taken; rename it")
            each = values if isinstance(values, tuple) else (values,)
            if not each or len({type(value) for value in each}) > 1 or len(set(each)) < len(each) or "" in each:
                raise ValueError(
                    f"{name} must be held at one number or label, or at several different ones of a kind, got "
                    f"{list(each)}"
                )
        return {
            name: tuple(map(_as_read, values)) if isinstance(values, tuple) else _as_read(values)
            for name, values in context.items()
        }

    @property
    def held(self) -> Held:
        """The values at which rounds plan, map and decide; empty without a context."""
        return self.contexts[0]

    @property
    def contexts(self) -> list[Held]:
        """The values of every map, those of `held` first."""
        each = (values if isinstance(values, tuple) else (values,) for values in self.context.values())
        return [dict(zip(self.context, values, strict=True)) for values in product(*each)]

    @model_validator(mode="after")
    def _is_a_space(self) -> "SpaceConfig":
        try:
            self.build()
        except CompositionError as error:
            raise ValueError(str(error)) from error
        return self

    def build(self) -> CompositionSpace:
        """Return the space itself."""
        return CompositionSpace(**self.model_dump(exclude={"context"}))


def _as_read(value: Value) -> Value:
    """Return a label as samples have it."""
    return label_of(value) if isinstance(value, str) else value


class CorrectionsConfig(Settings):
    """What of a diffractometer is taken off every scan; see `glassmap.agent.data.corrections.Corrections`."""

    anode: Literal["Cr", "Fe", "Co", "Cu", "Mo", "Ag"]
    polarization: Literal["removed", "kept"] | None = None  # divided out of scans, or put on simulated spectra
    lorentz: Literal["removed", "kept"] | None = None  # the same; halos have none
    monochromator: Annotated[float, Field(gt=0, lt=180)] | None = None  # its 2θ in degrees; graphite, Cu Kα: 26.6
    k_alpha2: Annotated[float, Field(gt=0, lt=1)] | None = None  # stripped; its intensity over that of Kα1, near 0.5
    instrument_width: Annotated[float, Field(gt=0, le=5)] | None = None  # degrees of 2θ, at half maximum; taken off

    @model_validator(mode="after")
    def _does_something(self) -> "CorrectionsConfig":
        if self.monochromator is not None and self.polarization is None:
            raise ValueError(
                f"a monochromator changes the polarization alone, got one at {self.monochromator:g}° and no "
                'polarization: set polarization = "removed", or leave it out'
            )
        if not (self.polarization or self.lorentz or self.k_alpha2 or self.instrument_width):
            raise ValueError(
                "corrections need one to make besides the anode: polarization, lorentz, k_alpha2 or instrument_width"
            )
        return self


class SpectrumConfig(Settings):
    """The common axis of all spectra; what isn't set is the data set's own."""

    free: ClassVar = ("substrate",)  # the file may move; what it holds is watched by the backend's fingerprint

    low: OnAxis | None = None
    high: OnAxis | None = None
    points: Annotated[int, Field(gt=0, le=100_000)] | None = None
    substrate: Path | None = None  # a two-column scan of the bare substrate, subtracted from every spectrum …
    substrate_scale: Factor | Literal["fit"] = 1.0  # … times this; "fit" takes as much as each film lets through
    corrections: CorrectionsConfig | None = None  # of a diffractometer's scans
    background: OnAxis | None = None  # half-width of the SNIP background that is removed; see `agent.data.spectrum`
    scale: Literal["maximum", "smoothed maximum", "window"] = "smoothed maximum"  # what of each becomes 100 …
    scale_window: tuple[OnAxis, OnAxis] | None = None  # … of "window": its mean over this range, such as the halo's

    def read(self) -> dict[str, Any]:
        """Return the settings of `glassmap.agent.data.spectrum.Preprocessing`, with the substrate's scan read."""
        given = self.model_dump(exclude={"substrate_scale"})
        if self.substrate is not None:
            from glassmap.agent.data.scan_files import read_raw_scan  # both slower than all settings together
            from glassmap.agent.data.spectrum import Substrate, q_axis

            scan = read_raw_scan(self.substrate, axis="q")
            q = q_axis(scan.axis_name, scan.axis, scan.wavelength)
            assert q is not None, "no scan of a substrate is over r"
            scale = None if self.substrate_scale == "fit" else self.substrate_scale
            given["substrate"] = Substrate(q, scan.intensity, scale)
        if self.corrections is not None:
            from glassmap.agent.data.corrections import Corrections

            given["corrections"] = Corrections(**self.corrections.model_dump())
        return given
