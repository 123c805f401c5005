"""Powder diffraction CIF (pdCIF): what was measured, not what was calculated.

Names of items are those of the IUCr's dictionaries cif_pd and cif_core, written with `_` (DDL1) or `.` (DDLm) after the
category. Standard uncertainties in brackets are left aside.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from glassmap.agent.data.formats.lines import decode
from glassmap.agent.data.formats.markup import counted, mean_of_lines, name_anode, parse_numbers
from glassmap.agent.data.formats.parts import Format, Part
from glassmap.agent.data.raw_scan import MAX_POINTS
from glassmap.agent.errors import DatasetError
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import AxisName, Mask, PerPoint, Scan, ScanAxis

_LISTED: tuple[tuple[str, AxisName], ...] = (
    ("_pd_proc_2theta_corrected", "two_theta"),
    ("_pd_meas_2theta_corrected", "two_theta"),
    ("_pd_meas_2theta_scan", "two_theta"),
    ("_pd_proc_recip_len_q", "q"),  # 1/Å
)
_RANGES = ("_pd_proc_2theta_range", "_pd_meas_2theta_range")
_INTENSITIES = (  # the first that is there: as measured before as processed
    "_pd_meas_counts_total",
    "_pd_meas_intensity_total",
    "_pd_meas_intensity_net",
    "_pd_proc_intensity_total",
    "_pd_proc_intensity_net",
)
_ANOTHER_AXIS = ("_pd_meas_time_of_flight", "_pd_proc_d_spacing", "_pd_proc_energy_detection", "_pd_meas_position")
_WAVELENGTH = ("_diffrn_radiation_wavelength", "_diffrn_radiation_wavelength_value")
_NOBODY = ("", "global", "publ", "overall")  # what blocks are called that are of no sample
_ANODES = ("_diffrn_source_target", "_diffrn_radiation_source_target")
SAME_MONITOR = 1e-3  # relative

_Items = Mapping[str, Sequence[str]]  # of a block: a name in lower case and with `_`, and its values


def _is_cif(content: bytes, suffix: str) -> bool:
    return re.search(rb"(?:\A|[\r\n]|\xbf)\s*data_\S", content[:100_000].replace(b"\0", b""), re.IGNORECASE) is not None


def _read_cif(content: bytes, suffix: str) -> list[Part]:
    """Read the scan of each block that holds one.

    Raises:
        DatasetError: If it is no whole CIF, or no block holds a measured scan over 2θ or q.
    """
    from gemmi import cif  # pyright: ignore[reportMissingModuleSource]  # takes a moment, and most campaigns don't need it

    try:
        document = cif.read_string(decode(content))
    except (ValueError, RuntimeError) as error:
        said = visible(str(error).strip().splitlines()[0])[:120] if str(error).strip() else ""
        raise DatasetError(f"It is no whole CIF: {said}. Wait until it is written, or export it again.") from error
    blocks = [(block.name, _items(block)) for block in document]
    held = [(name, items) for name, items in blocks if _intensities(items)]
    if not held:
        raise DatasetError(_say_why_none([items for _, items in blocks]))
    elsewhere = [items for _, items in blocks if not _intensities(items)]
    parts = list[Part]()
    for number, (name, items) in enumerate(held, start=1):
        try:
            parts.append(_read_block(items, elsewhere))
        except DatasetError as error:
            raise DatasetError(f"Block {visible(name)[:40]!r}: {error}") from error
        sample = None if name.lower() in _NOBODY and len(held) == 1 else name
        parts[-1] = parts[-1]._replace(sample=sample, frame=number if len(held) > 1 else None)
    return parts


def _items(block: Any) -> dict[str, list[str]]:
    """Return all items of a block of gemmi's, looped or not."""
    found: dict[str, list[str]] = {}
    for item in block:
        if item.loop is not None:
            values, width = list(item.loop.values), len(item.loop.tags)
            found |= {_plain(tag): values[k::width] for k, tag in enumerate(item.loop.tags)}
        elif item.pair is not None:
            found[_plain(item.pair[0])] = [item.pair[1]]
    return found


