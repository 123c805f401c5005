"""The measurements of a campaign in a file that `glassmap export` wrote, taken back as a data set."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.data.composition import close_compositions
from glassmap.agent.data.dataset import SpectraSet, read_dataset
from glassmap.agent.errors import DatasetError, GlassmapError

FORMATS = (".nc", ".parquet", ".json")
TARGET = "_target"  # ends the name of a column of what was asked for, beside that of what was found
EXTRAS: dict[str, type] = {  # what is exported of each measurement beside its alloy and spectrum
    "suggestion": str,
    "round": int,
    "hold_out": bool,
    "state": str,
    "reason": str,
    "backend": str,
    "taken": str,
    "facts": str,
}


def read_exported(path: Path | str) -> SpectraSet:
    """Read what `glassmap export` wrote: every measurement, also those that are flagged or retracted.

    Args:
        path: Ends in .nc (which `read_dataset` reads as well), .parquet or .json.

    Returns:
        The measurements in the order they came, the same whichever the format; spectra to the bit, compositions but
        for their last bits. What else is known of each is in `coordinates`, the alloy asked for as `target` in at.%.

    Raises:
        DatasetError: If the file is missing, cut short, damaged or no export.
        CompositionError: If a share is missing or negative, or a row misses 100 at.% by more than 0.5.
        SpectrumError: If the axis or a spectrum breaks a rule of `SpectraSet`.
    """
    check_format(path := Path(path))
    spectra = read_dataset(path) if path.suffix == ".nc" else _read_table(path)
    unused = int((spectra.coordinates.get("state", np.array(["used"])) != "used").sum())
    if unused:
        note = (
            f"{unused} of {len(spectra)} measurements are flagged or retracted; `--where state=used` leaves them out."
        )
        spectra = replace(spectra, notes=(*spectra.notes, note))
    return spectra


def hdf5_text(text: str) -> str:
    r"""Return a text as HDF5 can hold it, with `\x00` for a character 0."""
    return text.replace("\0", r"\x00")


def check_format(path: Path) -> None:
    """Refuse a file whose name doesn't say which of the formats it has.

    Raises:
        DatasetError: If it ends in something else.
    """
    if path.suffix not in FORMATS:
        raise DatasetError(
            f"An export ends in {', '.join(FORMATS)}, which is its format; got {path.name!r}. Rename it."
        )


def _read_table(path: Path) -> SpectraSet:
    if not path.is_file():
        raise DatasetError(f"There is no file {path}; check the path.")
    try:
        with np.errstate(all="ignore"):  # what a damaged file holds is refused below
            table, about = _load_parquet(path) if path.suffix == ".parquet" else _load_json(path)
            return _from_table(table, about)
    except GlassmapError as error:
        raise type(error)(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        what = f"{type(error).__name__}: {str(error).strip()[:200]}"
        raise DatasetError(
            f"{path} is no export of glassmap, cut short or damaged ({what}). Export it again with `glassmap export`."
        ) from error


def _load_parquet(path: Path) -> tuple[Any, dict[str, Any]]:
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    table: Any = pd.read_parquet(  # pyright: ignore[reportUnknownMemberType]
        path, page_checksum_verification=True
    )
    return table, table.attrs


def _load_json(path: Path) -> tuple[Any, dict[str, Any]]:
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    about: dict[str, Any] = json.loads(path.read_text(), object_hook=_packed)
    table: Any = pd.DataFrame(about.pop("measurements"))
    table["facts"] = [json.dumps(facts) for facts in table["facts"]]
    return table, about


def _packed(record: dict[str, Any]) -> dict[str, Any]:
    """Return a measurement with its spectrum as an array, which takes a tenth of the memory of a list."""
    if record.keys() >= {"facts", "intensity"}:
        record["intensity"] = np.array(record["intensity"], np.float32)
    return record


def _from_table(table: Any, about: dict[str, Any]) -> SpectraSet:
    elements = tuple(str(element) for element in about["elements"])
    names = [f"Row {row} ({id_})" for row, id_ in enumerate(table["id"], start=1)]
    at_pct = table[list(elements)].to_numpy(np.float64)
    compositions, notes = close_compositions(at_pct, elements=elements, names=names)
    wavelength = about["wavelength"]
    extras: dict[str, np.ndarray] = {
        name: np.array([hdf5_text(text) for text in table[name]]) if kind is str else table[name].to_numpy(kind)
        for name, kind in EXTRAS.items()
    }
    extras["target"] = table[[f"{element}{TARGET}" for element in elements]].to_numpy(np.float64)
    return SpectraSet(
        ids=tuple(str(id_) for id_ in table["id"]),
        elements=elements,
        compositions=compositions,
        axis_name=about["axis_name"],
        axis=np.array(about["axis"], dtype=np.float64),
        intensities=np.stack([np.asarray(values, np.float32) for values in table["intensity"]]),
        coordinates=extras,
        units={str(name): str(unit) for name, unit in about["units"].items()},
        wavelength=None if wavelength is None else float(wavelength),
        attributes={str(name): str(text) for name, text in about["attributes"].items()},
        notes=tuple(notes),
    )
