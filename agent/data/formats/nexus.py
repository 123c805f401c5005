"""NeXus and other HDF5: the NXdata of integrated patterns and diffractometer scans, units by their attribute `units`.

Layouts: the NeXus manual (signal, axes and default as attributes; the older `signal=1` on the dataset), pyFAI's results
(a pattern or a stack of them over q_nm^-1, q_A^-1, 2th_deg or 2th_rad; its configuration holds the wavelength in m),
NXmonopd and NXxrd_pan.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from glassmap.agent.data.formats.hdf5 import Dataset, Group, datasets_of, groups_in, member, read_tree
from glassmap.agent.data.formats.headers import KEV_ANGSTROM
from glassmap.agent.data.formats.markup import (
    SAME_TIME,
    counted,
    incidence,
    mean_of_lines,
    name_anode,
    name_line,
)
from glassmap.agent.data.formats.parts import Format, Part
from glassmap.agent.data.raw_scan import K_ALPHA_RATIO
from glassmap.agent.errors import DatasetError
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import AxisName, PerTaken, ScanAxis

SUFFIXES = (".nxs", ".nx", ".h5", ".hdf5", ".hdf")
MAX_SCANS = 20_000
SAME_WAVELENGTH = 1e-3  # relative

_ANGSTROM = {
    **dict.fromkeys(("a", "å", "aa", "ang", "angstrom", "angstroms", "ångström"), 1.0),
    "nm": 10.0, "pm": 0.01, "m": 1e10,
}  # fmt: skip
_MM = {"mm": 1.0, "millimeter": 1.0, **dict.fromkeys(("um", "µm", "μm", "micrometer"), 1e-3), "cm": 10.0, "m": 1e3}
_KEV = {"kev": 1.0, "ev": 1e-3}
_SECONDS = {**dict.fromkeys(("s", "sec", "second", "seconds"), 1.0), "ms": 1e-3}
_KELVIN = {"k": 1.0, "kelvin": 1.0}
_DEGREES, _RADIANS = ("deg", "degree", "degrees", "°", "2th_deg"), ("rad", "radian", "radians", "2th_rad")
_TWO_THETA = re.compile(
    r"((2|two)[\s_-]?(th(eta)?|θ)|tth(eta)?)(_(deg|rad))?|(polar|scattering)_angle|radial(_axis)?|x"
)
_Q = re.compile(r"q(_?(norm|nm\^-1|a\^-1))?|polar_angle|radial(_axis)?|scattering_vector|momentum_transfer|x")
_X = re.compile(r"x|(sample|stage|s)_?x|sam_?x|x_?(position|translation|stage)")
_Y = re.compile(r"y|(sample|stage|s)_?y|sam_?y|y_?(position|translation|stage)")
_SERIES = re.compile(r"(frame|image|point|scan|index|number|time|t|n)(_?(number|index|nr|id|stamp))?")
_SIGNALS = ("intensity", "data", "counts", "i")
_COUNTS = ("counts", "count", "cts")
_NOBODY = ("sample", "unknown", "none", "")  # what programs write where nobody named the sample


class _Axis(NamedTuple):
    """What a scan is over."""

    dimension: int  # of the signal
    dataset: Dataset
    name: AxisName
    factor: float  # to degrees, 1/Å or Å


class _Entry(NamedTuple):
    """One NXentry, and the root of its file."""

    root: Group
    group: Group

    def datasets(self, is_wanted: Callable[[Group], bool]) -> Iterator[tuple[str, Dataset, Group]]:
        """Yield the datasets of those of its groups that are wanted: name in lower case, itself, its group."""
        for group in groups_in(self.group):
            if is_wanted(group):
                yield from ((name, dataset, group) for name, dataset in datasets_of(self.root, group))


def _is_hdf5(content: bytes, suffix: str) -> bool:
    return content.startswith(b"\x89HDF\r\n\x1a\n")


def _read_hdf5(content: bytes, suffix: str) -> list[Part]:
    """Read the scans of all entries of a file.

    Raises:
        DatasetError: If it is damaged, holds no scan over 2θ, q or r with units, or needs another file.
    """
    try:
        root, file = read_tree(content)
        with file:
            return _read_entries(root)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:  # of h5py
        said = visible(str(error).strip("'\" \n").splitlines()[0])[:120] if str(error).strip("'\" \n") else "damaged"
        raise DatasetError(
            f"It is no whole HDF5 file: {said}. Wait until it is written, or export it again."
        ) from error


def _read_entries(root: Group) -> list[Part]:
    entries = sorted((group for group in groups_in(root) if group.kind == "NXentry"), key=_by_number) or [root]
    parts, reasons = list[Part](), list[str]()
    for group in entries:
        try:
            found, why = _read_entry(_Entry(root, group))
        except DatasetError as error:
            where = f"Entry {visible(group.path)[:60]!r}: " * (len(entries) > 1)
            raise DatasetError(f"{where}{error}") from error
        parts += found
        reasons += why
        if len(parts) > MAX_SCANS:
            raise DatasetError(f"It holds more than {MAX_SCANS} scans. Split it.")
    if not parts:
        why = "; ".join(dict.fromkeys(reasons[:3])) or "it has no NXdata"
        raise DatasetError(f"It holds no scan over 2θ, q or r: {why}. Export the integrated pattern.")
    if len(parts) == 1:
        return parts
    is_placed = [part.x is not None and part.y is not None for part in parts]
    return [part if is_placed[k] else part._replace(frame=k + 1) for k, part in enumerate(parts)]


def _by_number(group: Group) -> list[tuple[int, str]]:
    """Return a key by which `10.1` comes after `2.1`."""
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d{1,9})", group.path)]


def _read_entry(entry: _Entry) -> tuple[list[Part], list[str]]:
    """Read the scans of the pattern of an entry; returns them, and why what else it holds is none."""
    chosen = _default(entry)
    datas = [group for group in groups_in(entry.group) if group.kind == "NXdata"] if chosen is None else [chosen]
    found: dict[tuple[int, int], tuple[Group, Dataset, _Axis]] = {}  # by what is read, which links may name twice
    reasons = list[str]()
    for data in datas:
        signal = _signal(entry.root, data)
        over = "names no signal" if signal is None else _axis(entry.root, data, signal)
        if signal is None or isinstance(over, str):
            size = "" if signal is None else f" (intensities: {' × '.join(map(str, signal.shape))})"
            reasons.append(f"{visible(data.path)[-60:]} {over}{size}")
        else:
            found.setdefault((signal.address, over.dataset.address), (data, signal, over))
    patterns = list(found.values())
    if len({signal.address for _, signal, _ in patterns}) == 1:  # of one, over 2θ and q that was made of it
        patterns = [pattern for pattern in patterns if pattern[2].name == "two_theta"] or patterns
    if len(patterns) > 1:
        said = ", ".join(visible(data.path)[-60:] for data, _, _ in patterns[:5])
        raise DatasetError(
            f"It holds {len(patterns)} patterns of one measurement ({said}). Set the attribute `default` of its "
            "NXentry to the one that is meant, or export it alone."
        )
    return [part for pattern in patterns for part in _scans(entry, *pattern)], reasons


def _default(entry: _Entry) -> Group | None:
    """Return the NXdata that the attributes `default` lead to from an entry."""
    node: Group | Dataset | None = entry.group
    for _ in range(5):
        if not isinstance(node, Group) or node.kind == "NXdata":
            break
        name = node.said("default")
        node = member(entry.root, node, name) if name else None
    return node if isinstance(node, Group) and node.kind == "NXdata" else None


# --- an NXdata


def _signal(root: Group, data: Group) -> Dataset | None:
    """Return the intensities of an NXdata."""
    if name := data.said("signal"):
        found = member(root, data, name)
        return found if isinstance(found, Dataset) else None
    held = list(datasets_of(root, data))
    marked = [one for _, one in held if one.attributes.get("signal", [""])[0] == "1"]
    return marked[0] if marked else next((one for wanted in _SIGNALS for name, one in held if name == wanted), None)


def _names_of_axes(data: Group, signal: Dataset) -> list[str]:
    """Return what the axes of an NXdata are called, as an array, or between colons or commas."""
    said = data.attributes.get("axes") or signal.attributes.get("axes") or []
    return [name.strip() for name in (re.split(r"[:,]", said[0].strip("[]")) if len(said) == 1 else said)]


def _axis(root: Group, data: Group, signal: Dataset) -> _Axis | str:
    """Return what the scans of an NXdata are over; or in words that it is something else.

    Raises:
        DatasetError: If an axis is called 2θ or q and has no unit.
    """
    names, shape = _names_of_axes(data, signal), signal.shape
    held = dict(datasets_of(root, data))
    if not names:
        names = [name for name, one in held.items() if "axis" in one.attributes] or [
            name for name in held if _TWO_THETA.fullmatch(name) or _Q.fullmatch(name)
        ]
    found = list[_Axis]()
    for place, name in enumerate(names):
        dataset = None if name in (".", "") else member(root, data, name) or held.get(name)
        if not isinstance(dataset, Dataset) or dataset is signal:
            continue
        if signal.is_virtual or dataset.is_virtual:
            return "lies in another file, and no other file is opened"
        if len(dataset.shape) != 1:
            continue
        is_in_place = len(names) == len(shape) and shape[place] == dataset.size
        fits = [place] if is_in_place else [k for k in range(len(shape)) if shape[k] == dataset.size]
        kind = _kind_of_axis(name, dataset) if fits else None
        if kind is not None:
            found.append(_Axis(fits[-1], dataset, *kind))
    if not found:
        return f"is over {', '.join(_shown_axis(root, data, name) for name in names[:4]) or 'nothing that it names'}"
    if len({axis.dimension for axis in found}) > 1:
        return "is over several axes of scattering"
    return next((axis for axis in found if axis.name == "two_theta"), found[0])


def _shown_axis(root: Group, data: Group, name: str) -> str:
    """Return an axis in words, with its unit and size."""
    dataset = None if name in (".", "") else member(root, data, name)
    said = repr(visible(name)[-30:])
    if not isinstance(dataset, Dataset):
        return said
    return f"{said} in {visible(dataset.unit)[:30]!r}, {dataset.size} values"


def _kind_of_axis(name: str, dataset: Dataset) -> tuple[AxisName, float] | None:
    """Tell what an axis is by its name and unit, and what brings it to degrees, 1/Å or Å; None if it is another.

    Raises:
        DatasetError: If it is called 2θ or q and has no unit.
    """
    plain, unit = name.rpartition("/")[2].lower(), dataset.unit
    if not unit and (found := re.search(r"q_(nm|a)\^-1|2th_(deg|rad)", plain)):
        unit = found[0]
    is_two_theta, is_q = _TWO_THETA.fullmatch(plain) is not None, _Q.fullmatch(plain) is not None
    if not unit and (is_two_theta or is_q):
        raise DatasetError(
            f"Its axis {visible(name)[-40:]!r} has no attribute `units`, and units are never guessed. Write it, such "
            "as 'deg', '1/angstrom' or '1/nm'."
        )
    if unit in _DEGREES or unit in _RADIANS:
        return ("two_theta", 1.0 if unit in _DEGREES else 180 / np.pi) if is_two_theta else None
    plainly = re.sub(r"[${}\\]", "", unit).replace("⁻¹", "^-1").replace("**", "^")
    plainly = re.sub(r"inverse[_ ]", "1/", plainly)
    found = re.fullmatch(r"(?:q_)?(?:1\s*/\s*([a-zåö]+)|([a-zåö]+)\s*\^?\s*-1)", plainly)
    length = _ANGSTROM.get(found[1] or found[2]) if found else None
    if length is not None:
        return ("q", 1 / length) if is_q else None
    if unit in _ANGSTROM and unit != "m" and plain in ("r", "distance"):  # in m or mm it is that on a detector
        return "r", _ANGSTROM[unit]
    return None


def _scans(entry: _Entry, data: Group, signal: Dataset, over: _Axis) -> list[Part]:
    """Return the scans of an NXdata, one or a stack, each with what its entry says of it."""
    values = np.moveaxis(signal.numbers(), over.dimension, -1)
    axis, notes = over.dataset.numbers() * over.factor, list[str]()
    stack, leading = values.reshape(-1, values.shape[-1]), values.shape[:-1]
    if len(stack) > MAX_SCANS:
        raise DatasetError(f"It holds {len(stack)} scans; {MAX_SCANS} are read at most. Split it.")
    if over.factor != 1:
        notes.append(f"The axis, in {over.dataset.unit or over.dataset.path!r}, was converted.")
    if axis.size > 1 and bool((np.diff(axis) < 0).all()):
        axis, stack = axis[::-1].copy(), stack[:, ::-1]
        notes.append("The axis ran downwards and was turned round.")
    names = _names_of_axes(data, signal)
    others = [name for k, name in enumerate(names) if k != over.dimension] if len(names) == values.ndim else []
    _check_others(entry.root, data, others, leading)
    wavelength, line = _wavelength(entry)
    is_rate = signal.unit not in _COUNTS
    if not signal.unit and (times := _times(entry)) is not None and np.ptp(times) > SAME_TIME * times.max():
        raise DatasetError(
            f"Points were counted for {times.min():g} to {times.max():g} s, and {visible(signal.path)[-60:]!r} has no "
            "attribute `units` that says whether it was divided by that. Write it: 'counts' or 'counts/s'."
        )
    settings = _settings(entry, data, axis if over.name == "two_theta" else None)
    x, y = (_places(entry, data, others, leading, pattern) for pattern in (_X, _Y))
    sample, times = _sample(entry), None if is_rate else _times(entry)
    return [
        _timed(
            Part(
                axis,
                intensity.copy(),
                over.name,
                wavelength,
                sample,
                None if x is None else float(x[k]),
                None if y is None else float(y[k]),
                settings=settings,
                is_rate=is_rate,
                notes=(*notes, *line),
            ),
            times,
        )
        for k, intensity in enumerate(stack)
    ]


def _check_others(root: Group, data: Group, others: Sequence[str], leading: Sequence[int]) -> None:
    """Refuse a stack whose other axes say that its scans differ in more than their place or turn.

    Raises:
        DatasetError: If so: of a cake that wasn't integrated over its azimuth, or of a heating stage.
    """
    for name, length in zip(others, leading, strict=False):
        dataset = None if name in (".", "") else member(root, data, name)
        if not isinstance(dataset, Dataset) or not dataset.is_numbers or dataset.shape != (length,):
            continue
        plain = name.rpartition("/")[2].lower()
        values = dataset.numbers()
        is_place = dataset.unit in _MM and not plain.endswith("z")  # of motors of any name
        if np.ptp(values) > 0 and not is_place and not any(one.fullmatch(plain) for one in (_X, _Y, _SERIES)):
            said = ", ".join(f"{value:g}" for value in values[:5]) + ", …" * (length > 5)
            units = (dataset.attributes.get("units") or ["?"])[0]
            raise DatasetError(
                f"It holds {length} scans of one place that differ in {visible(name)[-30:]} ({visible(units)[:20]}): "
                f"{said}. They are neither summed nor told apart; integrate over it, or export the one meant alone."
            )


# --- what an entry says of its scans


def _in(dataset: Dataset, units: dict[str, float]) -> float | None:
    """Return the one number of a dataset by its unit; None where it has none of these, or several numbers."""
    if dataset.unit not in units:
        return None
    value = _number(dataset)
    return None if value is None else value * units[dataset.unit]


def _number(dataset: Dataset) -> float | None:
    if not dataset.is_numbers or dataset.size != 1:
        return None
    value = float(dataset.numbers().item())
    return value if np.isfinite(value) else None


def _wavelength(entry: _Entry) -> tuple[float | None, tuple[str, ...]]:
    """Return the wavelength of an entry in Å, and a note how it was had.

    Raises:
        DatasetError: If it says several.
    """
    said, lines = list[float](), dict[str, float]()
    doublet: tuple[float, tuple[str, ...]] | None = None
    anode = ""
    of_beam = ("NXbeam", "NXmonochromator", "NXcrystal", "NXsource", "NXinstrument")
    for name, dataset, group in entry.datasets(lambda group: group.kind in of_beam):
        if name in ("wavelength", "incident_wavelength"):
            value = _in(dataset, _ANGSTROM)
            if value is None and dataset.unit in _ANGSTROM and dataset.is_numbers and dataset.shape == (2,):
                weights = member(entry.root, group, f"{name}_weights")
                of_both = weights.numbers() if isinstance(weights, Dataset) and weights.shape == (2,) else None
                doublet = mean_of_lines(dataset.numbers() * _ANGSTROM[dataset.unit], of_both)
        elif name in ("target_material", "xray_tube_material"):
            value, anode = None, dataset.text()
        elif name == "incident_energy" or (name == "energy" and group.kind != "NXsource"):  # which is the electrons'
            energy = _in(dataset, _KEV)
            value = KEV_ANGSTROM / energy if energy else None
        else:
            value = None
            line = _in(dataset, _ANGSTROM) if name in ("k_alpha_one", "k_alpha_two") else None
            line = _number(dataset) if name == "ratio_k_alphatwo_k_alphaone" else line
            if line is not None:
                lines[name] = line
        said += [] if value is None else [value]
    said += _configured(entry)
    if said and max(said) - min(said) > SAME_WAVELENGTH * max(said):
        values = ", ".join(f"{value:g}" for value in sorted(set(said)))
        raise DatasetError(f"It says several wavelengths, {values} Å. Correct the one that is wrong.")
    if said:
        return said[0], ()
    if doublet is not None:
        return doublet
    if "k_alpha_one" not in lines:
        return name_anode(anode)
    ratio = lines.get("ratio_k_alphatwo_k_alphaone", K_ALPHA_RATIO)
    second = lines.get("k_alpha_two", float("nan"))
    both = ratio > 0 and np.isfinite(second)
    known = {"kAlpha1": lines["k_alpha_one"], "kAlpha2": second, "kBeta": float("nan")}
    return name_line("K-Alpha" if both else "K-Alpha 1", known, ratio)


def _configured(entry: _Entry) -> list[float]:
    """Return the wavelengths, in Å, of pyFAI's configuration, which has them in m."""
    found = list[float]()
    for name, dataset, _ in entry.datasets(lambda group: group.kind == "NXnote"):
        if name != "data":
            continue
        try:
            whole: Any = json.loads(dataset.text() or "null")
        except (ValueError, RecursionError):
            continue
        outer = _fields(whole)
        for where in (outer, _fields(outer.get("poni"))):
            value = where.get("wavelength")
            if isinstance(value, float) and 0 < value < 1e-8:
                found.append(value * 1e10)
    return found


