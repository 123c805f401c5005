"""What a round leaves for those who look at it: the map's columns, and spectra of alloys. Needs no torch.

The spectra archive is an HDF5 file that is written with each map. Of a small space it holds every alloy's generated
spectrum, of a large one those that people ask for first; beside them every measured spectrum that the campaign knows
of, with the alloy generated at the same composition. Spectra are kept to three digits (float16), to be
drawn and not to be computed with; `glassmap generate` gives all digits of any alloy.
"""

# pyarrow and h5py have no types
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glassmap.agent.content_hash import harm_of, is_named_by_content
from glassmap.agent.errors import ModelError
from glassmap.agent.hdf5_file import hdf5_file
from glassmap.agent.maps.glass import P_GLASS
from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.shapes import Axis, Composition, Compositions, Mask, PerAlloy, PerSample, Ranks, Spectra, Spectrum

KEPT_ALLOYS = 6_000  # of a larger space; a ternary at 1 at.% is kept whole
READS_ALIKE_AT_PCT = 0.051  # labels give one decimal; what is closer than this reads alike
_CHUNK = 16  # spectra
_REMEDY = "`glassmap map` makes it again."

PeakFigures = dict[str, PerSample]  # by their names in `FIGURES`; NaN without a trustworthy peak


class ArchivedSpectra(NamedTuple):
    """Spectra of some alloys as an ensemble predicts them (`EnsemblePrediction`), and the fitted first peak."""

    mean: Spectra
    epistemic_std: Spectra  # between the base models and their members
    aleatoric_std: Spectra  # over draws
    band: Spectra  # half-width that is to hold 90 % of measured points; NaN where unknown
    fit: Spectra  # NaN outside the peak's window, or everywhere


class ArchivedSpectrum(NamedTuple):
    """One alloy of `ArchivedSpectra`."""

    mean: Spectrum
    epistemic_std: Spectrum
    aleatoric_std: Spectrum
    band: Spectrum
    fit: Spectrum


