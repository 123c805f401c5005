"""What came of every file, scan and table: what is used, what waits and what was refused, and why."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable

import numpy as np
import pandas as pd
import streamlit as st

from glassmap.agent.data.composition import label
from glassmap.agent.outside_text import plain_name, spreadsheet_cell, visible
from glassmap.agent.shapes import Mask
from glassmap.agent.store.records import DroppedScan, Measurement
from glassmap.dashboard.data import (
    CampaignSnapshot,
    FileRecords,
    first_lines,
    marker,
    read_files,
    read_spectrum,
)
from glassmap.dashboard.live import archive_now, chosen, plain
from glassmap.dashboard.notes import notes_on, show_notes
from glassmap.dashboard.plots.axis_titles import AXIS_TITLES
from glassmap.dashboard.plots.spectra import Band, Curve, draw_spectra
from glassmap.dashboard.plots.style import GREY, ORANGE, PALE_ORANGE
from glassmap.dashboard.plots.words import BAND

SHOWN_ROWS = 1000  # of a table; a laboratory's files may be many thousands
SHOWN_FLAGS = 10  # pictures of flagged measurements
SHOWN_LINES = 15  # of a file that can't be read
TROUBLE = ("quarantined", "refused", "waiting")  # states that a person may have to see to


@st.cache_data(max_entries=4, show_spinner=False)
def _read(folder: str, seen: Hashable, _campaign: CampaignSnapshot) -> FileRecords:
    return read_files(_campaign.folder)


def _files(records: FileRecords) -> pd.DataFrame:
    """Return a row a file, and of a file of several scans a row a scan, the last first."""
    scans = defaultdict[str, list[DroppedScan]](list)
    for scan in records.scans:
        if scan.name:
            scans[scan.hash].append(scan)
    rows = list[dict[str, str]]()
    for file in records.files:
        row = {"file": visible(file.path), "kind": file.kind, "scan": "", "state": file.state, "reason": file.reason}
        row |= {"measurement": file.measurement or "", "seen (UTC)": file.time[:19].replace("T", " ")}
        row |= {"hash": file.hash}
        parts = scans[file.hash] if file.state in ("used", "waiting") else []
        for scan in parts:
            state = "refused" if scan.state == "quarantined" else scan.state
            of_scan = {"scan": visible(scan.name), "state": state, "reason": scan.reason}
            rows.append(row | of_scan | {"measurement": scan.measurement or ""})
        rows += [] if parts else [row]
    table = pd.DataFrame(rows, columns=["file", "kind", "scan", "state", "reason", "measurement", "seen (UTC)", "hash"])
    table["reason"] = table["reason"].map(visible)
    return table


def _state_of(one: Measurement) -> str:
    return "flagged, used" if one.state == "used" and one.reason else one.state


def _measurements(records: FileRecords, elements: tuple[str, ...]) -> pd.DataFrame:
    """Return a row a measurement, the last first."""
    rows = [
        {
            "id": one.id,
            "alloy (at.%)": label(np.array(one.composition), elements),
            "state": _state_of(one),
            "for": "hold-out" if one.hold_out else "learning",
            "round": one.round,
            "sample": visible(str(one.facts.get("sample", ""))),
            "wafer": visible(str(one.facts.get("wafer", ""))),
            "file": visible(str(one.facts.get("file", ""))),
            "reason": visible(one.reason),
            "taken (UTC)": one.taken[:19].replace("T", " "),
        }
        for one in records.measured
    ]
    return pd.DataFrame(rows)


def _tables(records: FileRecords, elements: tuple[str, ...]) -> pd.DataFrame:
    """Return what composition tables say, a row a sample, the last first."""
    rows = [
        {"table": visible(one.table), "sample": visible(one.sample), "wafer": visible(one.wafer)}
        | dict(
            zip((f"{element} (at.%)" for element in elements), (100 * np.array(one.composition)).round(2), strict=True)
        )
        | {"x (mm)": one.x, "y (mm)": one.y}
        | {visible(name): str(value) for name, value in one.context.items()}
        for one in records.rows
    ]
    return pd.DataFrame(rows)


def _candidates(records: FileRecords, elements: tuple[str, ...]) -> pd.DataFrame:
    """Return the samples that exist, and whether they are asked for or measured."""
    existing = records.existing
    states = list[str]()
    for wafer, name in zip(existing.wafers, existing.names, strict=True):
        plain = plain_name(wafer)
        is_taken = (plain, plain_name(name)) in records.taken
        states.append("asked for or measured" if is_taken else "wafer left out" if plain in records.gone else "free")
    at_pct = (100 * existing.compositions).round(2)
    return pd.DataFrame(
        {"wafer": [*map(visible, existing.wafers)], "sample": [*map(visible, existing.names)], "state": states}
        | {f"{element} (at.%)": at_pct[:, k] for k, element in enumerate(elements)}
        | {"x (mm)": existing.x, "y (mm)": existing.y}
    )


def _are(table: pd.DataFrame, states: Collection[str]) -> Mask:
    """Return which rows of a table are in one of some states."""
    return np.isin(table["state"].to_numpy(dtype=str), [*states])


def _filtered(table: pd.DataFrame, *, key: str) -> pd.DataFrame:
    """Let a person choose by state and by text what of a table is shown, and return that."""
    left, right = st.columns([2, 1])
    if "state" in table:
        counts = Counter(table["state"])
        states = left.multiselect(
            "State", list(counts), format_func=lambda state: f"{state} ({counts[state]})", key=f"{key} states"
        )
        if states:
            table = table.loc[_are(table, states)]
    if text := right.text_input("Contains", key=f"{key} contains").lower():
        texts = table.astype(str).agg(" ".join, axis=1).str.lower()
        table = table.loc[texts.str.contains(text, regex=False)]
    return table


def _show_table(campaign: CampaignSnapshot, table: pd.DataFrame, *, key: str) -> dict[str, str] | None:
    """Show a table with its filters, offer it as CSV, and return the row that is chosen."""
    found = _filtered(table, key=key)
    empty = [name for name in found if name != "state" and not any(map(bool, found[name]))]
    shown = found.drop(columns=["hash", *empty], errors="ignore")
    event = st.dataframe(
        shown.head(SHOWN_ROWS),
        hide_index=True,
        key=f"{key} table",
        on_select="rerun",
        selection_mode="single-row",
        column_config={"reason": st.column_config.TextColumn(width="large")},
    )
    more = f", of which the first {SHOWN_ROWS:,} are shown" if len(found) > SHOWN_ROWS else ""
    st.caption(f"{len(found):,} of {len(table):,}{more}. Choose a row for what is known of it.")
    st.download_button(
        "As CSV",
        lambda: shown.map(spreadsheet_cell).to_csv(index=False),
        f"{campaign.name}-{key}.csv",
        "text/csv",
        on_click="ignore",
        key=f"{key} csv",
    )
    rows = event["selection"]["rows"]
    if not rows or rows[0] >= len(found):
        return None
    return {str(name): str(value) for name, value in found.iloc[rows[0]].items()}


def _show_measurement(campaign: CampaignSnapshot, one: Measurement) -> None:
    """Show what is known of a measurement: its state, what was noted and found, and its spectrum."""
    alloy = np.array(one.composition)
    st.markdown(f"**{one.id}, {label(alloy, campaign.elements)}** · {_state_of(one)}. {plain(visible(one.reason))}")
    _show_notes(campaign, one)
    for note in one.facts.get("notes", ()):
        st.caption(plain(visible(str(note))))
    _draw_measurement(campaign, one)


def _show_notes(campaign: CampaignSnapshot, one: Measurement) -> None:
    show_notes(notes_on(campaign, np.array(one.composition), {one.id, one.suggestion or one.id}))


def _draw_measurement(campaign: CampaignSnapshot, one: Measurement) -> None:
    """Draw the spectrum of a measurement, over what is generated there where that is kept."""
    alloy = np.array(one.composition)
    archive = archive_now(campaign)
    row = None if archive is None else archive.row_of(alloy)
    curves, bands = [Curve("measured", read_spectrum(campaign.folder, one.id), GREY, 1.4)], list[Band]()
    if archive is not None and row is not None:
        view = archive.view(row)
        curves.insert(0, Curve("generated there", view.mean, ORANGE, 1.6))
        bands = [Band(BAND, view.mean, view.band, PALE_ORANGE)] * bool(np.isfinite(view.band).all())
    picture = draw_spectra(AXIS_TITLES[campaign.axis_name], campaign.axis, curves, bands)
    st.plotly_chart(picture, width="stretch", key=f"spectrum {one.id}")


def _show_file(campaign: CampaignSnapshot, records: FileRecords, row: dict[str, str]) -> None:
    """Show what is known of a file: why it is where it is, and how it begins, or what was read from it."""
    st.markdown(f"**{plain(row['file'])}** · {row['state']}. {plain(row['reason'])}")
    if row["state"] == "quarantined":
        st.caption(f"Kept byte for byte in `{campaign.folder / 'quarantine'}`; read again once it is dropped anew.")
        begins = first_lines(campaign.folder, row["hash"], SHOWN_LINES)
        if begins:
            st.code(begins, language=None)
        elif begins is None:
            st.caption("It is no text.")
        return
    if one := next((one for one in records.measured if one.id == row["measurement"]), None):
        _show_measurement(campaign, one)


def _show_trouble(campaign: CampaignSnapshot, records: FileRecords, files: pd.DataFrame) -> None:
    """Show what a person may have to see to: flagged scans with their pictures, and files that aren't used."""
    folder = shlex.quote(str(campaign.folder))
    flagged = [one for one in records.measured if one.reason and one.state != "retracted"]
    for one in flagged[:SHOWN_FLAGS]:
        words = "learned from nevertheless" if one.state == "used" else "not learned from until a person decides"
        alloy = label(np.array(one.composition), campaign.elements)
        st.markdown(f"**{one.id}, {alloy}**, flagged, {words}: {plain(visible(one.reason))}")
        picture = campaign.folder / "pictures" / f"flagged-{one.id}.png"
        if picture.exists():
            st.image(picture.read_bytes(), width=760, alt=f"The spectrum of {one.id} over those of its neighbours")
        else:
            _draw_measurement(campaign, one)
        _show_notes(campaign, one)
        st.caption(f"`glassmap accept {folder} {one.id}` or `glassmap retract {folder} {one.id} --reason …` decides.")
    if len(flagged) > SHOWN_FLAGS:
        st.caption(f"And {len(flagged) - SHOWN_FLAGS} more, among the measurements.")
    trouble = files.loc[_are(files, TROUBLE)]
    if len(trouble):
        row = _show_table(campaign, trouble, key="to look at")
        if row is not None:
            _show_file(campaign, records, row)
    elif not flagged:
        st.info("Nothing: every file is used, and no measurement is flagged.", icon=":material/check:")


