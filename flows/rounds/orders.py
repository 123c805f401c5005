"""Orders: what a laboratory is to make, and what is still missing, as files for people and for programs."""

import csv
import io
import json

from glassmap.agent.atomic_file import write_whole
from glassmap.agent.config.backends import kind_of, settings_of
from glassmap.agent.config.campaign import first_own_round, held_of
from glassmap.agent.outside_text import spreadsheet_cell
from glassmap.agent.store.campaign_store import CampaignStore


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

    None before it is ordered; of a guide's round, and where nobody is brought measurements.
    """
    config = store.config
    if not settings_of(kind_of(config["backend"])).takes_deliveries or round_ < first_own_round(config):
        return {}
    ordered, elements = store.batch_time(round_, "ordered"), store.elements
    if ordered is None:
        return {}
    rows = [
        {
            "sample": status.suggestion.id,
            **{
                f"{element} (at.%)": round(100 * share, 4)
                for element, share in zip(elements, status.suggestion.composition, strict=True)
            },
            **held_of(config),  # how it is to be made
            "state": status.state,
            "remark": status.remark,
        }
        for status in store.suggestion_statuses(round_)
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows({name: spreadsheet_cell(value) for name, value in row.items()} for row in rows)
    order = {
        "campaign": store.config["name"],
        "round": round_,
        "ordered": ordered.isoformat(timespec="seconds"),
        "elements": elements,
        "samples": rows,
        "how": "Name each scan after its sample, such as r001-01.xrdml, or name the sample in a composition table.",
    }
    return {f"round-{round_:03d}.csv": text.getvalue(), f"round-{round_:03d}.json": json.dumps(order, indent=1)}
