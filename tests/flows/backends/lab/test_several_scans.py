"""A file of several scans, such as a map of a wafer: each is taken, waits or is refused for itself."""

import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import DroppedScan, Measurement
from glassmap.flows.actions import retract
from glassmap.flows.backends.lab import intake
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.measure import receive
from glassmap.flows.rounds.record import record
from tests.support.campaigns import run
from tests.support.command_line import does
from tests.support.lab_campaigns import drop_scan, drop_table, files, order, states
from tests.support.laboratory import SCAN, XRDML, scan_text

ALLOYS = np.array([[0.2, 0.3, 0.5], [0.3, 0.3, 0.4], [0.4, 0.3, 0.3], [0.5, 0.3, 0.2]])
PLACES = ((0.0, 0.0), (5.0, 0.0), (0.0, 5.0), (5.0, 5.0))  # mm
HEADER = "sample,wafer,x (mm),y (mm),Co (at.%),V (at.%),Zr (at.%)"


def map_text(places: Sequence[tuple[float, float]] = PLACES, *, sample: str = "", cut: int | None = None) -> str:
    """A map in one .xrdml: a scan of an alloy at each place, of which one may end at 30°."""
    scans = []
    for k, (alloy, place) in enumerate(zip(ALLOYS, places, strict=False)):
        text = scan_text(alloy, np.random.default_rng(k), ".xrdml")
        start, end = re.findall(r"<(?:start|end)Position>(.*?)<", text)
        stage = "".join(
            f'<positions axis="{axis}" unit="mm"><commonPosition>{at}</commonPosition></positions>'
            for axis, at in zip("XY", place, strict=True)
        )
        values = re.findall(r"<intensities.*?</intensities>", text)[0]
        scans.append(SCAN.format(start=start, end=30 if k == cut else end, time=1, values=stage + values))
    return XRDML.format(version="1.6", status="Completed", line="K-Alpha 1", sample=sample, scans="".join(scans))


def rows_of(names: Sequence[str], wafer: str = "", places: Sequence[tuple[float, float]] = PLACES) -> list[str]:
    table = zip(names, places, ALLOYS, strict=False)
    return [f"{name},{wafer},{x},{y},{','.join(f'{100 * c:g}' for c in alloy)}" for name, (x, y), alloy in table]


def drop(lab: Path, *lines: str, name: str = "edx.csv") -> None:
    (lab / "drop" / name).parent.mkdir(exist_ok=True)
    (lab / "drop" / name).write_text("\n".join([HEADER, *lines, ""]))


def drop_map(lab: Path, name: str = "map.xrdml", **kind: object) -> Path:
    path = lab / "drop" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(map_text(**kind))  # type: ignore[arg-type]
    return path


def read(lab: Path) -> tuple[dict[str, Measurement], dict[str, DroppedScan]]:
    """What was measured, and what became of each scan, by the scans' names."""
    with CampaignStore.read_only(lab) as store:
        measured = {str(m.facts["scan"]): m for m in store.measurements() if m.state != "retracted"}
        return measured, {scan.name: scan for scan in store.scans()}


def test_each_scan_of_a_map_is_of_the_row_that_lies_at_its_place(lab: Path):
    drop(lab, *reversed(rows_of("abc")))
    drop_map(lab)
    run(lab)
    measured, scans = read(lab)
    assert [measured[name].composition for name in "123"] == [pytest.approx(tuple(alloy)) for alloy in ALLOYS[:3]]
    assert {name: m.facts["sample"] for name, m in measured.items()} == {"1": "a", "2": "b", "3": "c"}
    assert (measured["2"].facts["x"], measured["2"].facts["y"], measured["2"].facts["file"]) == (5, 0, "drop/map.xrdml")
    assert (scans["4"].state, scans["4"].x, scans["4"].measurement) == ("waiting", 5.0, None)
    assert files(lab)["map.xrdml"] == ("waiting", "4 scans: 3 used, 1 waiting.")
    assert scans["4"].reason == "No composition table names map-4 or map-04, or a sample at 5, 5 mm."
    told = does("ledger", lab)
    assert "4 scans of files that hold several: 3 used, 1 waiting" in told and "drop/map.xrdml, scan 4" in told
    assert "1 scan without a composition" in does("status", lab)
    drop(lab, *rows_of(["d"], places=[(5.1, 4.9)]), name="late.csv")
    run(lab)
    assert read(lab)[0]["4"].facts["sample"] == "d" and files(lab)["map.xrdml"] == ("used", "4 scans: 4 used.")


def test_numbered_scans_are_called_by_file_and_number(lab: Path):
    drop_map(lab)
    table = {f"map-{k:02d}": alloy for k, alloy in enumerate(ALLOYS, start=1)}
    drop_table(lab, {name: table[name] for name in reversed(table)})
    run(lab)
    measured, _ = read(lab)
    assert {name: m.composition for name, m in measured.items()} == {
        str(k): pytest.approx(tuple(alloy)) for k, alloy in enumerate(ALLOYS, start=1)
    }