def _fields(value: Any) -> dict[str, Any]:
    """Return an object of JSON, empty where it is something else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _sample(entry: _Entry) -> str | None:
    """Return what the sample is called, where somebody said it."""
    held = entry.datasets(lambda group: group.kind == "NXsample")
    names = (dataset.text() for name, dataset, _ in held if name in ("name", "sample_id", "identifier"))
    return next((name for name in names if name.lower() not in _NOBODY), None)


def _places(
    entry: _Entry, data: Group, others: Sequence[str], leading: Sequence[int], pattern: re.Pattern[str]
) -> PerTaken | None:
    """Return where on the stage each scan of a stack was taken in one direction, in mm; None where it isn't said.

    The axes of a map say it, or the sample and its positioners, in one number or in as many as there are scans.
    """
    scans = int(np.prod(leading))
    for along, name in enumerate(others):
        dataset = member(entry.root, data, name) if name not in (".", "") else None
        if not isinstance(dataset, Dataset) or dataset.unit not in _MM or dataset.shape != (leading[along],):
            continue
        called = (name, *dataset.attributes.get("long_name", ()))  # pyFAI's maps have the motor's name there
        if any(pattern.fullmatch(one.lower()) for one in called):
            shape = [-1 if k == along else 1 for k in range(len(leading))]
            return np.broadcast_to((dataset.numbers() * _MM[dataset.unit]).reshape(shape), tuple(leading)).ravel()

    def is_of_stage(group: Group) -> bool:
        is_moved = group.kind == "NXtransformations" and "/sample" in group.path.lower()
        return is_moved or group.kind in ("NXsample", "NXpositioner") or _own_name(group) in ("positioners", "sample")

    for name, dataset, group in entry.datasets(is_of_stage):
        called = _own_name(group) if group.kind == "NXpositioner" and name == "value" else name
        if pattern.fullmatch(called) and dataset.is_numbers and dataset.unit in _MM and dataset.size in (1, scans):
            return np.broadcast_to(dataset.numbers().ravel() * _MM[dataset.unit], (scans,))
    return None


def _own_name(group: Group) -> str:
    return group.path.rpartition("/")[2].lower()


def _settings(entry: _Entry, data: Group, two_theta: ScanAxis | None) -> dict[str, float | str]:
    """Return what else was set, as a `Part` has it."""
    found: dict[str, float | str] = {}
    for name, dataset, _ in entry.datasets(lambda group: group.kind == "NXsample" or group is data):
        if name == "temperature" and (value := _in(dataset, _KELVIN)) is not None:
            found["temperature (K)"] = value
        if name not in ("omega", "chi", "phi") or dataset.unit not in _DEGREES or not dataset.is_numbers:
            continue
        title, one = f"{name.capitalize()} (°)", _number(dataset)
        if one is not None:
            found[title] = one
        elif two_theta is not None and dataset.shape == two_theta.shape:
            values = dataset.numbers()
            if name == "omega":
                found |= incidence("Omega", two_theta, values)
            else:
                found[title] = float(values[0]) if np.ptp(values) == 0 else f"{values[0]:g} to {values[-1]:g}"
    return found


def _times(entry: _Entry) -> ScanAxis | None:
    """Return how long was counted in s, once or at each point, where the entry says it."""
    held = entry.datasets(lambda group: group.kind == "NXdetector" or _own_name(group) == "experiment_config")
    for name, dataset, _ in held:
        if name in ("count_time", "integration_time") and dataset.unit in _SECONDS and dataset.is_numbers:
            return dataset.numbers().ravel() * _SECONDS[dataset.unit]
    return None


def _timed(part: Part, times: ScanAxis | None) -> Part:
    """Return counts by the time of each point, where these differ."""
    if times is None or times.size not in (1, part.intensity.size):
        return part
    each = np.broadcast_to(times, part.intensity.shape)
    intensity, seconds, is_rate, note = counted(part.intensity, each)
    return part._replace(intensity=intensity, seconds=seconds, is_rate=is_rate, notes=(*part.notes, *note))


FORMATS = (Format("NeXus", SUFFIXES, _is_hdf5, _read_hdf5),)
