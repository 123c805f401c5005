"""What a campaign looks for: the alloys of its space, and the axis of their spectra."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from glassmap.agent.config.settings import Settings
from glassmap.agent.data.composition import SYMBOLS, CompositionSpace
from glassmap.agent.data.context import Held, Value, label_of
from glassmap.agent.data.exported import EXTRAS
from glassmap.agent.errors import CompositionError, DatasetError, GlassmapError, SpectrumError
from glassmap.agent.shapes import AxisName

if TYPE_CHECKING:
    from glassmap.agent.data.spectrum import Substrate

LAB_POINTS = 800  # of a laboratory's common axis: 0.004 1/Å over the usual range, finer than a glass's peak by far
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
    """The system's elements, such as ["Co", "V", "Zr"]; axes of maps and columns of tables keep this order."""
    step_at_pct: Annotated[int, Field(gt=0, le=100)] = 1
    """Step of the composition grid, at.%; 100 must be a multiple of it."""
    bounds_at_pct: dict[str, tuple[AtPct, AtPct]] = Field(default={}, examples=[{"Co": [5, 85]}])
    """Lowest and highest share of an element, at.%, such as {Co = [5, 85]}."""
    edges: bool = False
    """Whether alloys that lack an element belong to the space: those on the edges and corners of the simplex."""
    max_elements: Annotated[int, Field(gt=0, le=118)] | None = Field(default=None, examples=[3])
    """Most elements that an alloy may hold, such as 3 of 5; needs edges."""
    limits: tuple[str, ...] = Field(default=(), examples=[["V + Zr >= 20"]])
    """Further linear limits, at.%, such as ["V + Zr >= 20"]."""
    context: dict[str, ContextValue | tuple[ContextValue, ...]] = Field(
        default={}, examples=[{"deposition_rate": "high"}]
    )
    """Process variables, such as {deposition_rate = "high"}, held at this value; a list makes a map for each."""

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

    anode: Literal["Cr", "Fe", "Co", "Cu", "Mo", "Ag"] = Field(examples=["Cu"])
    """Anode of the tube; its Kα lines are what the corrections go by."""
    polarization: Literal["removed", "kept"] | None = Field(default=None, examples=["removed"])
    """The polarization factor: divided out of scans, or kept there and put on simulated spectra."""
    lorentz: Literal["removed", "kept"] | None = Field(default=None, examples=["removed"])
    """The Lorentz factor, in the same way; halos have none."""
    monochromator: Annotated[float, Field(gt=0, lt=180)] | None = Field(default=None, examples=[26.6])
    """2θ of a monochromator, degrees; 26.6 for graphite and Cu Kα."""
    k_alpha2: Annotated[float, Field(gt=0, lt=1)] | None = Field(default=None, examples=[0.5])
    """Intensity of Kα2 over that of Kα1, near 0.5; its share is stripped from scans."""
    instrument_width: Annotated[float, Field(gt=0, le=5)] | None = Field(default=None, examples=[0.1])
    """The instrument's line width at half maximum, degrees of 2θ; taken off."""

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

    low: OnAxis | None = Field(default=None, examples=[1.5])
    """Where the common axis begins, in its unit (1/Å, degrees or Å); every scan has to reach it."""
    high: OnAxis | None = Field(default=None, examples=[4.5])
    """Where the common axis ends, in its unit; every scan has to reach it."""
    points: Annotated[int, Field(gt=0, le=100_000)] | None = Field(default=None, examples=[800])
    """Points of the common axis, evenly spaced."""
    substrate: Path | None = Field(default=None, examples=["substrate.xy"])
    """A scan of the bare substrate, subtracted from every spectrum; over what they are, where it doesn't say it."""
    substrate_scale: Factor | Literal["fit"] = 1.0
    """Factor of the substrate's scan; "fit" takes as much of it as each film lets through."""
    corrections: CorrectionsConfig | None = None
    """What of a diffractometer is taken off every scan; a table of its own."""
    background: OnAxis | None = Field(default=None, examples=[0.5])
    """Half-width of the SNIP background that is removed, in the axis's unit; none by default."""
    scale: Literal["maximum", "smoothed maximum", "window"] = "smoothed maximum"
    """What of each spectrum becomes 100."""
    scale_window: tuple[OnAxis, OnAxis] | None = Field(default=None, examples=[[2.0, 3.5]])
    """Range whose mean becomes 100 where scale = "window", in the axis's unit, such as the halo's."""

    def read(self, axis: AxisName = "q", wavelength: float | None = None) -> dict[str, Any]:
        """Return the settings of `glassmap.agent.data.spectrum.Preprocessing`, with the substrate's scan read.

        Args:
            axis: What the spectra are over, and the substrate's scan where it doesn't say it.
            wavelength: Of the spectra, Å, and of a scan of the substrate that doesn't say its own.

        Raises:
            DatasetError: If the substrate's scan can't be read.
            SpectrumError: As well, or if the spectra are over r.
        """
        given = self.model_dump(exclude={"substrate_scale"})
        if self.substrate is not None:
            given["substrate"] = self._read_substrate(self.substrate, axis, wavelength)
        if self.corrections is not None:
            from glassmap.agent.data.corrections import Corrections

            given["corrections"] = Corrections(**self.corrections.model_dump())
        return given

    def _read_substrate(self, path: Path, axis: AxisName, wavelength: float | None) -> "Substrate":
        """Read the scan of the bare substrate, brought to what the spectra are over."""
        from glassmap.agent.data.scan_files import read_raw_scan  # both slower than all settings together
        from glassmap.agent.data.spectrum import Substrate, q_axis, two_theta_from_q

        if axis == "r":
            raise SpectrumError("g(r) has no substrate to subtract; leave spectrum.substrate out.")
        try:
            scan = read_raw_scan(path, wavelength=wavelength)  # over what its header says
        except DatasetError:
            try:
                scan = read_raw_scan(path, axis=axis, wavelength=wavelength)
            except GlassmapError as error:
                over = "q" if axis == "q" else "2theta"
                raise type(error)(
                    f"spectrum.substrate: {error} Columns without a header are taken to be over {over}, as the spectra "
                    "are; `2theta counts` or `q counts` as their first line says it."
                ) from error
        points = q_axis(scan.axis_name, scan.axis, scan.wavelength)
        if points is None:
            raise SpectrumError(f"spectrum.substrate: {path.name} is over r; a substrate's scan is over q or 2θ.")
        if axis == "two_theta":
            assert wavelength is not None, "spectra over 2θ have a wavelength"
            same = scan.axis_name == axis
            points = scan.axis if same else two_theta_from_q(points, wavelength=wavelength)
        return Substrate(points, scan.intensity, None if self.substrate_scale == "fit" else self.substrate_scale)