def test_a_table_without_names_or_places_of_the_scans_names_none(lab: Path):
    drop_map(lab)
    drop_table(lab, dict(zip("1234", ALLOYS, strict=True)))
    run(lab)
    assert not read(lab)[0] and {scan.state for scan in read(lab)[1].values()} == {"waiting"}


def test_of_several_wafers_in_a_table_the_one_counts_that_the_file_is_called_as(lab: Path):
    drop(lab, *rows_of("abcd", "W1"), *rows_of("efgh", "W2", places=PLACES[::-1]))
    drop_map(lab, "w2.xrdml")
    drop_map(lab, "unknown.xrdml", places=((0.0, 0.1), *PLACES[1:]))
    drop_map(lab, "third.xrdml", places=((0.1, 0.0), *PLACES[1:]), sample="W1")
    run(lab)
    with CampaignStore.read_only(lab) as store:
        found = {
            (m.facts["file"], m.facts["scan"]): (m.facts["sample"], m.facts["wafer"]) for m in store.measurements()
        }
    assert found == {
        **{("drop/w2.xrdml", str(k)): (name, "W2") for k, name in enumerate("hgfe", start=1)},
        **{("drop/third.xrdml", str(k)): (name, "W1") for k, name in enumerate("abcd", start=1)},
    }


def test_places_of_another_folder_s_table_count_on_a_wafer_that_is_called_as_the_file(lab: Path):
    drop(lab, *rows_of("abcd", "W1"), name="tables/w1.csv")
    drop(lab, *rows_of("efgh"), name="tables/nameless.csv")
    drop_map(lab, "scans/w1.xrdml")
    drop_map(lab, "scans/other.xrdml", places=((0.1, 0.0), *PLACES[1:]))
    run(lab)
    assert {name: m.facts["sample"] for name, m in read(lab)[0].items()} == dict(zip("1234", "abcd", strict=True))
    assert files(lab)["other.xrdml"] == ("waiting", files(lab)["other.xrdml"][1])


def test_a_scan_whose_name_and_place_say_different_rows_waits_and_both_are_said(lab: Path):
    drop(lab, *rows_of(["map-2", "map-1", "map-3", "map-4"]))
    drop_map(lab)
    run(lab)
    measured, scans = read(lab)
    assert set(measured) == {"3", "4"}
    assert scans["1"].reason == (
        "drop/edx.csv says that map-1 lies at 5, 0 mm, the file that the scan does at 0, 0 mm. Correct the name or the "
        "place."
    )
    drop(lab, *rows_of(["map-1", "map-2"]), name="corrected.csv")
    run(lab)
    assert set(read(lab)[0]) == {"1", "2", "3", "4"}


def test_one_scan_is_refused_with_its_reason_and_the_others_are_taken(lab: Path):
    drop(lab, *rows_of("abcd"))
    drop_map(lab, cut=1)
    run(lab)
    measured, scans = read(lab)
    assert set(measured) == {"1", "3", "4"} and scans["2"].state == "quarantined"
    assert "must cover the range 1.5 to 4.5" in scans["2"].reason
    assert files(lab)["map.xrdml"] == ("used", "4 scans: 3 used, 1 refused.")
    assert not (lab / "quarantine").exists() and "1 refused scan" in does("status", lab)


@pytest.mark.parametrize("events", range(6))
def test_a_look_that_is_cut_between_two_scans_is_taken_up_where_it_was(lab: Path, events: int):
    drop(lab, *rows_of("abcd"))
    drop_map(lab)
    with open_campaign(lab) as campaign, closing(campaign.backend.measure([], campaign.store)) as told:
        for event, _ in zip(told, range(events), strict=False):
            with campaign.store.transaction():
                record(campaign, 1, event)
    run(lab)
    with CampaignStore.read_only(lab) as store:
        assert [m.facts["scan"] for m in store.measurements()] == ["1", "2", "3", "4"]
    assert files(lab)["map.xrdml"][0] == "used"


def logged(lab: Path) -> list[str]:
    with CampaignStore.read_only(lab) as store:
        return [line.event for line in store.log_lines() if "map.xrdml: " in line.detail]


def test_the_log_says_once_that_scans_wait_and_not_at_all_where_none_does(lab: Path):
    drop_map(lab)
    run(lab)
    settings = lab / "campaign.toml"
    settings.write_text(re.sub(r"tolerance_at_pct = \S+", "tolerance_at_pct = 0.9", settings.read_text()))
    run(lab)
    assert logged(lab) == ["waiting"]
    drop(lab, *rows_of("abcd"))
    run(lab)
    assert logged(lab) == ["waiting"]


