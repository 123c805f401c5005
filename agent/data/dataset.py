"""`SpectraSet`: compositions and their spectra on one axis, read from and written to NetCDF."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glassmap.agent.atomic_file import whole_file
from glassmap.agent.data.composition import SYMBOLS, close_compositions
from glassmap.agent.data.context import Columns, Held, Value, columns_of, read_value
from glassmap.agent.data.corrections import Corrections
from glassmap.agent.data.spectrum import Preprocessing, ScaleRule, Substrate
from glassmap.agent.errors import CompositionError, DatasetError, GlassmapError, SpectrumError
from glassmap.agent.hdf5_file import hdf5_file
from glassmap.agent.shapes import Axis, AxisName, Compositions, Mask, Rows, Spectra

if TYPE_CHECKING:
    import xarray as xr  # takes half a second, so that it is imported where a file is read or written

# Accepted spellings, lower case and without blanks; the first is the one written.
AXIS_UNITS: dict[str, tuple[str, ...]] = {
    "q": ("1/angstrom", "angstrom^-1", "angstrom-1", "1/å", "å^-1", "å-1", "å⁻¹"),
    "two_theta": ("degree", "degrees", "deg", "°"),
    "r": ("angstrom", "å"),
}
AT_PCT = ("at.%", "at%", "atomic%", "atomicpercent")
_RESERVED = {"sample", "element", "intensity", "composition", *AXIS_UNITS}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, eq=False)
class SpectraSet:
    """The spectra of `n` samples on one axis, with each sample's composition.

    Raises:
        DatasetError: If there is no sample, an id repeats, an element is unknown or repeats, an extra doesn't fit,
            or the axis is 2θ and the wavelength is missing.
        CompositionError: If a composition doesn't sum to 1.
        SpectrumError: If the axis doesn't increase, or a spectrum holds NaN or nothing but zeros.
    """

    ids: tuple[str, ...]
    elements: tuple[str, ...]
    compositions: Compositions
    """Atomic fractions, shape `(n, e)`, float64."""
    axis_name: AxisName
    axis: Axis
    """q in 1/Å, 2θ in degrees or r in Å; shape `(q,)`, float64, strictly increasing."""
    intensities: Spectra
    """Intensities as the file has them, or 0-100 once prepared; shape `(n, q)`."""
    coordinates: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """What else is known of each sample, such as its wafer; the first dimension is `n`."""
    units: Mapping[str, str] = field(default_factory=dict[str, str])
    """Unit of `intensity` and of the coordinates that have one."""
    wavelength: float | None = None
    """X-ray wavelength in Å."""
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])
    """Title, source, licence and the like."""
    notes: tuple[str, ...] = ()
    """What was changed on the way in, in sentences for the user."""

    def __post_init__(self) -> None:
        self._check_samples()
        self._check_spectra()

    def _check_samples(self) -> None:
        if not self.ids:
            raise DatasetError("It holds no sample; a data set needs at least one.")
        if (most := Counter(self.ids).most_common(1)[0])[1] > 1:
            rows = [row + 1 for row, id_ in enumerate(self.ids) if id_ == most[0]]
            raise DatasetError(
                f"Rows {rows[0]} and {rows[1]} are both called {most[0]!r}; give each sample its own id."
            )
        if unknown := [element for element in self.elements if element not in SYMBOLS]:
            raise DatasetError(f"{unknown[0]!r} is no chemical symbol; write elements as in ['Co', 'V', 'Zr'].")
        if len(set(self.elements)) < len(self.elements):
            raise DatasetError(f"Elements must differ, got {list(self.elements)}; keep one column for each.")
        off = np.flatnonzero(np.abs(self.compositions.sum(axis=1) - 1) > 1e-6)
        if off.size:
            raise CompositionError(f"{self._name(off)}: atomic fractions must sum to 1; divide at.% by 100.")
        for name, values in self.coordinates.items():
            if name in _RESERVED or "/" in name or not name:
                raise DatasetError(f"An extra can't be called {name!r}: that name is taken or holds a '/'; rename it.")
            if values.shape[:1] != (len(self.ids),):
                raise DatasetError(f"{name!r} must have one entry for each of {len(self)} samples, got {values.shape}.")

    def _check_spectra(self) -> None:
        rises = np.isfinite(self.axis[1:]) & (np.diff(self.axis) > 0)
        if not (rises.size and rises.all()):
            point = int(np.argmin(rises)) if rises.size else 0
            raise SpectrumError(
                f"The axis {self.axis_name} must have 2 or more points and increase strictly, got "
                f"{self.axis[point : point + 2].tolist()} at point {point + 1}; sort it and drop repeats."
            )
        for wrong, what in (
            (~np.isfinite(self.intensities).all(axis=1), "holds NaN or infinite values"),
            (~self.intensities.any(axis=1), "is zero everywhere"),
        ):
            rows = np.flatnonzero(wrong)
            if rows.size:
                raise SpectrumError(f"{self._name(rows)}: the spectrum {what}; measure again or leave the sample out.")
        if self.axis_name == "two_theta" and self.wavelength is None:
            raise DatasetError("A 2θ axis needs the wavelength in Å (Cu Kα1: 1.5406); give it as `wavelength`.")
        if self.wavelength is not None and not 0 < self.wavelength < np.inf:
            raise DatasetError(f"The wavelength must be above 0 Å, got {self.wavelength}; Cu Kα1 is 1.5406.")

    def _name(self, rows: Rows) -> str:
        """Return the first of the rows, counted from 1, with its id, and how many there are besides."""
        others = f" (and {rows.size - 1} more)" if rows.size > 1 else ""
        return f"Row {rows[0] + 1} ({self.ids[rows[0]]}){others}"

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: Rows | Mask) -> SpectraSet:
        """Return the samples of the given rows, in that order, or those where a mask is true."""
        rows = np.arange(len(self))[rows]
        return replace(
            self,
            ids=tuple(self.ids[int(row)] for row in rows),
            compositions=self.compositions[rows],
            intensities=self.intensities[rows],
            coordinates={name: values[rows] for name, values in self.coordinates.items()},
        )

    def where(self, expression: str) -> SpectraSet:
        """Return the samples whose extras meet a condition.

        Args:
            expression: `"cleaned"` or `"not cleaned"` for a yes/no extra, `"wafer=Sample9"` or `"wafer!=Sample9"`.

        Raises:
            DatasetError: If the expression can't be read, names an unknown extra, or no sample meets it.
        """
        found = re.fullmatch(r"\s*(not\s+)?([^=!]+?)\s*(?:(!?==?)\s*(.*?)\s*)?", expression)
        if not found or found[2] not in self.coordinates:
            raise DatasetError(
                f"Can't select by {expression!r}: write NAME, 'not NAME', NAME=VALUE or NAME!=VALUE, with NAME one of "
                f"{sorted(self.coordinates)}."
            )
        negated, name, sign, value = found.groups()
        mask = self._equals(name, "true" if sign is None else value)
        mask = mask != ((negated is not None) != (sign or "").startswith("!"))
        if not mask.any():
            there = np.unique(self.coordinates[name])
            some = there[:10].tolist() + ["…"] * (there.size > 10)
            raise DatasetError(f"No sample meets {expression!r}; the values of {name!r} are {some}.")
        return self.select(mask)

    def _equals(self, name: str, value: str) -> Mask:
        """Return where an extra has the value, `"true"` and `"false"` for a yes/no extra."""
        values = self.coordinates[name]
        if values.ndim > 1:
            raise DatasetError(f"{name!r} holds {values[0].size} values a sample; select by another extra.")
        wanted: bool | float | str | None = value
        if values.dtype == bool:
            wanted = {"true": True, "false": False}.get(value.lower())
        elif values.dtype.kind in "iuf":
            wanted = float(value) if _NUMBER.fullmatch(value) else None
        if wanted is None:
            raise DatasetError(f"{name!r} can't be {value!r}; write it as in {name}={str(values[0]).lower()}.")
        return values == wanted

    def with_context(self, held: Held) -> tuple[SpectraSet, Columns]:
        """Return the samples of which the process variables are known, and these; notes say who is left out.

        Args:
            held: Which variables, each with a value as the campaign is held at it.

        Raises:
            DatasetError: If a variable is none of the extras, one is no number that has to be, no sample has them all,
                or none has a label that is held.
        """
        for name in held:
            if name not in self.coordinates or self.coordinates[name].ndim > 1:
                there = ", ".join(sorted(n for n, values in self.coordinates.items() if values.ndim == 1)) or "none"
                raise DatasetError(
                    f"The data set has no process variable {name!r}; what it says of samples is {there}."
                )
        values: dict[int, dict[str, Value]] = {}  # by row, of those that have all
        for row in range(len(self)):
            said = {name: read_value(self.coordinates[name][row], name, like) for name, like in held.items()}
            known = {name: value for name, value in said.items() if value is not None}
            if len(known) == len(held):
                values[row] = known
        if not values:
            raise DatasetError(f"No sample has a value of {' and '.join(held)}.")
        columns, rows = columns_of([*values.values()], held), [*values]
        for name, value in held.items():
            if isinstance(value, str) and value not in columns[name]:
                raise DatasetError(
                    f"No sample has {name} = {value}, at which the campaign is held; the values are "
                    f"{', '.join(np.unique(columns[name])[:10])}."
                )
        if len(rows) == len(self):
            return self, columns
        left = np.setdiff1d(np.arange(len(self)), rows)
        note = f"Left out {len(left)} samples of which {' or '.join(held)} isn't known: {self._name(left)}."
        chosen = self.select(np.array(rows))
        return replace(chosen, notes=(*self.notes, note)), columns

    def prepared(
        self,
        *,
        low: float | None = None,
        high: float | None = None,
        points: int | None = None,
        substrate: Substrate | None = None,
        corrections: Corrections | None = None,
        background: float | None = None,
        scale: ScaleRule = "maximum",
        scale_window: tuple[float, float] | None = None,
    ) -> SpectraSet:
        """Take the set through the steps of `Preprocessing`: intensities 0-100, or unscaled where the axis is r.

        Args:
            low: Start of the range, in the unit of the axis; the first point by default.
            high: End of the range; the last point by default.
            points: Length of every spectrum; by default the paper's 3743 in 2θ, else as many as the axis has within
                the range.
            substrate: Subtracted where given.
            corrections: What of the diffractometer is taken off next; put on, where the spectra were simulated.
            background: Half-width of the SNIP background taken off next, in the unit of the axis; none by default.
            scale: What of each spectrum becomes 100; see `glassmap.agent.data.spectrum.ScaleRule`.
            scale_window: Of the rule `window`, in the unit of the axis.

        Raises:
            SpectrumError: If the range isn't covered, or a spectrum can't be prepared.
        """
        if corrections is not None and self.attributes.get("potential"):
            corrections = replace(corrections, is_simulated=True)
        steps = Preprocessing.over(
            self.axis_name,
            self.axis,
            low=low,
            high=high,
            points=points,
            wavelength=self.wavelength,
            substrate=substrate,
            corrections=corrections,
            background=background,
            scale=scale,
            scale_window=scale_window,
        )
        unit = AXIS_UNITS[self.axis_name][0]
        done = [f"interpolated to {steps.points} points of {self.axis_name}, {steps.low:g} to {steps.high:g} {unit}"]
        units = dict(self.units)
        if substrate is not None:
            done.append("substrate subtracted")
        if corrections is not None:
            done.append(str(corrections))
        if background is not None:
            done.append(f"SNIP background of half-width {background:g} removed")
        if self.axis_name != "r":
            window = "" if scale_window is None else f" of {scale_window[0]:g} to {scale_window[1]:g} {unit}"
            done.append(f"scaled to a {'mean' if window else scale}{window} of 100")
            units["intensity"] = "percent"
        return replace(
            self,
            axis=steps.grid(),
            intensities=steps.prepare_all(self.axis, self.intensities),
            units=units,
            attributes={**self.attributes, "preprocessing": ", ".join(done)},
        )


def read_dataset(path: Path | str, *, variable: str = "intensity") -> SpectraSet:
    """Read a NetCDF 4 file of `intensity(sample, q|two_theta|r)` and `composition(sample, element)` in at.%.

    Every other variable with the dimension `sample` becomes an extra. Ids come from a variable `sample` or `id`,
    else from `wafer` and `scan` where these tell all samples apart, else from the row number.

    Args:
        path: File to read. Units stand in its attributes; the wavelength in Å in the global attribute `wavelength`.
        variable: What to take for the spectra, where a file holds several kinds of each sample, each on its own axis.

    Returns:
        The whole set; compositions that miss 100 at.% by no more than 0.5 are closed, and `notes` says so.

    Raises:
        DatasetError: If the file is missing, damaged or of another kind, lacks a variable, dimension or unit, or
            breaks a rule of `SpectraSet`.
        CompositionError: If a share is missing or negative, or a row misses 100 at.% by more than 0.5.
        SpectrumError: If the axis or a spectrum breaks a rule of `SpectraSet`.
    """
    path = Path(path)
    data = _load(path)
    try:
        return _from_xarray(data, variable)
    except GlassmapError as error:
        raise type(error)(f"{path}: {error}") from error
    except (ValueError, TypeError) as error:  # such as text that is none
        raise _damaged(path, error) from error


def _load(path: Path) -> xr.Dataset:
    import xarray as xr

    if not path.is_file():
        raise DatasetError(f"There is no file {path}; check the path.")
    try:
        with path.open("rb") as file:
            head = file.read(8)
        if head != b"\x89HDF\r\n\x1a\n":
            raise DatasetError(
                f"{path} is no NetCDF 4 file (it begins with {head!r}). Make one with `glassmap import`; "
                "bring NetCDF 3 to NetCDF 4 with `nccopy -k nc4 OLD.nc NEW.nc`."
            )
        _check_contents(path)
        return xr.load_dataset(  # pyright: ignore[reportUnknownMemberType]
            path, engine="h5netcdf", decode_times=False
        )  # units are kept, whatever they say
    except (GlassmapError, MemoryError):
        raise
    except Exception as error:  # what three libraries make of a damaged file, which may be anything
        raise _damaged(path, error) from error


def _check_contents(path: Path) -> None:
    """Refuse a file that would fill the memory or that takes from other files; raises OSError if it is damaged."""
    import h5py  # pyright: ignore[reportMissingTypeStubs]

    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    with h5py.File(path) as opened:
        file: Any = opened
        elsewhere = [name for name in file if isinstance(file.get(name, getlink=True), h5py.ExternalLink)]
        variables = {name: file[name] for name in file if name not in elsewhere}
        held: dict[str, Any] = {
            name: variable for name, variable in variables.items() if isinstance(variable, h5py.Dataset)
        }
        elsewhere += [name for name, variable in held.items() if variable.external or variable.is_virtual]
        declared = sum(int(variable.nbytes) for variable in held.values())
    if elsewhere:
        raise DatasetError(
            f"{path} takes {elsewhere[0]!r} from another file; a data set is one file. Copy it into the file itself."
        )
    if declared > most:
        raise DatasetError(
            f"{path} declares {declared / 2**30:,.0f} GiB, more than half of this computer's memory "
            f"({most / 2**30:,.0f} GiB). Leave out samples or points, or read it on a larger one."
        )


def _damaged(path: Path, error: Exception) -> DatasetError:
    what = str(error).strip() or type(error).__name__
    return DatasetError(
        f"{path} can't be read as NetCDF 4: {what}. It may be cut short or damaged; copy it again from where it came, "
        "or make it anew."
    )


def _from_xarray(data: xr.Dataset, variable: str) -> SpectraSet:
    axis_name = _check_layout(data, variable)
    ids, id_name = _read_ids(data)
    elements = tuple(str(element) for element in _plain(data["element"].values))
    at_pct = data["composition"].transpose("sample", "element").values.astype(np.float64)
    compositions, notes = close_compositions(
        at_pct, elements=elements, names=[f"Row {row} ({id_})" for row, id_ in enumerate(ids, start=1)]
    )
    other_axes = {name for name in AXIS_UNITS if name in data.dims and name != axis_name}
    kinds = {str(name) for name in data.data_vars if set(data[name].dims) & other_axes}  # other spectra, not extras
    taken = {variable, "composition", "element", axis_name, id_name, *other_axes, *kinds}
    extras = {str(name): data[name] for name in data.variables if name not in taken}
    if left_out := [name for name, variable in extras.items() if "sample" not in variable.dims]:
        notes.append(f"Left out, as without the dimension sample: {', '.join(sorted(left_out))}.")
    extras = {name: extras[name].transpose("sample", ...) for name in extras if name not in left_out}
    intensities = data[variable].transpose("sample", axis_name).values
    attributes = {str(name): str(value) for name, value in data.attrs.items()}
    wavelength, earlier = attributes.pop("wavelength", None), attributes.pop("notes", "")
    if wavelength is not None and not _NUMBER.fullmatch(wavelength):
        raise DatasetError(f"The attribute `wavelength` must be a number in Å, got {wavelength[:40]!r}.")
    return SpectraSet(
        ids=ids,
        elements=elements,
        compositions=compositions,
        axis_name=axis_name,
        axis=data[axis_name].values.astype(np.float64),
        intensities=intensities if intensities.dtype.kind == "f" else intensities.astype(np.float64),
        coordinates={name: _plain(variable.values) for name, variable in extras.items()},
        units={
            name: str(data[source].attrs["units"])
            for name, source in {"intensity": variable, **{name: name for name in extras}}.items()
            if "units" in data[source].attrs
        },
        wavelength=None if wavelength is None else float(wavelength),
        attributes=attributes,
        notes=(*(note for note in earlier.split("\n") if note), *notes),
    )


def _check_layout(data: xr.Dataset, variable: str) -> AxisName:
    """Return the name of the spectra's axis, once variables, dimensions and units are there."""
    rule = f"A data set holds {variable}(sample, q|two_theta|r) and composition(sample, element)"
    for name in (variable, "composition"):
        if name not in data.variables:
            raise DatasetError(f"There is no variable {name!r} among {sorted(map(str, data.variables))}. {rule}.")
    intensity, composition = data[variable], data["composition"]
    axis_names: list[AxisName] = [name for name in ("q", "two_theta", "r") if name in intensity.dims]
    if len(axis_names) != 1 or set(intensity.dims) != {"sample", *axis_names}:
        raise DatasetError(f"The dimensions of {variable} are {intensity.dims}. {rule}.")
    if set(composition.dims) != {"sample", "element"}:
        raise DatasetError(f"The dimensions of composition are {composition.dims}. {rule}.")
    for name in (axis_names[0], "element"):
        if name not in data.variables:
            raise DatasetError(f"There is no variable {name!r} with the values of that dimension; add it.")
    for name in (variable, "composition", axis_names[0]):
        if data[name].dtype.kind not in "iuf":
            raise DatasetError(f"{name} must hold numbers, got {data[name].dtype}; write it as floating point.")
    for name, known in ((axis_names[0], AXIS_UNITS[axis_names[0]]), ("composition", AT_PCT)):
        unit = str(data[name].attrs.get("units", ""))
        if re.sub(r"\s", "", unit).casefold() not in known:
            raise DatasetError(
                f"The unit of {name} must be {known[0]!r}, got {unit!r}; "
                "convert the values and correct the attribute `units`."
            )
    return axis_names[0]