def ranks_to_show(n_alloys: int, widths: PerAlloy | None) -> Ranks:
    """Return whose spectra are kept: of a large space the alloys of largest Δq, and as many spread evenly over it.

    Args:
        n_alloys: Of the space; up to `KEPT_ALLOYS` all are kept.
        widths: Δq of each alloy, 1/Å, NaN where it isn't known; None where there is no map.

    Returns:
        Ranks in the space, increasing.
    """
    if n_alloys <= KEPT_ALLOYS:
        return np.arange(n_alloys)
    evenly = np.linspace(0, n_alloys - 1, KEPT_ALLOYS // 2).astype(np.int64)
    if widths is None:
        return evenly
    widest = np.argsort(-np.nan_to_num(widths), kind="stable")[: KEPT_ALLOYS // 2]
    return np.union1d(evenly, widest)


class MeasuredAlloys(NamedTuple):
    """Measured spectra that a round's model learned from or was judged by."""

    ids: list[str]
    compositions: Compositions
    hold_out: Mask
    intensity: Spectra
    fit: Spectra
    figures: PeakFigures
    generated: PeakFigures  # of the spectra generated at the same compositions, with the std of each and P(glass)
    left_out: PeakFigures  # the same as parts of the model say that left each out; NaN of those that none did
    wafers: list[str]  # that each lies on, empty where that isn't known


class MeasuredNames(NamedTuple):
    """`MeasuredAlloys` without their spectra."""

    ids: list[str]
    compositions: Compositions
    hold_out: Mask
    figures: PeakFigures
    generated: PeakFigures  # with the std of each and P(glass); empty in archives that are older
    left_out: PeakFigures  # empty where nothing was left out, and in archives that are older
    inside: PerSample  # share of each measured spectrum's points within the generated band; NaN where that isn't known
    wafers: list[str]  # that each lies on, empty where that isn't known


class MeasuredSpectrum(NamedTuple):
    """One alloy of `MeasuredAlloys`."""

    intensity: Spectrum
    fit: Spectrum


class KnownAlloys(NamedTuple):
    """The first peaks of all alloys that are measured, asked for or not: of a replay, those of its whole data set."""

    compositions: Compositions
    figures: PeakFigures


class SpectraArchive(NamedTuple):
    """An archive without its spectra, which are read one by one."""

    path: Path
    round: int
    axis: Axis
    generated: Compositions  # whose spectra there are; those of the measured alloys last, in their order
    measured: MeasuredNames
    known: KnownAlloys
    mse: PerSample  # of the generated mean against each measured spectrum

    def view(self, row: int) -> ArchivedSpectrum:
        """One generated alloy, by its row.

        Raises:
            ModelError: If the file was harmed or removed since it was opened.
        """
        with _opened(self.path) as file:
            return ArchivedSpectrum(
                *(_read(file, _stored(file, name), row).astype(np.float64) for name in ArchivedSpectrum._fields)
            )

    def measured_spectrum(self, row: int) -> MeasuredSpectrum:
        """One measured spectrum, by its row among the measured.

        Raises:
            ModelError: If the file was harmed or removed since it was opened.
        """
        with _opened(self.path) as file:
            return MeasuredSpectrum(
                *(_read(file, f"measured/{name}", row).astype(np.float64) for name in MeasuredSpectrum._fields)
            )

    def measured_spectra(self) -> Spectra:
        """All measured spectra; 100,000 of 800 points take 640 MB.

        Raises:
            ModelError: If the file was harmed or removed since it was opened.
        """
        with _opened(self.path) as file:
            return _read(file, "measured/intensity").astype(np.float64)

    def row_of(self, composition: Composition) -> int | None:
        """The row of an alloy; None where its spectrum isn't kept."""
        distance = 100 * np.abs(self.generated - composition).max(1)
        row = int(np.argmin(distance))
        return row if distance[row] < READS_ALIKE_AT_PCT else None

    def row_of_measured(self, measured: int) -> int:
        """Return the row that was generated at a measured alloy's composition."""
        return len(self.generated) - len(self.measured.ids) + measured


def write_archive(
    path: Path,
    *,
    round_: int,
    axis: Axis,
    compositions: Compositions,
    views: ArchivedSpectra,
    measured: MeasuredAlloys,
    known: KnownAlloys | None = None,
) -> None:
    """Write an archive.

    Args:
        path: HDF5, no file yet.
        round_: Of the model.
        axis: The campaign's.
        compositions: Generated alloys as atomic fraction, the measured ones last.
        views: Of all of them.
        measured: What is known of the last of them.
        known: All alloys that are measured, where those are more.
    """
    start = len(compositions) - len(measured.ids)
    ours, band = views.mean[start:], views.band[start:]
    inside = np.mean(np.abs(ours - measured.intensity) <= band, axis=1)
    with hdf5_file(path) as opened, h5py.File(opened, "w") as file:
        file.attrs["round"] = round_
        file["axis"] = axis
        file["generated/composition"] = compositions
        kept = {f"generated/{name}": spectra for name, spectra in views._asdict().items()}
        kept |= {"measured/intensity": measured.intensity, "measured/fit": measured.fit}
        for name, spectra in kept.items():
            chunks = (min(_CHUNK, len(spectra)), spectra.shape[1])
            file.create_dataset(name, data=spectra.astype("<f2"), chunks=chunks, compression="gzip", shuffle=True)
        file["measured/id"] = np.array(measured.ids, dtype="S")
        file["measured/wafer"] = np.array([wafer.encode() for wafer in measured.wafers], dtype="S")
        file["measured/hold_out"] = measured.hold_out
        for name, values in measured.figures.items():
            file[f"measured/{name}"] = values
        for name, values in measured.generated.items():
            file[f"measured/generated/{name}"] = values
        for name, values in measured.left_out.items():
            file[f"measured/left_out/{name}"] = values
        file["measured/inside"] = np.where(np.isfinite(band).all(axis=1), inside, np.nan)
        if known is not None:
            file["known/compositions"] = known.compositions
            for name, values in known.figures.items():
                file[f"known/{name}"] = values
        file["measured/mse"] = np.mean((ours - measured.intensity) ** 2, axis=1)


def read_archive(path: Path) -> SpectraArchive:
    """Open an archive.

    Raises:
        ModelError: If the file is missing, harmed or no archive.
    """
    _refuse_harmed(path)
    with _opened(path) as file:
        compositions = _read(file, "generated/composition")
        ids = [id_.decode() for id_ in _read(file, "measured/id")]
        measured = MeasuredNames(
            ids,
            compositions[len(compositions) - len(ids) :],
            _read(file, "measured/hold_out"),
            _read_figures(file, "measured"),
            _read_figures(file, "measured/generated"),
            _read_figures(file, "measured/left_out"),
            _read(file, "measured/inside") if "measured/inside" in file else np.full(len(ids), np.nan),
            [w.decode() for w in _read(file, "measured/wafer")] if "measured/wafer" in file else [""] * len(ids),
        )
        return SpectraArchive(
            path=path,
            round=int(np.asarray(file.attrs["round"])),
            axis=_read(file, "axis"),
            generated=compositions,
            measured=measured,
            known=KnownAlloys(_read(file, "known/compositions"), _read_figures(file, "known"))
            if "known" in file
            else KnownAlloys(measured.compositions, measured.figures),
            mse=_read(file, "measured/mse"),
        )


def harm_of_archive(path: Path) -> str | None:
    """Return how an archive isn't what was written, as `harm_of`; one that has no hash in its name is read for that."""
    if (harm := harm_of(path)) or is_named_by_content(path):
        return harm
    try:
        read_archive(path)
        with _opened(path) as file:
            file.visititems(_read_all)
    except ModelError as error:
        return f"can't be read ({error.__cause__})"
    return None


def _read_all(_name: str, found: h5py.Group | h5py.Dataset) -> None:
    if isinstance(found, h5py.Dataset):
        found[()]


@contextmanager
def _opened(path: Path) -> Generator[h5py.File]:
    try:
        with h5py.File(path) as file:
            yield file
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is no archive that can be read ({error}). {_REMEDY}") from error


def _refuse_harmed(path: Path) -> None:
    """Refuse a file that isn't what was written, by the hash in its name.

    Raises:
        ModelError: If it is missing, changed or cut off.
    """
    if harm := harm_of(path):
        raise ModelError(f"{path} {harm}. {_REMEDY}")


def _stored(file: h5py.File, name: str) -> str:
    """Return where the spectra of that name are; older archives call the two spreads otherwise."""
    earlier = {"epistemic_std": "between", "aleatoric_std": "within"}.get(name, name)
    return f"generated/{name if f'generated/{name}' in file else earlier}"


def _read_figures(file: h5py.File, group: str) -> PeakFigures:
    """Return the figures that there are, their std and P(glass); an archive may be older than any of them."""
    ends = [(f.name, f.std_name, f.expected_name, f.predictive_std_name) for f in FIGURES]
    names = [name for of_figure in ends for name in of_figure]
    places = {name: f"{group}/{name}" for name in (*names, P_GLASS)}
    return {name: _read(file, place) for name, place in places.items() if place in file}


def _read(file: h5py.File, name: str, row: int | None = None) -> np.ndarray:
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise TypeError(f"{name} holds no numbers")
    return np.asarray(found[()] if row is None else found[row])


def read_map(path: Path, only: Sequence[str] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the map's columns by name, and its metadata.

    A map shows the figures that there were when it was made. Those made by glassmap 0.1 call the standard deviation of
    a figure its spread; here it comes under the one name. Older ones lack `distance`, or `known` and `expected_error`;
    here these are NaN, as where the model could not say.

    Args:
        path: Of the map.
        only: The columns to read, those that it has; by default all.

    Raises:
        ModelError: If the file is missing, harmed or no map.
    """
    _refuse_harmed(path)
    try:
        there = None if only is None else [name for name in pq.read_schema(path).names if name in only]
        table = pq.read_table(path, columns=there)
        metadata = json.loads(table.schema.metadata[b"glassmap"])
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise ModelError(f"{path} is no map ({error}). {_REMEDY}") from error
    columns = {name.replace("_spread", "_std"): table[name].to_numpy() for name in table.column_names}
    unknown = np.full(len(table), np.nan, dtype=np.float32)
    came_later = {name: columns.get(name, unknown) for name in ("distance", "expected_error", "known")}
    return {**columns, **came_later}, metadata
