"""What a campaign calls a glass may change at any time, and may be learnt from labels."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME
from glassmap.agent.errors import DatasetError
from glassmap.agent.maps.glass import GlassRule
from glassmap.agent.maps.spectra_archive import MeasuredNames, read_archive, read_map
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.map import map_again
from tests.support.command_line import glassmap


def set_glass(folder: Path, lines: str) -> None:
    text = (folder / FILE_NAME).read_text()
    begin = text.index("[glass]")
    end = text.find("\n[", begin)
    (folder / FILE_NAME).write_text(f"{text[:begin]}[glass]\n{lines}\n{text[end:]}")


def newest(folder: Path) -> tuple[Path, GlassRule]:
    with CampaignStore.read_only(folder) as store:
        _, path = store.artefact("map") or (0, Path())
    return path, GlassRule.from_json(read_map(path)[1]["glass"])


def judged_of(folder: Path) -> MeasuredNames:
    with CampaignStore.read_only(folder) as store:
        _, path = store.artefact("archive") or (0, Path())
    return read_archive(path).measured


def test_another_threshold_makes_the_newest_map_again_and_nothing_else(
    continued: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("glassmap.dashboard.pictures.draw_maps", lambda *_: [])
    before, rule = newest(continued)
    assert rule == GlassRule(0.57)
    archived = judged_of(continued)
    set_glass(continued, "threshold = 0.3\nthreshold_std = 0.02")
    result = glassmap("map", continued)
    assert result.exit_code == 0, result.output
    after, rule = newest(continued)
    assert rule == GlassRule(0.3, 0.02) and not before.exists()
    now = judged_of(continued)
    for said, said_then in ((now.left_out, archived.left_out), (now.generated, archived.generated)):
        of = ~now.hold_out if said is now.left_out else now.hold_out
        assert np.isfinite(said["delta_q_predictive_std"][of]).any() and np.nanmin(said["p_glass"]) >= 0
        assert np.nanmean(said["p_glass"][of]) > np.nanmean(said_then["p_glass"][of]), "archives go by the same rule"
    assert np.isnan(now.left_out["delta_q"][now.hold_out]).all()
    widths = read_map(after)[0]["delta_q"]
    with CampaignStore.read_only(continued) as store:
        glass, sentence, log = store.glass, store.status().reason, store.log_lines()
    assert glass is not None and glass[0].glass == pytest.approx(np.mean(widths >= 0.3), abs=0.3)
    assert "by Δq ≥ 0.300 ± 0.020 Å⁻¹." in sentence and sentence.split("Glass: ")[1] in result.output
    assert [line.event for line in log[-2:]] == ["setting changed", "mapped again"]
    assert glassmap("map", continued).exit_code == 0 and newest(continued)[0] == after, "made again once"


def test_a_threshold_is_learnt_from_labels_of_what_was_measured_and_of_what_the_model_says(continued: Path):
    with CampaignStore.read_only(continued) as store:
        _, path = store.artefact("archive") or (0, Path())
    measured = read_archive(path).measured
    widths = measured.figures["delta_q"]
    middle = float(np.nanmedian(widths))
    rows = [f"{id_},,{width > middle}" for id_, width in zip(measured.ids, widths, strict=True) if width == width]
    table = continued / "labels.csv"
    table.write_text("\n".join(["sample,alloy,glass", *rows, ",Co5V5Zr90,true", "another,,true"]))
    set_glass(continued, f'labels = "{table.name}"')
    with open_campaign(continued) as campaign:
        map_again(campaign)
    _, rule = newest(continued)
    assert rule.threshold == pytest.approx(middle, abs=3 * rule.threshold_std) and rule.curve is not None
    assert rule.note.startswith(
        f"learnt from {len(rows) + 1} labels, the Δq of {len(rows)} measured and of 1 generated"
    )
    assert rule.note.endswith("; 1 more have none here")
    table.write_text("sample,glass\nr001-01,true\nr001-01,false\n")
    with pytest.raises(DatasetError, match="both to be a glass and to be none"), open_campaign(continued):
        pass


def test_with_too_few_labels_the_published_threshold_stands_and_that_is_said(continued: Path):
    (continued / "labels.csv").write_text("alloy,glass\nCo30V40Zr30,true\nCo10V10Zr80,false\n")
    set_glass(continued, 'labels = "labels.csv"')
    with open_campaign(continued) as campaign:
        map_again(campaign)
        assert "by Δq ≥ 0.57 Å⁻¹, not learnt from the labels, as that takes 10" in campaign.store.status().reason