def test_the_log_tells_of_a_map_that_is_used_at_once_by_its_scans(lab: Path):
    drop(lab, *rows_of("abcd"))
    drop_map(lab)
    run(lab)
    assert logged(lab) == [] and files(lab)["map.xrdml"] == ("used", "4 scans: 4 used.")


def test_every_scan_is_recalled_from_the_copy_of_its_file(lab: Path):
    drop(lab, *rows_of("abcd"))
    drop_map(lab)
    run(lab)
    with open_campaign(lab) as campaign:
        for one in campaign.store.measurements():
            spectrum = campaign.backend.recall(one, campaign.store)
            assert spectrum is not None
            np.testing.assert_array_equal(spectrum.astype(np.float32), campaign.store.spectra_of([one.id])[0])


def test_a_retracted_scan_alone_is_ingested_again(lab: Path):
    drop(lab, *rows_of("abcd"))
    path = drop_map(lab)
    run(lab)
    id_ = read(lab)[0]["2"].id
    with CampaignStore.amend(lab, person="ada") as store:
        retract(store, [id_], "a cable lay in the beam")
    for expected in (5, 5):
        with open_campaign(lab) as campaign:
            receive(campaign, files=[path])
            assert campaign.store.n_spectra() == expected
    measured, scans = read(lab)
    assert measured["2"].id != id_ and scans["2"].measurement == measured["2"].id and set(measured) == {*"1234"}
    assert files(lab)["map.xrdml"][0] == "used"


def test_a_scan_of_a_map_whose_alloy_is_waited_for_is_measured_for_its_order(lab: Path):
    first = order(lab)[0]
    found = np.array([float(first[f"{e} (at.%)"]) for e in ("Co", "V", "Zr")]) / 100
    drop_map(lab)
    drop_table(lab, {"map-1": found})
    run(lab)
    assert read(lab)[0]["1"].suggestion == "r001-01" and states(lab)["r001-01"] == "measured"


def test_what_waits_is_read_again_only_once_something_may_name_it(lab: Path, monkeypatch: pytest.MonkeyPatch):
    read_paths = list[Path]()
    read_scans = intake.read_scans

    def counted(path: Path, **asked: object) -> list:
        read_paths.append(path)
        return read_scans(path, **asked)  # type: ignore[arg-type]

    monkeypatch.setattr(intake, "read_scans", counted)
    found = {sample["sample"]: drop_scan(lab, sample) for sample in order(lab)}
    drop_map(lab)
    run(lab)
    assert len(read_paths) == 9
    run(lab)
    assert len(read_paths) == 9, "nothing came"
    drop_table(lab, {"somebody": ALLOYS[0]}, "others.csv")
    run(lab)
    assert len(read_paths) == 9, "a table came that names none"
    drop_table(lab, {"r001-03": found["r001-03"]})
    run(lab)
    assert len(read_paths) == 10 and states(lab)["r001-03"] == "measured"


def test_of_a_map_that_grew_only_what_is_new_is_taken(lab: Path):
    """A program may write its file anew after every point."""
    drop(lab, *rows_of("acd", places=[PLACES[0], *PLACES[2:]]))
    for n in (2, 3, 4):
        drop_map(lab, places=PLACES[:n])
        run(lab)
    with CampaignStore.read_only(lab) as store:
        found = [(m.facts["scan"], m.facts["sample"]) for m in store.measurements()]
        grown = [(file.state, file.reason) for file in store.files() if file.path.endswith("map.xrdml")]
    assert found == [("1", "a"), ("3", "c"), ("4", "d")]
    assert grown[-1] == ("waiting", "4 scans: 1 used, 1 waiting, 2 there before.")
    assert [state for state, _ in grown[:2]] == ["used", "used"], "their first and third scan are in use"
    drop(lab, *rows_of("b", places=PLACES[1:2]), name="late.csv")
    run(lab)
    with CampaignStore.read_only(lab) as store:
        assert [m.facts["sample"] for m in store.measurements()] == ["a", "c", "d", "b"]


def test_scans_side_by_side_in_a_text_are_of_the_rows_that_are_called_as_they_are(lab: Path):
    columns = [scan_text(alloy, np.random.default_rng(k), ".xy").splitlines() for k, alloy in enumerate(ALLOYS[:2])]
    lines = [
        "P1 2theta\tP1 I\tP2 2theta\tP2 I",
        *("\t".join(pair).replace(" ", "\t") for pair in zip(*columns, strict=True)),
    ]
    (lab / "drop" / "wafer.txt").write_text("\n".join([*lines, ""]))
    drop_table(lab, {"P2": ALLOYS[1], "wafer-P1": ALLOYS[0]})
    run(lab)
    measured, _ = read(lab)
    assert {name: m.composition for name, m in measured.items()} == {
        "P1": pytest.approx(tuple(ALLOYS[0])),
        "P2": pytest.approx(tuple(ALLOYS[1])),
    }