def _intensities(items: _Items) -> list[str]:
    """Return the items of measured intensities that have values, the best first."""
    return [name for name in _INTENSITIES if any(value not in (".", "?") for value in items.get(name, ()))]


def _plain(tag: str) -> str:
    return tag.lower().replace(".", "_")


def _say_why_none(blocks: Sequence[_Items]) -> str:
    """Say why no block holds a measured scan."""
    names = {name for items in blocks for name in items}
    if any(name.startswith("_pd_calc") for name in names):
        return "It holds a calculated pattern alone, nothing measured. Export it with the intensities observed."
    if "_atom_site_fract_x" in names or "_cell_length_a" in names:
        return "It holds a structure and no measured pattern. Is it the file of a phase?"
    return f"No block holds measured intensities ({', '.join(_INTENSITIES[:2])}, …). Export it again as pdCIF."


def _read_block(items: _Items, elsewhere: Sequence[_Items]) -> Part:
    """Read the scan of one block; a wavelength may stand in a block of its own."""
    intensity_name = _intensities(items)[0]
    size = len(items[intensity_name])
    if not 2 <= size <= MAX_POINTS:
        raise DatasetError(f"A scan has 2 to {MAX_POINTS} points, {intensity_name} has {size}. Export it again.")
    axis_name, axis, of = _axis(items, size)
    intensity = _numbers(items[intensity_name])
    offset = _one(items, "_pd_calib_2theta_offset") if of.startswith("_pd_meas") else None
    keep = _measured(np.isfinite(axis) & np.isfinite(intensity))
    notes = [f"Intensity is {intensity_name}, the axis {of}."]
    if offset:
        notes.append(f"It says that 2θ is off by {offset:g}° (_pd_calib_2theta_offset), which was not added.")
    if not keep.all():
        notes.append(f"{int((~keep).sum())} points at the ends have no value and were left out.")
    wavelength, line = _wavelength([items, *elsewhere])
    settings: dict[str, float | str] = {}
    if (temperature := _one(items, "_diffrn_ambient_temperature")) is not None:
        settings["temperature (K)"] = temperature
    if _word(items, "_diffrn_radiation_probe").lower() == "neutron":
        notes.append("Its probe is neutrons, not X-rays.")
    part = Part(axis[keep], intensity[keep], axis_name, wavelength, settings=settings, is_rate=True)
    if intensity_name == "_pd_meas_counts_total":
        part = _counted(part._replace(is_rate=False), items, keep)
    return part._replace(notes=(*notes, *line, *part.notes))


def _axis(items: _Items, size: int) -> tuple[AxisName, ScanAxis, str]:
    """Return what a block is over, in degrees or 1/Å, and the item that says it."""
    for name, axis_name in _LISTED:
        if len(items.get(name, ())) == size:
            return axis_name, _numbers(items[name]), name
    for name in _RANGES:
        ends = [_one(items, f"{name}_{end}") for end in ("min", "max", "inc")]
        if None not in ends:
            start, end, step = (float(value or 0) for value in ends)
            expected = np.linspace(start, end, size)
            if abs((end - start) / (size - 1) - step) > 0.5 * abs(step) / (size - 1) + 1e-9:
                raise DatasetError(
                    f"{name} goes from {start:g} to {end:g}° by {step:g}°, which isn't the {size} points that it has. "
                    "Export it again."
                )
            return "two_theta", expected, name
    if another := next((name for name in _ANOTHER_AXIS if name in items), None):
        raise DatasetError(f"It is over {another}; a scan is over 2θ or q. Export it over one of them.")
    raise DatasetError(
        f"Its {size} intensities have neither {_LISTED[2][0]} nor {_RANGES[1]}_min, _max and _inc. Export it again."
    )


