"""Ask and tell from Python: the campaign of a laboratory, driven by a notebook or a beamline.

    with Planner.create("campaigns/beamline", elements="Co-V-Zr", q_range=(1.5, 4.5)) as planner:
        while not planner.should_stop()[0]:
            for alloy in planner.suggest(5):
                q, intensity = measure(alloy["Co"], alloy["V"], alloy["Zr"])  # yours
                planner.ingest([{"_id": alloy["_id"], "q": q, "intensity": intensity}])

The methods are those that bluesky-adaptive 1.0 asks of an optimizer, one that knows failures, one with a stopping
criterion and one that can be checkpointed; and a few for people, who want to know what it learned.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from glassmap.agent.config.backends import BACKENDS, settings_of
from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.config.space import LAB_POINTS
from glassmap.agent.data.composition import close_compositions, elements_of
from glassmap.agent.data.context import WAFER, Held, Value, read_value, say_held
from glassmap.agent.data.raw_scan import WAVELENGTHS, RawScan
from glassmap.agent.data.samples import name_of_wafer
from glassmap.agent.data.scan_matching import SAME_PLACE, own_name
from glassmap.agent.errors import CampaignBusy, CampaignError, CompositionError
from glassmap.agent.outside_text import plain_name
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.progress import Report
from glassmap.agent.shapes import AxisName, Composition, Compositions, Spectrum
from glassmap.agent.store.records import Suggestion, WaferGain
from glassmap.flows.backends.lab.matching import is_in_use
from glassmap.flows.backends.protocol import CONTEXT, FROM_PYTHON, Deliveries
from glassmap.flows.campaign import Campaign
from glassmap.flows.rounds.campaign import OpenCampaign, next_round, open_campaign, round_of_arrivals
from glassmap.flows.rounds.enough import weigh_wafers
from glassmap.flows.rounds.orders import by_stage
from glassmap.flows.rounds.record import record

if TYPE_CHECKING:
    import pandas as pd

    from glassmap.agent.store.status import Status

ID = "_id"  # key of a point, as bluesky-adaptive calls it
BEST = 10  # points of `get_best_points`
SECONDS_A_STEP = 2.5e-3  # of a network, on two CPU cores; before a round says how long it took


class _Read(NamedTuple):
    """A point that was told, as it is recorded."""

    asked: Suggestion | None
    composition: Composition  # atomic fraction
    context: Held
    scan: RawScan
    spectrum: Spectrum
    also: Mapping[str, Any]  # facts: which sample it is of, and where that lies


class Planner:
    """A laboratory's campaign, open to be asked and told; holds the campaign's lock until closed.

    What was suggested, measured and learned is in the campaign's folder at once, so that a process that dies loses
    nothing: the next Planner of the folder suggests first what was suggested and never measured. `glassmap status`,
    `orders`, `log` and the others work on it as on any campaign.

    Args:
        folder: The campaign's.
        config: Its settings, with `backend.kind = "lab"`; those of its campaign file by default.
        report: Told how far training and mapping are. By default a line to standard error says before each training
            what is trained, and about how long that takes.

    Raises:
        CampaignError: If the settings are wrong, or of no laboratory.
        CampaignBusy: If another process, or another Planner of this one, is at the campaign.
    """

    def __init__(
        self, folder: Path | str, config: CampaignConfig | None = None, *, report: Report | None = None
    ) -> None:
        self.folder = folder = Path(folder)
        path = folder / FILE_NAME
        settings = config or CampaignConfig.from_toml(path)
        if not settings.backend.takes_deliveries:
            told = " or ".join(repr(kind) for kind in BACKENDS if settings_of(kind).takes_deliveries)
            raise CampaignError(
                f"A planner is told, so backend.kind must be {told}; got {settings.backend.kind!r}. `glassmap init "
                "--lab` makes such a campaign; `Campaign` reads any."
            )
        if config is not None:
            if path.exists():
                earlier = CampaignConfig.from_toml(path).model_dump(mode="json")
                config = config.continuing(earlier, given={})
                config.check_continues(earlier, folder=folder)
            config.to_toml(path)
        self._stack = ExitStack()
        try:
            opened = self._stack.enter_context(open_campaign(folder, report=report or self._announce))
        except CampaignBusy as busy:
            raise CampaignBusy(f"{busy} A Planner of this process that holds it gives it free by `close()`.") from busy
        self._campaign: OpenCampaign = opened
        self._first_round = settings.first_own_round
        self._given: set[str] = set()  # suggested by this process
        self._announced: tuple[str, int | None] | None = None  # the training that was told of last

    @classmethod
    def create(
        cls,
        folder: Path | str,
        *,
        elements: str | Sequence[str],
        q_range: tuple[float, float],
        batch: int | None = None,
        report: Report | None = None,
        **tables: Mapping[str, Any],
    ) -> Self:
        """Begin a campaign, or go on with the one that began there with the same settings.

        Args:
            folder: Of the campaign, made where it doesn't exist; the campaign is called as it is.
            elements: `"Co-V-Zr"`, or symbols one by one.
            q_range: In 1/Å, that every spectrum covers; 800 points of it are learned from.
            batch: Alloys of a round; 20 by default.
            report: As of `Planner`.
            **tables: Others of the campaign file, such as `space={"step_at_pct": 5}` or `stop={"max_rounds": 3}`.

        Raises:
            CampaignError: If a setting is unknown or impossible, or another than the campaign began with.
            CampaignBusy: If another process, or another Planner of this one, is at the campaign.
        """
        symbols = elements_of(elements if isinstance(elements, str) else "-".join(elements))
        begun: dict[str, dict[str, Any]] = {
            "space": {"elements": symbols},
            "spectrum": {"low": q_range[0], "high": q_range[1], "points": LAB_POINTS},
            "backend": {"kind": "lab", "columns": "q"},
            "planning": {} if batch is None else {"batch": batch},
        }
        settings = {"name": Path(folder).resolve().name} | tables
        settings |= {name: table | dict(tables.get(name, {})) for name, table in begun.items()}
        return cls(folder, CampaignConfig.of(settings, source="Planner.create"), report=report)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the campaign free for others."""
        self._stack.close()

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        """The next alloys to measure, each `{"_id": "r001-01", "Co": 39.0, …}` in at.% and with its context.

        Of a sample that exists `wafer`, `sample`, `x` and `y` (mm) are said, too, as far as they are known, and they
        come wafer by wafer, on each by a short way over the stage. A round's batch is planned at once, `planning.batch`
        alloys; this gives them out, `num_points` (1) at a time or what is left of the round. Once all of them are
        measured or failed, the next round begins with training; see `learn`.

        Raises:
            CampaignError: If the campaign has stopped, or all that is asked for is still being measured.
        """
        free = self._free()
        if not free:
            self._advance()
            free = self._free()
        if next_round(self._campaign.store) is None:
            store = self._campaign.store
            raise CampaignError(
                f"The campaign has stopped: {store.status().reason} `glassmap extend {store.folder} --rounds 1` has "
                "it go on."
            )
        free = free[: num_points or 1]
        if not free:
            raise CampaignError(
                f"{self._campaign.store.status().reason} All that may be measured was suggested; ingest it, or "
                "register its failure, first."
            )
        self._given |= {s.id for s in free}
        return [self._point(s) for s in free]

    def suggested(self) -> list[dict[str, Any]]:
        """What this planner has suggested and is neither measured nor failed, as `suggest` gave it out."""
        pending = self._campaign.store.suggestions(pending=True)
        return [self._point(s) for s in by_stage([s for s in pending if s.id in self._given])]

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Tell what was measured.

        Args:
            points: Each with `intensity` against `q` (1/Å) or `two_theta` (degrees, with `wavelength` in Å unless the
                campaign file says it); with the `_id` of its suggestion, unless nobody asked for it, or in its place
                the `sample`, or `x` and `y` in mm, with the `wafer` where there are several; with the measured share of
                each element in at.%, unless it is the target's or that of a sample that is known to exist; with the
                `wafer` that it lies on, where several share one; and with each process variable that the campaign has
                under `[space] context`. All are taken or none; what was told before, to the last digit, is not taken
                again.

        Raises:
            CampaignError: If a point lacks something, or its `_id` is unknown.
            CompositionError: If its shares don't sum to 100.
            SpectrumError: If its spectrum doesn't cover the campaign's range, or holds no signal.
        """
        store = self._campaign.store
        read = [self._read(point) for point in points]
        self._given -= {asked.id for asked, *_ in read if asked is not None}  # who retries one wants it suggested again
        round_ = round_of_arrivals(store)
        with store.transaction():
            for asked, composition, context, scan, spectrum, also in read:
                also = dict(also)
                content = b"".join(values.tobytes() for values in (composition, scan.axis, scan.intensity))
                if context:
                    also[CONTEXT], content = dict(context), content + say_held(context).encode()
                digest = hashlib.sha256(f"{asked and asked.id} {scan.wavelength} ".encode() + content).hexdigest()
                if is_in_use(store, digest):
                    store.log("duplicate", "told twice from Python", subject=asked.id if asked else "")
                    continue
                counts = float(np.median(scan.intensity))
                array = hashlib.sha256(scan.axis.tobytes() + scan.intensity.tobytes()).hexdigest()
                if before := store.told_as(array):
                    whose = asked.id if asked else "an alloy that nobody asked for"
                    detail = f"told of {whose}, the array of {', '.join(before)}; is it the detector's frame of before?"
                    store.log("duplicate", detail, subject=before[-1])
                facts = {"file": FROM_PYTHON, "hash": digest, "array": array, "counts": counts} | also
                record(
                    self._campaign,
                    round_,
                    self._deliveries.measured(asked, composition, spectrum, facts, store),
                )
        weigh_wafers(self._campaign)

    def enough(self) -> list[dict[str, Any]]:
        """What measuring the rest of each wafer would bring, by what was told so far; trains nothing.

        Returns:
            Of each wafer on which something is measured `wafer`, `measured` of its `points`, the `gain` of those left
            with the `tolerance` (a share of the MSE, 1/Å of the error of Δq, or a share of the wafer's alloys that
            change sides, by `stop.on`; None while fewer than ten spectra tell), `is_enough`, a `sentence`, and under
            `next` the points left that would bring most, the best first, each with `sample`, `x` and `y` (mm) where
            they are known, and its at.%.
        """
        weigh_wafers(self._campaign)  # what people decided in the meantime
        return [self._told(one) for one in self._campaign.store.wafer_gains()]

    def register_failures(self, suggestions: Sequence[Mapping[str, Any]]) -> None:
        """Tell which suggestions could not be measured; `glassmap retry` asks for them again."""
        store = self._campaign.store
        self._given -= {str(point.get(ID)) for point in suggestions}  # who retries one wants it suggested again
        told = {suggestion.id for point in suggestions if (suggestion := self._asked(point)) is not None}
        with store.transaction():
            for suggestion in [s for s in store.suggestions(pending=True) if s.id in told]:  # not what was measured
                store.record_failure(suggestion, "The measurement failed.")
                store.log("failed", "The measurement failed.", subject=suggestion.id)
                store.mark_order(suggestion.round)

    def should_stop(self) -> tuple[bool, str | None]:
        """Whether the campaign has stopped, and why; learns first, where a round is all in, see `learn`."""
        self._advance()
        stopped = next_round(self._campaign.store) is None
        return stopped, self._campaign.store.status().reason if stopped else None

    def learn(self) -> Status:
        """Where a round is all in: train, map, decide, and plan the next; else nothing.

        That takes half a minute by default on two cores, so it is said before. `suggest` and `should_stop` do it
        themselves where it is due.

        Returns:
            Where the campaign stands then.
        """
        self._advance()
        return self._campaign.store.status()

    def predict(self, alloys: str | Sequence[str] | Compositions) -> pd.DataFrame:
        """What the last round's model expects of some alloys; see `Campaign.predict`."""
        return self._read_only.predict(alloys)

    def map(self) -> pd.DataFrame:
        """The last round's map; see `Campaign.map`."""
        return self._read_only.map()

    def curve(self) -> pd.DataFrame:
        """The learning curve; see `Campaign.curve`."""
        return self._read_only.curve()

    def checkpoint(self) -> None:
        """Nothing to do: what is known is in the campaign's folder as soon as it is known."""

    def get_best_points(self) -> list[tuple[str, dict[str, float], dict[str, float]]]:
        """The measured alloys with the widest first peak, the probable glass formers: id, at.%, peak figures."""
        import torch  # a second or two, which who only asks or tells need not wait for

        from glassmap.agent.peaks.batched import measure_peaks

        store = self._campaign.store
        used = [m for m in store.measurements() if m.state == "used" and m.round >= self._first_round]
        peaks = measure_peaks(self._campaign.backend.axis, torch.from_numpy(store.spectra_of([m.id for m in used])))
        widths = np.nan_to_num(peaks.figures[DELTA_Q.name].numpy(), nan=-1.0)
        best = [int(row) for row in np.argsort(-widths, kind="stable")[:BEST] if widths[row] > 0]
        elements = self._campaign.config.space.elements
        return [
            (
                used[row].id,
                {element: 100 * share for element, share in zip(elements, used[row].composition, strict=True)},
                {name: float(values[row]) for name, values in peaks.figures.items()},
            )
            for row in best
        ]

    def _told(self, one: WaferGain) -> dict[str, Any]:
        """What the rest of a wafer would bring, as a notebook is told it."""
        points, elements = self._campaign.store.points_of(one.wafer), self._campaign.config.space.elements
        rows = {name: row for row, name in enumerate(points.names)}
        following = [
            {"sample": name}
            | {
                axis: float(at[rows[name]])
                for axis, at in (("x", points.x), ("y", points.y))
                if at[rows[name]] == at[rows[name]]
            }
            | dict(zip(elements, np.round(100 * points.compositions[rows[name]], 6).tolist(), strict=True))
            for name in one.next
        ]
        told = {"wafer": one.wafer, "measured": one.measured, "points": one.points, "gain": one.gain}
        return told | {"tolerance": one.worth, "is_enough": one.is_enough, "sentence": one.say(), "next": following}

    @property
    def _deliveries(self) -> Deliveries:
        deliveries = self._campaign.backend.deliveries
        assert deliveries is not None, "the settings say so"
        return deliveries

    @cached_property
    def _read_only(self) -> Campaign:
        return Campaign(self.folder)

    def _announce(self, stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        """Say before a training what is trained, and about how long that takes."""
        if done or stage not in ("train", "mend") or (stage, round_) == self._announced:
            return
        self._announced = stage, round_
        store, config = self._campaign.store, self._campaign.config
        took = [one.seconds for one in store.stages() if (one.name, one.status) == ("train", "done")]
        seconds = took[-1] if took else SECONDS_A_STEP * config.model.members * config.model.steps
        what = text or f"round {round_}: training on {len(store.used_alloys(check=False).learned)} spectra"
        print(f"glassmap: {what}; about {max(seconds, 1):.0f} s", file=sys.stderr)

    def _advance(self) -> None:
        """Have the campaign go on as far as it can; it doesn't where it has to wait."""
        from glassmap.flows.rounds.loop import advance  # loads torch: nobody waits for that who only asks or tells

        advance(self._campaign)

    def _free(self) -> list[Suggestion]:
        """What the laboratory may measure, is waited for, and was not suggested by this process."""
        store = self._campaign.store
        rounds: dict[int, list[Suggestion]] = {}
        for s in store.suggestions(pending=True):
            if s.id not in self._given and s.round >= self._first_round and store.batch_time(s.round, "ordered"):
                rounds.setdefault(s.round, []).append(s)
        return [s for some in rounds.values() for s in by_stage(some)]

    def _point(self, suggestion: Suggestion) -> dict[str, Any]:
        elements = self._campaign.config.space.elements
        shares = (round(100 * share, 6) for share in suggestion.composition)
        held = self._campaign.config.space.held  # how it is to be made
        where = {name: getattr(suggestion, name) for name in (WAFER, "sample", "x", "y")}
        known = {name: value for name, value in where.items() if value not in ("", None)}
        return {ID: suggestion.id, **dict(zip(elements, shares, strict=True)), **held, **known}

    def _existing(self, point: Mapping[str, Any]) -> tuple[dict[str, Any], Composition] | None:
        """The sample that a point says it is of, and its composition; None where it says none."""
        if "sample" not in point and not {"x", "y"} <= point.keys():
            return None
        known = self._campaign.store.existing()
        of = ", ".join(f"{name} {point[name]}" for name in ("sample", WAFER, "x", "y") if name in point)
        places = enumerate(zip(known.wafers, known.names, known.x.tolist(), known.y.tolist(), strict=True))
        rows = [k for k, (wafer, name, x, y) in places if _is_of(point, wafer, name, x, y)]
        if len(rows) > 1:
            wafers = ", ".join(known.wafers[k] for k in rows)
            raise CampaignError(f"{of}: there is one on each of the wafers {wafers}; say its `{WAFER}`.")
        if not rows:
            if any(element in point for element in self._campaign.config.space.elements):
                return None  # a sample that no list has, with its composition
            raise CampaignError(f"{of}: no such sample is known to exist. Say its composition in at.%, or correct it.")
        one = known.select(np.array(rows))
        x, y = (float(at[0]) for at in (one.x, one.y))
        where = {"sample": one.names[0], WAFER: one.wafers[0], "x": x, "y": y}
        said = {name: value for name, value in where.items() if value != "" and value == value}
        return said, one.compositions[0]

    def _asked(self, point: Mapping[str, Any]) -> Suggestion | None:
        if (id_ := point.get(ID)) is None:
            if (found := self._existing(point)) is None:
                return None
            said = found[0].get(WAFER, ""), found[0].get("sample", "")
            ordered = self._campaign.store.suggestions_of_samples()
            return next((one for one in ordered if (one.wafer, one.sample) == said), None)
        found = self._campaign.store.suggestion(str(id_))
        if found is None:
            raise CampaignError(f"Nothing was suggested as {id_!r}. Leave `{ID}` out of what nobody asked for.")
        return found

    def _read(self, point: Mapping[str, Any]) -> _Read:
        """A point as it is recorded."""
        asked, elements = self._asked(point), self._campaign.config.space.elements
        existing = self._existing(point) if ID not in point else None
        name = str(point.get(ID, "a point"))
        axis: AxisName | None = "q" if "q" in point else "two_theta" if "two_theta" in point else None
        if axis is None or "intensity" not in point:
            raise CampaignError(f"{name} must hold `intensity` and `q` or `two_theta`; got {', '.join(point)}.")
        given = [element for element in elements if element in point]
        if given and len(given) < len(elements):
            raise CampaignError(f"{name} says shares of {', '.join(given)} alone; say those of all {len(elements)}.")
        if given:
            shares = np.array([[_share_of(point, element, name) for element in elements]])
            composition = close_compositions(shares, elements=elements, names=[name])[0][0]
        elif existing is not None:
            composition = existing[1]
        elif asked is not None:
            composition = np.array(asked.composition)
        else:
            raise CampaignError(f"{name} must say its composition in at.%, as nobody asked for it.")
        also: dict[str, Any] = {WAFER: wafer} if (wafer := name_of_wafer(point.get(WAFER))) else {}
        if asked is not None and asked.sample:
            where = {"sample": asked.sample, WAFER: asked.wafer, "x": asked.x, "y": asked.y}
            also |= {key: value for key, value in where.items() if value not in ("", None)}
        elif existing is not None:
            also |= existing[0]
        context: dict[str, Value] = {}
        for variable, like in self._campaign.config.space.held.items():
            if (value := read_value(point.get(variable), variable, like)) is None:
                raise CampaignError(
                    f"{name} must say its {variable}, as the campaign has it under space.context; got "
                    f"{', '.join(point)}."
                )
            context[variable] = value
        x, y = (np.asarray(point[key], dtype=np.float64) for key in (axis, "intensity"))
        scan = RawScan(axis, x, y, _wavelength_of(point, name), None)
        return _Read(asked, composition, context, scan, self._deliveries.prepare(scan), also)


def _is_of(point: Mapping[str, Any], wafer: str, name: str, x: float, y: float) -> bool:
    """Return whether a point is told of a sample: by its name, else by its place; on its wafer, where it says one."""
    if (said := name_of_wafer(point.get(WAFER))) and plain_name(said) != plain_name(wafer):
        return False
    if "sample" in point:
        return own_name(str(point["sample"]), wafer) == own_name(name, wafer)
    return bool(np.hypot(x - float(point["x"]), y - float(point["y"])) <= SAME_PLACE)


def _share_of(point: Mapping[str, Any], element: str, name: str) -> float:
    """Return the share of an element in at.% that a point says.

    Raises:
        CompositionError: If it is no number.
    """
    try:
        return float(point[element])
    except (TypeError, ValueError):
        raise CompositionError(
            f"{name}: the share of {element} is no number ({point[element]!r}); correct it, or write 0 for an absent "
            "element."
        ) from None


def _wavelength_of(point: Mapping[str, Any], name: str) -> float | None:
    """Return the wavelength in Å that a point says, if it does.

    Raises:
        CampaignError: If it is no number, or none of a diffractometer's.
    """
    if (said := point.get("wavelength")) is None:
        return None
    low, high = WAVELENGTHS
    if isinstance(said, bool) or not isinstance(said, Real) or not low <= float(said) <= high:
        raise CampaignError(f"The wavelength of {name} must be a number of {low:g} to {high:g} (Å), got {said!r}.")
    return float(said)
