"""A campaign to look at from Python: what was measured, learned and decided so far, as tables; see docs/python.md."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glassmap.agent.config.glass import is_glass_given
from glassmap.agent.config.wish import read_wish
from glassmap.agent.data.composition import parse_composition
from glassmap.agent.errors import ModelError, StoreError
from glassmap.agent.maps.glass import LIKELY, GlassRule
from glassmap.agent.maps.regions import MOST_PLACES, Candidates, MeasuredAlloys, find_candidates
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.peaks.measures import MEASURES
from glassmap.agent.planning.convergence import CurvePoint, Estimate
from glassmap.agent.shapes import Compositions
from glassmap.agent.store.campaign_store import CampaignStore

if TYPE_CHECKING:
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    from glassmap.agent.data.context import Held
    from glassmap.agent.data.dataset import SpectraSet
    from glassmap.agent.models.ensemble import EnsemblePrediction, TrainedEnsemble
    from glassmap.agent.store.status import Status


class Campaign:
    """A campaign's folder, to be read; safe while `glassmap run` or a `Planner` is at it.

    Every property looks again, in one snapshot of the store, so that it says how things stand when it is asked.
    Columns of the tables are named as in the store; docs/python.md lists them with their units.

    Args:
        folder: The campaign's, which holds `campaign.db`.

    Raises:
        StoreError: If no campaign was started there, or a later glassmap wrote it.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        with self._store() as store:
            self.elements: tuple[str, ...] = tuple(store.elements)

    def __repr__(self) -> str:
        return f"Campaign({str(self.folder)!r})"

    @property
    def status(self) -> Status:
        """Where the campaign stands."""
        with self._store() as store:
            return store.status()

    @property
    def curve(self) -> pd.DataFrame:
        """The learning curve, a row for each round whose model was judged."""
        import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

        with self._store() as store:
            records = [point.to_json() for point in store.curve()]
        unknown = dict.fromkeys((measure.name for measure in MEASURES), Estimate(math.nan, math.nan))
        none = CurvePoint(0, 0, math.nan, None, 0, unknown, {}).to_json()  # the columns that there are in any case
        names = dict.fromkeys(name for record in (none, *records) for name in record)
        return pd.DataFrame(records, columns=list(names))

    @property
    def measurements(self) -> pd.DataFrame:
        """Every measurement in the order they came, used or not: its alloy in at.%, its state, what else was found."""
        import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

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
        return table

    @property
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

    @property
    def map(self) -> pd.DataFrame:
        """The last round's map: at.%, figures of the first peak, and how sure the model is, of every alloy.

        Raises:
            StoreError: If there is no map yet.
            ModelError: If its file was removed or is damaged.
        """
        import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

        from glassmap.agent.maps.spectra_archive import read_map

        return pd.DataFrame(read_map(self._latest("map"))[0])

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
        import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

        with self._store() as store:
            found = read_candidates(store, level=level, only_known=only_known, most=most)
        return pd.DataFrame([place.to_row(self.elements) for place in found.places])

    def predict(
        self, compositions: Compositions | Sequence[str], *, held: Held | None = None, device: str = "cpu"
    ) -> EnsemblePrediction:
        """Predict spectra with the last round's model, on the campaign's axis.

        Args:
            compositions: Names in at.% such as `["Co30V40Zr30"]`, or atomic fractions in the order of `elements`,
                shape `(n, e)`.
            held: A value of each process variable, such as `{"rate": "low"}`; by default the campaign's own.
            device: `cpu`, `cuda`, or `auto` for a CUDA device where there is one.

        Raises:
            CompositionError: If a name can't be read or holds an element that isn't the campaign's.
            StoreError: If there is no model yet.
            ModelError: If the model can't be read, or doesn't know the process variables.
        """
        return self._ensemble(held, device).predict(self._fractions(compositions))

    def figures(
        self, compositions: Compositions | Sequence[str], *, held: Held | None = None, device: str = "cpu"
    ) -> pd.DataFrame:
        """Say what the last round's model expects of alloys, in the columns of `map`: first peak, how sure, P(glass).

        Args:
            compositions: As of `predict`; also alloys off the map's grid.
            held: As of `predict`.
            device: As of `predict`.

        Raises:
            CompositionError: If a name can't be read or holds an element that isn't the campaign's.
            StoreError: If there is no model yet.
            ModelError: If the model can't be read, doesn't know the process variables, or is of g(r), which has none.
        """
        import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

        from glassmap.agent.data.spectrum import q_axis
        from glassmap.agent.maps.peak_map import map_block

        with self._store() as store:
            q, glass = q_axis(*store.axis()), store.glass
        if q is None:
            raise ModelError("g(r) has no first peak in q. `predict` gives its curve.")
        fractions = self._fractions(compositions)
        rule = GlassRule() if glass is None else glass[1]
        found = map_block(self._ensemble(held, device).forecasting(q), fractions, q=q, glass=rule)
        return pd.DataFrame(dict(zip(self.elements, 100 * fractions.T, strict=True)) | found)

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

    def _fractions(self, compositions: Compositions | Sequence[str]) -> Compositions:
        """Return atomic fractions of alloys that may be named."""
        if isinstance(compositions, np.ndarray):
            return compositions
        return np.array([parse_composition(name, self.elements) for name in compositions])

    def _ensemble(self, held: Held | None, device: str) -> TrainedEnsemble:
        """Return the last round's model, held at some process variables or at the campaign's own."""
        from glassmap.agent.models.ensemble import TrainedEnsemble

        ensemble = TrainedEnsemble.load(self._latest("checkpoint"), device=device)
        return ensemble.held_at(held) if held else ensemble

    def _latest(self, kind: str) -> Path:
        with self._store() as store:
            return _latest(store, kind)[1]

    @contextmanager
    def _store(self) -> Generator[CampaignStore]:
        with CampaignStore.read_only(self.folder) as store:
            if not store.has_begun:
                raise StoreError(f"The campaign in {self.folder} is being started right now. Try again in a moment.")
            yield store


def read_candidates(
    store: CampaignStore, *, level: float = LIKELY, only_known: bool = True, most: int = MOST_PLACES
) -> Candidates:
    """Return where on a campaign's last map one would bet on a glass; see `find_candidates`.

    What was measured is as of that map.

    Raises:
        StoreError: If there is no map yet.
        ModelError: If its file was removed or is damaged.
        CampaignError: If the wish in the campaign file is wrong.
    """
    from glassmap.agent.maps.spectra_archive import read_archive, read_map

    elements, config = tuple(store.elements), store.config
    round_, path = _latest(store, "map")
    columns, metadata = read_map(path)
    archive = store.artefact("archive")
    known = None if archive is None else read_archive(archive[1]).measured
    return find_candidates(
        np.stack([columns[element] for element in elements], axis=1) / 100,
        columns,
        elements,
        step_at_pct=store.space_of(round_)["step_at_pct"],
        rule=GlassRule.from_json(metadata.get("glass")) if not store.source or is_glass_given(config) else None,
        measured=known and MeasuredAlloys(known.ids, known.compositions, known.figures[DELTA_Q.name]),
        wish=read_wish(store.folder, config),
        only_known=only_known,
        level=level,
        most=most,
    )


def _latest(store: CampaignStore, kind: str) -> tuple[int, Path]:
    """Return round and path of the newest file of a kind.

    Raises:
        StoreError: If there is none yet.
    """
    if (found := store.artefact(kind)) is None:
        raise StoreError(f"{store.folder} has no {kind} yet; the first comes with the first round. Let it run on.")
    return found