def _counted(part: Part, items: _Items, keep: Mask) -> Part:
    """Return counts by the time and the monitor of each point, where these differ."""
    for name, what in (("_pd_meas_counts_monitor", "monitor"), ("_pd_meas_intensity_monitor", "monitor")):
        if len(items.get(name, ())) == keep.size:
            monitor = _numbers(items[name])[keep]
            if not (monitor > 0).all():
                raise DatasetError(f"{name} must be above 0 at each point. Export it again.")
            if np.ptp(monitor) > SAME_MONITOR * monitor.max():
                note = f"Counts were divided by the {what} of each point, over its mean."
                return part._replace(
                    intensity=part.intensity / monitor * monitor.mean(), is_rate=True, notes=(*part.notes, note)
                )
    times = items.get("_pd_meas_step_count_time", ())
    if len(times) not in (1, keep.size) or times[0] in ".?":
        return part
    each = np.broadcast_to(_numbers(times), keep.shape)[keep]
    intensity, seconds, is_rate, note = counted(part.intensity, each)
    return part._replace(intensity=intensity, seconds=seconds, is_rate=is_rate, notes=(*part.notes, *note))


def _measured(has: Mask) -> Mask:
    """Return which points are within the first and the last that have values.

    Raises:
        DatasetError: If one between them has none.
    """
    at = np.flatnonzero(has)
    if at.size < 2 or not has[at[0] : at[-1] + 1].all():
        raise DatasetError("Values are missing between its points (. or ?). Export it again.")
    return has


def _wavelength(blocks: Sequence[_Items]) -> tuple[float | None, tuple[str, ...]]:
    """Return the wavelength in Å that the first block says, or else the others do alike, and what it is."""
    for where in (blocks[:1], blocks[1:]):
        said = {found for items in where if (found := _wavelength_of(items)) is not None}
        if len({wavelength for wavelength, _ in said}) == 1:
            return said.pop()
        for items in where:
            if anode := next((_word(items, name) for name in _ANODES if name in items), ""):
                return name_anode(anode)
    return None, ()


def _wavelength_of(items: _Items) -> tuple[float, tuple[str, ...]] | None:
    """Return the wavelength of a block in Å: the only one, or the mean of a doublet by its weights.

    Raises:
        DatasetError: If it has several that are no doublet.
    """
    name = next((name for name in _WAVELENGTH if name in items), None)
    lines: Scan = np.empty(0) if name is None else _numbers(items[name])
    has = np.isfinite(lines)
    if not has.any():
        return None
    weights = next(
        (_numbers(items[f"_diffrn_radiation_wavelength_{what}"]) for what in ("wt", "weight")
         if len(items.get(f"_diffrn_radiation_wavelength_{what}", ())) == len(lines)),
        np.full(len(lines), np.nan),
    )  # fmt: skip
    if has.sum() == 1:
        return float(lines[has][0]), ()
    return mean_of_lines(lines[has], weights[has])


def _one(items: _Items, name: str) -> float | None:
    """Return the only value of an item; None where it has none."""
    values = items.get(name, ())
    if len(values) != 1 or values[0] in ".?":
        return None
    return float(_numbers(values)[0])


def _word(items: _Items, name: str) -> str:
    values = items.get(name, ())
    return values[0].strip("'\" \n;") if len(values) == 1 and values[0] not in ".?" else ""


def _numbers(values: Sequence[str]) -> PerPoint:
    """Return values without their uncertainties; NaN where one is `.` or `?`.

    Raises:
        DatasetError: If one is no number.
    """
    bare = [re.sub(r"\(\d*\)$", "", value) for value in values]
    missing = np.array([value in (".", "?") for value in bare])
    numbers = np.full(len(bare), np.nan)
    if not missing.all():
        numbers[~missing] = parse_numbers([value for value in bare if value not in (".", "?")])
    return numbers


FORMATS = (Format("powder CIF", (".cif",), _is_cif, _read_cif),)
