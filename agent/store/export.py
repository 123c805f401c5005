"""A campaign as one file that needs no glassmap to be read: NetCDF, Parquet or JSON, as its name ends.

The measurements are written some at a time, so that the memory is the same however many there are. What the campaign
decided and what people did goes with them: as groups of the NetCDF file, as texts of JSON in the Parquet file's
`attrs`, as lists in JSON. The NetCDF file is a data set as well.
"""

# pyarrow, h5py and h5netcdf have no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from glassmap.agent.atomic_file import whole_file
from glassmap.agent.config.campaign import held_of
from glassmap.agent.data.dataset import AT_PCT, AXIS_UNITS
from glassmap.agent.data.exported import EXTRAS, TARGET, check_format, hdf5_text
from glassmap.agent.errors import DatasetError
from glassmap.agent.hdf5_file import hdf5_file
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Recorded

BLOCK = 500  # measurements that are in memory at a time
Records = list[dict[str, Any]]  # rows of a table, JSON types


def export_campaign(store: CampaignStore, path: Path) -> int:
    """Write all measurements, decisions and what people did to one file, which is there whole or not at all.

    Args:
        store: Open to read.
        path: Ends in .nc, .parquet or .json.

    Returns:
        How many measurements there are.

    Raises:
        DatasetError: If the name ends otherwise, or nothing is measured yet.
    """
    check_format(path)
    if not (n := store.n_spectra()):
        raise DatasetError(f"Nothing is measured yet in {store.folder}, so there is nothing to export. Let it run on.")
    write = {".nc": _write_netcdf, ".parquet": _write_parquet, ".json": _write_json}[path.suffix]
    with whole_file(path) as partial:
        write(store, partial)
    return n


def _about(store: CampaignStore) -> dict[str, Any]:
    """Return what holds for all measurements, JSON types."""
    from glassmap import __version__

    axis_name, axis, wavelength = store.axis()
    attributes = {"title": f"Campaign {store.config.get('name', store.folder.name)}", "glassmap": __version__}
    if potential := store.source.removeprefix("simulated with "):
        attributes["potential"] = potential
    return {
        "elements": list(store.elements),
        "axis_name": axis_name,
        "axis": axis.tolist(),
        "wavelength": wavelength,
        "units": {"target": AT_PCT[0]} | ({} if axis_name == "r" else {"intensity": "percent"}),
        "attributes": attributes,
    }


def _tables(store: CampaignStore) -> dict[str, Records]:
    """Return what the rounds came to and what people did, a list of rows a table."""
    rounds = range(1, len(store.coverage()) + 1)
    missing = [one for round_ in rounds for one in store.suggestion_statuses(round_) if one.measurement is None]
    return {
        "curve": [point.to_json() for point in store.curve()],
        "decisions": [
            {"round": round_, "state": one.state, "reason": one.reason}
            | {"trend": one.trend or "", "evidence": json.dumps(dict(one.evidence))}
            for round_, one in store.decisions().items()
        ],
        "not_measured": [
            {"id": one.suggestion.id, "round": one.suggestion.round}
            | _at_pct(store.elements, one.suggestion.composition, "")
            | {"hold_out": one.suggestion.hold_out, "state": one.state, "reason": one.reason}
            for one in missing
        ],
        "exclusions": [one._asdict() for one in store.exclusions()],
        "notes": [
            {"time": one.time, "person": one.person, "about": one.about, "text": one.text} for one in store.notes()
        ],
        "log": [one._asdict() for one in store.log_lines()],
    }


def _blocks(store: CampaignStore) -> Iterator[list[Recorded]]:
    """Yield the measurements in the order they came, some at a time."""
    rows = store.recorded()
    while block := list(islice(rows, BLOCK)):
        yield block


def _extras(store: CampaignStore) -> dict[str, type]:
    """Return what is exported of a measurement besides, by name: `EXTRAS`, and the process variables if there are."""
    held = held_of(store.config)
    return EXTRAS | {name: str if isinstance(value, str) else float for name, value in held.items()}


def _value(one: Recorded, name: str) -> Any:
    """Return what is exported of a measurement under a name of `_extras`."""
    if name not in EXTRAS:
        return one.measurement.facts.get("context", {}).get(name)
    if name == "facts":
        return json.dumps(one.measurement.facts)
    value = getattr(one.measurement, name)
    return "" if value is None else value


def _at_pct(elements: Sequence[str], composition: Sequence[float] | None, ending: str) -> dict[str, float | None]:
    """Return a column an element; empty where nobody asked for an alloy."""
    shares = [None] * len(elements) if composition is None else [100 * share for share in composition]
    return {f"{element}{ending}": share for element, share in zip(elements, shares, strict=True)}


def _row(one: Recorded, elements: Sequence[str], extras: Iterable[str]) -> dict[str, Any]:
    """Return a measurement as columns, but for its spectrum."""
    found, asked = _at_pct(elements, one.measurement.composition, ""), _at_pct(elements, one.target, TARGET)
    return {"id": one.measurement.id} | found | asked | {name: _value(one, name) for name in extras}


# --- NetCDF