def _show(campaign: CampaignSnapshot) -> None:
    if not campaign.has_files:
        st.info("No file was dropped and nothing is measured yet.")
        return
    records = _read(str(campaign.folder), marker(campaign.folder), campaign)
    elements, files = campaign.elements, _files(records)
    flagged = sum(one.reason != "" and one.state != "retracted" for one in records.measured)
    n_trouble = flagged + int(_are(files, TROUBLE).sum())

    def show_files() -> None:
        if (row := _show_table(campaign, files, key="files")) is not None:
            _show_file(campaign, records, row)

    def show_measurements() -> None:
        row = _show_table(campaign, _measurements(records, elements), key="measurements")
        if row is not None:
            _show_measurement(campaign, next(one for one in records.measured if one.id == row["id"]))

    views: dict[str, tuple[int, Callable[[], object]]] = {
        "to look at": (n_trouble, lambda: _show_trouble(campaign, records, files)),
        "files": (len(files), show_files),
        "measurements": (len(records.measured), show_measurements),
        "composition tables": (
            len(records.rows),
            lambda: _show_table(campaign, _tables(records, elements), key="composition-tables"),
        ),
        "candidates": (
            len(records.existing),
            lambda: _show_table(campaign, _candidates(records, elements), key="candidates"),
        ),
    }
    there = [name for name, (count, _) in views.items() if count or name == "to look at"]
    begin = "to look at" if n_trouble or len(there) == 1 else there[1]
    what = st.segmented_control(
        "Show", there, default=begin, format_func=lambda name: f"{name} ({views[name][0]:,})", key="what"
    )
    views[what or begin][1]()


_show(
    chosen(
        lambda campaign: (
            campaign.last_activity,
            campaign.status.to_look_at,
            campaign.status.notes,
            campaign.round_at_work,
        )
    )
)
