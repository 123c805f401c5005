"""A campaign to look at from Python: what was measured, learned and decided, as tables and figures."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glassmap.agent.config.campaign import held_of
from glassmap.agent.config.glass import is_glass_given
from glassmap.agent.data.composition import SAME_ALLOY, check_fractions, parse_composition
from glassmap.agent.data.context import Held, say_held
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import CompositionError, ModelError, StoreError
from glassmap.agent.maps.glass import LIKELY, P_GLASS, GlassRule
from glassmap.agent.maps.regions import MOST_PLACES
from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.peaks.measures import MEASURES
from glassmap.agent.planning.convergence import CurvePoint, Estimate
from glassmap.agent.shapes import Axis, Compositions
from glassmap.agent.store.campaign_store import CampaignStore

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from glassmap.agent.data.dataset import SpectraSet
    from glassmap.agent.models.ensemble import TrainedEnsemble
    from glassmap.agent.store.status import Status

AT_PCT = "at.%"
UNITS = {  # of columns of tables, as far as they have one
    **{
        name: figure.unit
        for figure in FIGURES
        for name in (figure.name, figure.std_name, figure.expected_name, figure.predictive_std_name)
        if figure.unit
    },
    "distance": AT_PCT,
    "density": "g/cm³",
    "cost_per_kg": "US dollars",
    "hours": "h",
}


class Campaign:
    """A campaign's folder, to be read; safe while `glassmap run` or a `Planner` is at it.

    Every method looks again, in one snapshot of the store, so that it says how things stand when it is asked. Columns
    of the tables are named as in the store; docs/python.md lists them, and `table.attrs["units"]` says their units.
    Campaigns of every kind are read alike: replayed, simulated, of a laboratory, running or done.

    Args:
        folder: The campaign's, which holds `campaign.db`.

    Raises:
        StoreError: If no campaign was started there, or a later glassmap wrote it.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        with self._store() as store:
            self.elements: tuple[str, ...] = tuple(store.elements)
        self._loaded: tuple[Path, str, TrainedEnsemble] | None = None

    def __repr__(self) -> str:
        return f"Campaign({str(self.folder)!r})"

    def status(self) -> Status:
        """Where the campaign stands."""
        with self._store() as store:
            return store.status()

    def curve(self) -> pd.DataFrame:
        """The learning curve, a row for each round whose model was judged."""
        import pandas as pd

        with self._store() as store:
            records = [point.to_json() for point in store.curve()]
        unknown = dict.fromkeys((measure.name for measure in MEASURES), Estimate(math.nan, math.nan))
        none = CurvePoint(0, 0, math.nan, None, 0, unknown, {}).to_json()  # the columns that there are in any case
        names = dict.fromkeys(name for record in (none, *records) for name in record)
        return self._with_units(pd.DataFrame(records, columns=list(names)))

    def measurements(self) -> pd.DataFrame:
        """Every measurement in the order they came, used or not: its alloy in at.%, its state, what else was found."""
        import pandas as pd

        with self._store() as store:
            found = store.measurements()
        rows = [
            {name: value for name, value in one.facts.items() if not isinstance(value, dict | list)}
            | one.facts.get("context", {})
            | {name: value for name, value in one._asdict().items() if name not in ("composition", "facts", "screened")}
            | {element: 100 * share for element, share in zip(self.elements, one.composition, strict=True)}
            for one in found
        ]
        first = ["id", "suggestion", "round", *self.elements, "hold_out", "state", "reason", "backend", "taken"]
        table = pd.DataFrame(rows, columns=list(dict.fromkeys(first + [name for row in rows for name in row])))
        table["taken"] = pd.DatetimeIndex([datetime.fromisoformat(one.taken) for one in found], tz="UTC")
        return self._with_units(table)

    def spectra(self) -> SpectraSet:
        """The spectra that are used, trained on or held out (`coordinates["hold_out"]`), on the campaign's axis.

        Raises:
            DatasetError: If there are none yet.
        """
        from glassmap.agent.data.dataset import SpectraSet

        with self._store() as store:
            axis_name, axis, wavelength = store.axis()
            parts = [store.spectra(hold_out=hold_out) for hold_out in (False, True)]
        return SpectraSet(
            ids=tuple(id_ for ids, _, _ in parts for id_ in ids),
            elements=self.elements,
            compositions=np.concatenate([compositions for _, compositions, _ in parts]),
            axis_name=axis_name,
            axis=axis,
            intensities=np.concatenate([spectra for _, _, spectra in parts]),
            coordinates={"hold_out": np.repeat([False, True], [len(ids) for ids, _, _ in parts])},
            wavelength=wavelength,
        )

    def map(self, held: Held | None = None) -> pd.DataFrame:
        """The last round's map: at.%, figures of the first peak, and how sure the model is, of every alloy.

        Args:
            held: Values of process variables; by default those that rounds go by. There are maps at those that
                `[space] context` lists.

        Raises:
            StoreError: If there is no such map yet.
            ModelError: If its file was removed or is damaged, or spectra are g(r), which has no first peak in q.
        """
        import pandas as pd

        from glassmap.agent.maps.spectra_archive import read_map

        with self._store() as store:
            _q_of(store)
            columns = read_map(store.newest(_kind_of_map(store, held))[1])[0]
            return self._with_units(pd.DataFrame(_without_unsaid(columns, store)))

    def candidates(self, *, level: float = LIKELY, only_known: bool = True, most: int = MOST_PLACES) -> pd.DataFrame:
        """Where on the last map one would bet on a glass, a row a place, the one of largest expected Δq first.

        Places meet what `[wish]` in the campaign file asks for. A simulated campaign has those of largest Δq.

        Args:
            level: Probability from which an alloy counts as likely a glass.
            only_known: Whether to leave out what is extrapolated.
            most: Rows.

        Raises:
            StoreError: If there is no map yet.
            ModelError: If its file was removed or is damaged.
            CampaignError: If the wish can't be read.
        """
        import pandas as pd

        from glassmap.agent.store.candidates import read_candidates

        with self._store() as store:
            found = read_candidates(store, level=level, only_known=only_known, most=most)
        return self._with_units(pd.DataFrame([place.to_row(self.elements) for place in found.places]))

    def model(self, held: Held | None = None, *, device: str = "cpu") -> TrainedEnsemble:
        """The last round's model, which predicts and draws spectra of any alloys, on the campaign's axis.

        Args:
            held: Process variables at other values than the campaign's, such as `{"rate": "low"}`.
            device: `cpu`, `cuda`, or `auto` for a CUDA device where there is one.

        Raises:
            StoreError: If there is no model yet.
            ModelError: If it can't be read, or doesn't know the process variables.
        """
        with self._store() as store:
            return self._model(store, held, device)

    def predict(
        self, alloys: str | Sequence[str] | Compositions, *, held: Held | None = None, device: str = "cpu"
    ) -> pd.DataFrame:
        """What the last round's model expects of some alloys, a row each, in the columns of `map`.

        Of g(r), which has no first peak in q, there are at.%, distance and expected error alone; `generate` gives its
        curve.

        Args:
            alloys: A name in at.% such as `"Co40V32Zr28"`, several, or atomic fractions in the order of `elements`,
                shape `(n, e)`; on the map's grid or off it.
            held: As of `model`.
            device: As of `model`.

        Raises:
            CompositionError: If a name can't be read or holds an element that isn't the campaign's, or fractions don't
                sum to 1.
            StoreError: If there is no model yet.
            ModelError: If the model can't be read, or doesn't know the process variables.
        """
        fractions = self._fractions(alloys)
        import pandas as pd
        from scipy.spatial import KDTree

        from glassmap.agent.maps.peak_map import map_block

        with self._store() as store:
            ensemble, q = self._model(store, held, device), q_axis(*store.axis())
            rule = GlassRule() if store.glass is None else store.glass[1]
            if q is None:
                found = {"expected_error": ensemble.expected_errors(fractions)}
            else:
                found = _without_unsaid(map_block(ensemble.forecasting(q), fractions, q=q, glass=rule), store)
        error = found["expected_error"]
        found["distance"] = 100 * KDTree(ensemble.learned_from).query(fractions)[0]
        found["known"] = np.where(np.isnan(error), np.nan, error < ensemble.known_below)
        return self._with_units(pd.DataFrame(dict(zip(self.elements, 100 * fractions.T, strict=True)) | found))

    def generate(self, alloy: str | Compositions, *, held: Held | None = None, device: str = "cpu") -> pd.DataFrame:
        """The spectrum that the last round's model generates of an alloy, a row a point of the axis.

        Columns: the axis (`q` in 1/Å, `two_theta` in degrees or `r` in Å), `mean`, `low` and `high` (the band that is
        to hold nine of ten measured points), `sample` (one draw of what may be measured), `epistemic_std`,
        `aleatoric_std`. More draws: `model().draws`.

        Args:
            alloy: As of `predict`, one.
            held: As of `model`.
            device: As of `model`.

        Raises:
            CompositionError: As of `predict`, or if there are several.
            StoreError: If there is no model yet.
            ModelError: If the model can't be read, or doesn't know the process variables.
        """
        composition = self._fraction(alloy)
        from glassmap.flows.figures import generate

        with self._store() as store:
            return generate(store, composition, self._model(store, held, device)).table()

    def plot_curve(self) -> Figure:
        """The learning curve, drawn: what held-out spectra say, by each measure, against the spectra learned from.

        Raises:
            StoreError: If no round is judged yet.
        """
        from glassmap.dashboard.data import read_begun_campaign
        from glassmap.dashboard.pictures import picture_of_curve

        campaign = read_begun_campaign(self.folder)
        if not campaign.curve:
            raise StoreError(f"{self.folder} has no learning curve yet; the first round isn't judged. Let it run on.")
        return picture_of_curve(campaign)

    def plot_map(self, column: str | None = None, *, held: Held | None = None) -> Figure:
        """The last map, drawn: of three elements beside what was measured, of four as slices at shares of the last.

        Args:
            column: What of it, such as `delta_q`, `q1` or `p_glass`; by default P(glass), or Δq where it can't be said
                what a glass is.
            held: As of `map`.

        Raises:
            StoreError: If there is no map yet.
            ModelError: If its file was removed or is damaged, the map has no such column, or it is of g(r) or of other
                than three or four elements.
        """
        from glassmap.dashboard.data import read_begun_campaign
        from glassmap.dashboard.pictures import picture_of_last_map

        with self._store() as store:
            _q_of(store)
            found = store.newest(_kind_of_map(store, held))
            said = say_held(_held_at(store, held))
        return picture_of_last_map(read_begun_campaign(self.folder), found, column, held=said)

    def plot_spectrum(self, alloy: str | Compositions, *, held: Held | None = None, device: str = "cpu") -> Figure:
        """The spectrum that the last round's model generates of an alloy, drawn with its band, over what was measured.

        Args:
            alloy: As of `predict`, one.
            held: As of `model`.
            device: As of `model`.

        Raises:
            CompositionError: As of `predict`, or if there are several.
            StoreError: If there is no model yet.
            ModelError: If the model can't be read, or doesn't know the process variables.
        """
        composition = self._fraction(alloy)
        from glassmap.flows.figures import generate, picture_of_spectrum

        with self._store() as store:
            generated = generate(store, composition, self._model(store, held, device))
            used = [one for one in store.measurements() if one.state == "used"]
            there = [one.id for one in used if np.abs(np.array(one.composition) - composition).max() <= SAME_ALLOY]
            return picture_of_spectrum(store, generated, store.spectra_of(there) if there else None)

    def notes(self) -> pd.DataFrame:
        """What people remarked, the oldest first: when (UTC), who, the text, and what it is about."""
        import pandas as pd

        with self._store() as store:
            rows = [note._asdict() for note in store.notes()]
        columns = ["id", "time", "person", "text", "about", "round", "measurement"]
        table = pd.DataFrame(rows, columns=columns).astype({"round": "Int64"})
        table["time"] = pd.DatetimeIndex([datetime.fromisoformat(row["time"]) for row in rows], tz="UTC")
        return table

    def export(self, path: Path | str) -> int:
        """Write all measurements with their spectra, decisions and the log to one file; see docs/operations.md.

        Args:
            path: Ends in .nc, .parquet or .json; the file is there whole or not at all.

        Returns:
            How many measurements it holds.

        Raises:
            DatasetError: If the name ends otherwise, or nothing is measured yet.
        """
        from glassmap.agent.store.export import export_campaign

        with self._store() as store:
            return export_campaign(store, Path(path))

    def _fraction(self, alloy: str | Compositions) -> Compositions:
        """Return the atomic fractions of one alloy, shape `(e,)`."""
        fractions = self._fractions(alloy)
        if len(fractions) != 1:
            raise CompositionError(f"A spectrum is of one alloy, got {len(fractions)}. Ask for each in turn.")
        return fractions[0]

    def _fractions(self, alloys: str | Sequence[str] | Compositions) -> Compositions:
        """Return atomic fractions of alloys that may be named, shape `(n, e)`."""
        named = [alloys] if isinstance(alloys, str) else list(alloys)
        if named and all(isinstance(alloy, str) for alloy in named):
            return np.array([parse_composition(str(alloy), self.elements) for alloy in named])
        fractions = np.atleast_2d(np.array(named, dtype=np.float64))
        check_fractions(fractions, len(self.elements), "alloys")
        return fractions

    def _model(self, store: CampaignStore, held: Held | None, device: str) -> TrainedEnsemble:
        """The last round's model, read once for as long as it is the last."""
        from glassmap.agent.models.ensemble import TrainedEnsemble

        path = store.newest("checkpoint")[1]
        if self._loaded is None or self._loaded[:2] != (path, device):
            self._loaded = path, device, TrainedEnsemble.load(path, device=device)
        ensemble = self._loaded[2]
        if not held:
            return ensemble
        return ensemble.held_at({**({} if ensemble.context is None else ensemble.context.held), **held})

    def _with_units(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table that says the units of its columns."""
        units = UNITS | dict.fromkeys(self.elements, AT_PCT)
        table.attrs["units"] = {str(name): units[name] for name in table.columns if name in units}
        return table

    @contextmanager
    def _store(self) -> Generator[CampaignStore]:
        with CampaignStore.read_only(self.folder) as store:
            if not store.has_begun:
                raise StoreError(f"The campaign in {self.folder} is being started right now. Try again in a moment.")
            yield store


def _q_of(store: CampaignStore) -> Axis:
    """Return the axis in 1/Å.

    Raises:
        ModelError: If spectra are g(r).
    """
    if (q := q_axis(*store.axis())) is None:
        raise ModelError("g(r) has no first peak in q, and so no map. `generate` gives the curve of an alloy.")
    return q


def _held_at(store: CampaignStore, held: Held | None) -> Held:
    return {**held_of(store.config), **(held or {})}


def _kind_of_map(store: CampaignStore, held: Held | None) -> str:
    """Return what a map is recorded as: `map`, or with the process variables that it is held at."""
    return "map" if _held_at(store, held) == held_of(store.config) else f"map at {say_held(_held_at(store, held))}"


def _without_unsaid(columns: Mapping[str, np.ndarray], store: CampaignStore) -> dict[str, np.ndarray]:
    """Return a map's columns with P(glass) of simulated spectra unknown, where no `[glass]` says what one is there."""
    found = dict(columns)
    if P_GLASS in found and store.source and not is_glass_given(store.config):
        found[P_GLASS] = np.full_like(found[P_GLASS], np.nan)
    return found
