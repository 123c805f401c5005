"""Measurements that are flagged: who decides, and what is learned from until then."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.errors import MeasurementError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.actions import accept, extend
from tests.support.campaigns import run
from tests.support.lab_campaigns import drop_scan, drop_table, edit, measure_all, order, states, write_campaign
from tests.support.laboratory import scan_text


def drop_with_a_line(folder: Path, sample: dict[str, str]) -> np.ndarray:
    """Measure a sample whose substrate shines through."""
    composition = drop_scan(folder, sample)
    path = folder / "drop" / f"{sample['sample']}.xy"
    x, y = np.loadtxt(path).T
    y[np.abs(x - 40).argmin()] += 3000
    path.write_text("".join(f"{a:.5f} {b:.0f}\n" for a, b in zip(x, y, strict=True)))
    return composition


def test_a_flagged_measurement_is_held_out_of_training_until_a_person_decides(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab", minimum_share=1.0)
    edit(folder, "points = 96", "points = 400")
    edit(folder, "batch = 8", "batch = 14")
    run(folder)
    samples = order(folder)
    with CampaignStore.read_only(folder) as store:
        chosen = next(k for k, s in enumerate(store.suggestions()) if not s.hold_out)
    scans = (drop_with_a_line if k == chosen else drop_scan for k in range(len(samples)))
    drop_table(folder, {s["sample"]: scan(folder, s) for s, scan in zip(samples, scans, strict=True)})
    assert run(folder).reason.startswith("Waiting for 14 of 14 measurements of round 2")
    chosen_id = samples[chosen]["sample"]
    with CampaignStore.read_only(folder) as store:
        measured = store.measurement(chosen_id)
        assert measured is not None and measured.state == "flagged" and "A sharp line at" in measured.reason
        assert sorted(states(folder).values()).count("flagged") == 1
        assert chosen_id not in store.spectra(hold_out=False)[0]
        assert [line.event for line in store.log_lines(subject=chosen_id)] == ["measured", "flagged"]
    assert (folder / "pictures" / f"flagged-{chosen_id}.png").exists()
    with CampaignStore.amend(folder, person="ada") as store:
        accept(store, [chosen_id], "the line is real")
    measure_all(folder, 2)
    run(folder)
    with CampaignStore.read_only(folder) as store:
        assert chosen_id in store.spectra(hold_out=False)[0], "a person's word counts from then on"


def test_where_all_are_flagged_they_can_be_accepted(lab: Path):
    table = {}
    for sample in order(lab):
        table[sample["sample"]] = drop_scan(lab, sample)
        path = lab / "drop" / f"{sample['sample']}.xy"
        x, y = np.loadtxt(path).T
        path.write_text("".join(f"{a:.5f} {b:.0f}\n" for a, b in zip(x, np.minimum(y, 300), strict=True)))
    drop_table(lab, table)
    with pytest.raises(MeasurementError, match=r"r001-08 are flagged\. Look at their pictures"):
        run(lab)
    with CampaignStore.amend(lab, person="ada") as store:
        accept(store, list(table), "the detector is set so")
    assert "Waiting for 8 of 8 measurements of round 2" in run(lab).reason


def test_what_comes_after_the_stop_is_screened_before_it_is_learned_from(stopped: Path):
    flat = scan_text(np.array([0.3, 0.3, 0.4]), np.random.default_rng(0), ".xy").splitlines()
    cut = [f"{line.split()[0]} {min(300, int(line.split()[1]))}" for line in flat]
    (stopped / "drop" / "late.xy").write_text("\n".join(cut))
    drop_table(stopped, {"late": np.array([0.3, 0.3, 0.4])}, "late.csv")
    run(stopped)
    with CampaignStore.amend(stopped, person="ada") as store:
        extend(store, "", rounds=1)
    run(stopped)
    measure_all(stopped, 2)
    run(stopped)
    with CampaignStore.read_only(stopped) as store:
        late = store.measurement("u0001")
        assert late is not None and late.state == "flagged" and "Saturated" in late.reason