def _write_netcdf(store: CampaignStore, path: Path) -> None:
    import h5netcdf

    about = _about(store)
    elements, axis_name, units = about["elements"], about["axis_name"], about["units"]
    unknown, kinds = [np.nan] * len(elements), _extras(store)
    with hdf5_file(path) as opened, h5netcdf.File(opened, "w") as file:
        file.attrs.update(about["attributes"])
        if about["wavelength"] is not None:
            file.attrs["wavelength"] = about["wavelength"]
        file.dimensions = {"sample": store.n_spectra(), "element": len(elements), axis_name: len(about["axis"])}
        _variable(file, "element", ("element",), str)[:] = _array(elements, str)
        _variable(file, axis_name, (axis_name,), float, units=AXIS_UNITS[axis_name][0])[:] = _array(
            about["axis"], float
        )
        ids = _variable(file, "sample", ("sample",), str)
        found = _variable(file, "composition", ("sample", "element"), float, units=AT_PCT[0])
        asked = _variable(file, "target", ("sample", "element"), float, units=AT_PCT[0])
        extras = {name: _variable(file, name, ("sample",), kind) for name, kind in kinds.items()}
        spectra = _variable(file, "intensity", ("sample", axis_name), np.float32, units=units.get("intensity"))
        start = 0
        for block in _blocks(store):
            rows = slice(start, start := start + len(block))
            ids[rows] = _array([one.measurement.id for one in block], str)
            found[rows] = 100 * _array([one.measurement.composition for one in block], float)
            asked[rows] = 100 * _array([one.target or unknown for one in block], float)
            spectra[rows] = _array([one.spectrum for one in block], np.float32)
            for name, variable in extras.items():
                variable[rows] = _array([_value(one, name) for one in block], kinds[name])
        for name, records in _tables(store).items():
            if records:
                _write_group(file.create_group(name), records)


def _write_group(group: Any, records: Records) -> None:
    """Write a table, a variable a column; what some rows lack is a number, and NaN there."""
    group.dimensions = {"row": len(records)}
    for name in dict.fromkeys(name for record in records for name in record):
        values = [record.get(name) for record in records]
        kind = float if None in values else type(values[0])
        _variable(group, name, ("row",), kind)[:] = _array(values, kind)


def _variable(group: Any, name: str, dimensions: tuple[str, ...], kind: type, *, units: str | None = None) -> Any:
    """Make a variable; numbers are packed, with a checksum that finds flipped bits."""
    packing: dict[str, Any] = {}
    if kind is not str:
        sizes = [group.dimensions[dimension].size for dimension in dimensions]
        packing = {"chunks": (min(BLOCK, sizes[0]), *sizes[1:]), "shuffle": True, "fletcher32": True}
        packing |= {"compression": "gzip", "compression_opts": 4}
    stored = {str: h5py.string_dtype(), bool: np.int8}.get(kind, kind)
    variable = group.create_variable(name, dimensions, stored, **packing)
    if kind is bool:
        variable.attrs["dtype"] = "bool"  # as xarray does, which makes yes and no of it
    if units is not None:
        variable.attrs["units"] = units
    return variable


def _array(values: Sequence[Any], kind: type) -> np.ndarray:
    """Return values as HDF5 takes them; NaN for what isn't there."""
    if kind is str:
        return np.array([hdf5_text(value) for value in values], dtype=object)
    return np.array([np.nan if value is None else value for value in values], dtype=np.int8 if kind is bool else kind)


# --- Parquet


def _write_parquet(store: CampaignStore, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = _about(store)
    elements, points = about["elements"], len(about["axis"])
    tables = {name: json.dumps(records) for name, records in _tables(store).items()}  # texts are copied in no time
    kinds: Mapping[type, Any] = {str: pa.string(), int: pa.int64(), bool: pa.bool_(), float: pa.float64()}
    columns = {"id": str} | dict.fromkeys(_at_pct(elements, None, ""), float)
    columns |= dict.fromkeys(_at_pct(elements, None, TARGET), float) | (extras := _extras(store))
    schema = pa.schema(
        [*((name, kinds[kind]) for name, kind in columns.items()), ("intensity", pa.list_(pa.float32(), points))],
        metadata={"PANDAS_ATTRS": json.dumps(about | tables)},  # which pandas gives as `attrs`
    )
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for block in _blocks(store):
            rows = [_row(one, elements, extras) for one in block]
            arrays = [pa.array([row[name] for row in rows], kinds[kind]) for name, kind in columns.items()]
            spectra = np.concatenate([one.spectrum for one in block]).astype(np.float32)
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(spectra), points))
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


# --- JSON


def _write_json(store: CampaignStore, path: Path) -> None:
    about, extras = _about(store), _extras(store)
    elements = about["elements"]
    with path.open("w") as file:
        for name, value in (about | _tables(store)).items():
            file.write(f"{'{' if name == 'elements' else ','}\n{json.dumps(name)}: {json.dumps(value)}")
        file.write(',\n"measurements": [')
        separator = "\n"
        for block in _blocks(store):
            for one in block:
                row = _row(one, elements, extras) | {"facts": one.measurement.facts}
                # Nine digits give a float32 back to the bit
                numbers = ", ".join(["%.9g" % value for value in one.spectrum.tolist()])  # noqa: UP031
                file.write(f'{separator}{json.dumps(row)[:-1]}, "intensity": [{numbers}]}}')
                separator = ",\n"
        file.write("\n]}\n")
