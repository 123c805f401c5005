"""Campaign files and stores of earlier versions go on: what is gone is left out, what is renamed is read."""

import json
from pathlib import Path
from typing import Any

import pytest

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.errors import CampaignError

# The settings of a store that was begun before, every one spelled out; `null` where none was set.
BEFORE: dict[str, Any] = json.loads(
    """{"name": "before", "seed": 0, "device": "cpu", "runner": "local", "dask": {"scheduler": null, "workers": null},
    "space": {"elements": ["Co", "V", "Zr"], "step_at_pct": 5, "bounds_at_pct": {}, "edges": false,
        "max_elements": null, "limits": []},
    "spectrum": {"low": 1.5, "high": 4.5, "points": 96, "substrate": null, "background": null},
    "backend": {"kind": "lab", "drop": ["/data/drop"], "columns": "two_theta", "wavelength": 1.5,
        "composition": "measured", "table": {"sample": null, "columns": {}, "unit": null}, "tolerance_at_pct": 1.0,
        "minimum_share": 0.4, "patience_hours": 0.0, "quiet_seconds": 0.0, "doubtful": "use"},
    "guide": {"backend": {"kind": "replay", "dataset": "/data/simulated.nc", "variable": "intensity", "where": null,
        "hold_out": "batch", "test_share": 0.3, "doubtful": "hold"}, "rounds": 2, "learn": false},
    "planning": {"batch": 8, "method": "uniform", "weights": "even", "hold_out_share": 0.2, "approval": "required"},
    "model": {"architecture": "compact", "hidden": null, "noise": null, "members": 2, "stacked": true, "steps": 20,
        "batch_size": 4, "learning_rate": 0.002, "critic_learning_rate": 0.0005, "momentum": 0.9, "adversarial": 0.0,
        "composition": 0.0, "fidelity": 1.0, "vicinity": "soft", "jitter": 0.0, "averaging": 0.99},
    "stop": {"tolerance": 0.05, "patience": 10, "max_rounds": 10, "max_spectra": null, "max_hours": null,
        "max_cpu_hours": null},
    "schedule": {"advance_minutes": 5.0, "retrain": null}, "notify": {"url": null, "command": null}}"""
)


def before(**changes: Any) -> dict[str, Any]:
    return {name: table | changes.get(name, {}) if isinstance(table, dict) else table for name, table in BEFORE.items()}


def test_a_campaign_goes_on_with_the_settings_that_its_store_holds():
    config = CampaignConfig.of(BEFORE, source="test").continuing(BEFORE, given=None)
    assert (config.backend.flagged, config.guide and config.guide.backend.flagged) == ("use", "hold")  # pyright: ignore[reportAttributeAccessIssue]
    config.check_continues(BEFORE)
    assert "doubtful" not in str(config.model_dump()) and "learn'" not in str(config.model_dump())
    with pytest.raises(CampaignError, match=r"Changed since the campaign began: guide\.rounds: 3 -> 2"):
        config.check_continues(before(guide={"rounds": 3}))


@pytest.mark.parametrize(
    ("table", "setting"),
    [("model", {"hidden": [64, 64]}), ("guide", {"learn": True})],
    ids=["hidden", "learn"],
)
def test_a_store_that_used_a_setting_that_is_gone_goes_on_without_it(table: str, setting: dict[str, Any]):
    config = CampaignConfig.of(BEFORE, source="test").continuing(BEFORE, given=None)
    config.check_continues(before(**{table: setting}))
    with pytest.raises(CampaignError, match=r"Changed since the campaign began: guide\.rounds: 3 -> 2"):
        config.check_continues(before(**{table: setting}) | {"guide": BEFORE["guide"] | {"rounds": 3}})


def test_what_came_later_is_as_it_was_done_before():
    model = {name: value for name, value in BEFORE["model"].items() if name != "stacked"}
    assert not CampaignConfig.recorded(BEFORE | {"model": model}).model.stacked
    assert CampaignConfig.of(BEFORE | {"model": model}, source="a file").model.stacked


def test_a_store_of_before_there_was_a_choice_has_its_spectra_scaled_by_their_maximum():
    assert "scale" not in BEFORE["spectrum"]
    begun = CampaignConfig.of(BEFORE, source="a file")
    assert begun.spectrum.scale == "smoothed maximum"
    assert CampaignConfig.recorded(BEFORE).spectrum.scale == "maximum"
    begun.continuing(BEFORE, given=None).check_continues(BEFORE)


def test_a_replay_of_before_goes_on_to_use_what_it_flags_and_a_new_one_holds_it():
    without = {"kind": "replay", "dataset": "/data/co-v-zr.nc"}
    earlier = before(backend={"kind": "lab"}) | {"backend": without, "guide": None}
    assert CampaignConfig.recorded(earlier).backend.flagged == "use"  # pyright: ignore[reportAttributeAccessIssue]
    begun = CampaignConfig.of(earlier, source="a file").continuing(earlier, given=None)
    assert begun.backend.flagged == "use"  # pyright: ignore[reportAttributeAccessIssue]
    assert CampaignConfig.of(earlier, source="a file").backend.flagged == "hold"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_file_of_before_is_read_and_written_by_todays_names(tmp_path: Path):
    path = tmp_path / FILE_NAME
    path.write_text(
        'space.elements = ["Co", "V"]\nbackend = {dataset = "x.nc", doubtful = "hold"}\n[model]\nvicinity = "soft"\n'
        '[guide]\nlearn = false\nbackend = {dataset = "y.nc"}\n'
    )
    config = CampaignConfig.from_toml(path)
    config.to_toml(path)
    assert 'flagged = "hold"' in path.read_text() and "doubtful" not in path.read_text()
    assert CampaignConfig.from_toml(path) == config


@pytest.mark.parametrize(
    ("table", "name", "value", "words"),
    [
        (
            "guide",
            "learn",
            True,
            "guide.learn is no longer a setting; it is always false, and here it is true. Take",
        ),
        ("model", "hidden", [64, 64], r"model.hidden is no longer .* by default, and here it is \[64, 64\]"),
        ("model", "noise", 8, "model.noise is no longer .* by default, and here it is 8"),
        ("backend", "flagged", "hold", "backend.doubtful is called flagged now; give that alone"),
    ],
)
def test_a_retired_setting_with_a_value_of_its_own_is_refused_in_words(table: str, name: str, value: Any, words: str):
    with pytest.raises(CampaignError, match=f"^test.toml: {words}"):
        CampaignConfig.of(before(**{table: {name: value}}), source="test.toml")


def test_a_renamed_setting_with_a_wrong_value_is_named_as_today():
    with pytest.raises(CampaignError, match=r"backend.flagged: Input should be 'use' or 'hold', got 'maybe'"):
        CampaignConfig.of(before(backend={"doubtful": "maybe"}), source="test")


def test_a_tolerance_that_was_the_default_follows_what_has_to_settle_now():
    """It was a share of the MSE; taken for 1/Å, it would end every campaign."""
    then = CampaignConfig.recorded(BEFORE)
    assert (then.stop.on, then.stop.tolerance, then.stop.least_gain) == ("mse", None, 0.05)
    given = before(stop={"tolerance": 0.1})
    assert CampaignConfig.recorded(given).stop.least_gain == 0.1
    now = {name: table for name, table in BEFORE.items() if name != "stop"} | {"stop": {"on": "delta_q"}}
    assert CampaignConfig.of(now, source="a file").continuing(BEFORE, given={}).stop.least_gain < 0.01
