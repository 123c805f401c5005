"""Orders: what a laboratory is to make, and what is still missing, as files for people and for programs."""

import csv
import io
import json
from collections.abc import Mapping, Sequence

import numpy as np

from glassmap.agent.atomic_file import write_whole
from glassmap.agent.config.backends import kind_of, settings_of
from glassmap.agent.config.campaign import first_own_round, held_of
from glassmap.agent.outside_text import spreadsheet_cell
from glassmap.agent.planning.stage_path import stage_path
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Suggestion


def write_orders(store: CampaignStore) -> None:
    """Write the orders of which something changed: what to make, and what is still missing.

    A file that says the same already is left as it is.
    """
    for round_ in store.orders_to_write:
        is_written = False
        while not is_written:
            content = order_of(store, round_)
            for name, text in content.items():
                file = store.folder / "orders" / name
                if not file.exists() or file.read_bytes() != text.encode():
                    write_whole(file, text.encode())
            with store.transaction():  # a person may have decided something in the meantime
                if is_written := order_of(store, round_) == content:
                    store.unmark_order(round_)


def order_of(store: CampaignStore, round_: int) -> dict[str, str]:
    """Return the files of a round's order, by name: for people and for programs.

    Samples that exist come wafer by wafer, on each by a short way over the stage; what is still missing of them is a
    scan list, too. How wafers are made that are to be stands in a table of its own.

    None before it is ordered; of a guide's round, and where nobody is brought measurements.
    """
    config = store.config
    if not settings_of(kind_of(config["backend"])).takes_deliveries or round_ < first_own_round(config):
        return {}
    ordered = store.batch_time(round_, "ordered")
    if ordered is None:
        return {}
    statuses = {one.suggestion.id: one for one in store.suggestion_statuses(round_)}
    driven = by_stage([one.suggestion for one in statuses.values()])
    has_samples, elements, held = any(s.sample for s in driven), store.elements, held_of(config)
    rows = [
        {
            "sample": s.id,
            **({"wafer": s.wafer, "point": s.sample, "x (mm)": s.x, "y (mm)": s.y} if has_samples else {}),
            **{f"{e} (at.%)": round(100 * share, 4) for e, share in zip(elements, s.composition, strict=True)},
            **held,  # how it is to be made
            "state": statuses[s.id].state,
            "remark": statuses[s.id].remark,
        }
        for s in driven
    ]
    recipes = store.recipes(round_)
    order = {
        "campaign": store.config["name"],
        "round": round_,
        "ordered": ordered.isoformat(timespec="seconds"),
        "elements": elements,
        "samples": rows,
        **(
            {"wafers": [{"wafer": one.name, "powers (W)": one.powers, "minutes": one.minutes} for one in recipes]}
            if recipes
            else {}
        ),
        "how": "Name each scan after its sample, such as r001-01.xrdml, or name the sample in a composition table.",
    }
    name = f"round-{round_:03d}"
    files = {f"{name}.csv": _csv(rows), f"{name}.json": json.dumps(order, indent=1)}
    if any(s.x is not None for s in driven):
        left = [s for s in driven if statuses[s.id].state == "missing" and s.x is not None]
        files[f"{name}-stage.csv"] = _csv(
            [{"sample": s.id, "x": s.x, "y": s.y, "wafer": s.wafer} for s in left], ("sample", "x", "y", "wafer")
        )
    if recipes:
        powers = [(one, gun, power) for one in recipes for gun, power in one.powers.items()]
        files[f"{name}-wafers.csv"] = _csv(
            [{"wafer": one.name, "gun": gun, "power (W)": power, "minutes": one.minutes} for one, gun, power in powers]
        )
    return files


def by_stage(suggestions: Sequence[Suggestion]) -> list[Suggestion]:
    """Return suggestions as they are measured: wafer by wafer, on each by a short way, then those without a place."""
    on_wafers: dict[str, list[Suggestion]] = {}
    for one in suggestions:
        on_wafers.setdefault(one.wafer, []).append(one)
    driven = list[Suggestion]()
    for some in on_wafers.values():
        placed = [one for one in some if one.x is not None and one.y is not None]
        x, y = (np.array([getattr(one, axis) for one in placed], dtype=np.float64) for axis in ("x", "y"))
        driven += [placed[row] for row in (stage_path(x, y) if placed else ())]
        driven += [one for one in some if one not in placed]
    return driven


def _csv(rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> str:
    """Return rows as a table in text; the columns are those of the first row by default."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns or list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows({name: spreadsheet_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()