def _read_ids(data: xr.Dataset) -> tuple[tuple[str, ...], str]:
    """Return the samples' ids, and the variable they were found in, if any."""
    for name in ("sample", "id"):
        if name in data.variables and data[name].dims == ("sample",):
            return tuple(str(value) for value in _plain(data[name].values)), name
    if all(name in data.variables and data[name].dims == ("sample",) for name in ("wafer", "scan")):
        pairs = zip(data["wafer"].values, data["scan"].values, strict=True)
        ids = tuple(f"{wafer}-{str(scan).zfill(4)}" for wafer, scan in pairs)
        if len(set(ids)) == len(ids):
            return ids, ""
    return tuple(f"{row + 1:04d}" for row in range(data.sizes["sample"])), ""


def write_dataset(
    spectra: SpectraSet,
    path: Path | str,
    *,
    also: Mapping[str, SpectraSet] | None = None,
    resolution: Mapping[str, float] | None = None,
) -> None:
    """Write one NetCDF 4 file that `read_dataset` reads back; the file is there whole or not at all.

    All comes back identical but compositions, which the file holds in at.%: they may differ in the last bits.

    Args:
        spectra: The samples, with the kind of spectra that is read by default.
        path: File to write.
        also: Other kinds of spectra of the same samples in the same order, each on another axis, by the name of their
            variable.
        resolution: Step to which a kind of spectra (`intensity` or a name of `also`) is rounded, so that the file
            holds two bytes a point.

    Raises:
        DatasetError: If the file can't be written, other kinds are not of the same samples, or a spectrum exceeds
            32767 steps of its resolution.
    """
    import xarray as xr

    path = Path(path)
    variables: dict[str, tuple[Any, ...]] = {  # dimensions, values and, where there are some, attributes
        "sample": ("sample", np.array(spectra.ids)),
        "element": ("element", np.array(spectra.elements)),
        "composition": (("sample", "element"), spectra.compositions * 100, {"units": AT_PCT[0]}),
    }
    kinds = {"intensity": spectra, **(also or {})}
    for name, kind in kinds.items():
        if kind.ids != spectra.ids or (name != "intensity" and kind.axis_name == spectra.axis_name):
            raise DatasetError(f"The spectra {name!r} must be of the same samples and on another axis than the first.")
        axis_units = {"units": AXIS_UNITS[kind.axis_name][0]}
        variables[kind.axis_name] = (kind.axis_name, kind.axis, axis_units)
        variables[name] = (("sample", kind.axis_name), kind.intensities)
        step = (resolution or {}).get(name)
        if step is not None and np.abs(kind.intensities).max() / step > np.iinfo(np.int16).max:
            raise DatasetError(f"{name} reaches {np.abs(kind.intensities).max():g}: too much for steps of {step:g}.")
    for name, values in spectra.coordinates.items():
        variables[name] = (("sample", *(f"{name}_{k}" for k in range(1, values.ndim))), values)
    data = xr.Dataset(variables, attrs={**spectra.attributes})
    for name, unit in spectra.units.items():
        data[name].attrs["units"] = unit
    for name, kind in kinds.items():
        if "intensity" in kind.units:
            data[name].attrs["units"] = kind.units["intensity"]
    if spectra.wavelength is not None:
        data.attrs["wavelength"] = spectra.wavelength
    if spectra.notes:
        data.attrs["notes"] = "\n".join(spectra.notes)
    # The checksum finds flipped bits
    packing: dict[str, Any] = {"zlib": True, "complevel": 4, "shuffle": True, "fletcher32": True}
    try:
        encoding = {str(name): packing for name in data.variables if data[name].dtype.kind in "iuf"}
        for name, step in (resolution or {}).items():
            encoding[name] = packing | {"dtype": "int16", "scale_factor": step, "_FillValue": np.iinfo(np.int16).min}
        with whole_file(path) as partial, hdf5_file(partial) as file:
            data.to_netcdf(  # pyright: ignore[reportUnknownMemberType]
                file, engine="h5netcdf", encoding=encoding
            )
    except OSError as error:
        raise DatasetError(f"{path} can't be written: {error}. Check the folder and the space left.") from error


def _plain(values: np.ndarray) -> np.ndarray:
    """Return text as NumPy text, and everything else as it is."""
    return values.astype(str) if values.dtype.kind in "OS" else values
