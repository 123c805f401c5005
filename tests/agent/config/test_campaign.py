from pathlib import Path
from typing import Any

import pytest

from glassmap.agent.config.campaign import FILE_NAME, FREE_SETTINGS, CampaignConfig
from glassmap.agent.config.glass import is_glass_given
from glassmap.agent.config.space import SpectrumConfig
from glassmap.agent.errors import CampaignError, SpectrumError
from glassmap.agent.maps.glass import GlassRule
from glassmap.agent.models.config import PRESETS
from glassmap.flows.backends.replay import Settings as ReplaySettings
from glassmap.flows.rounds.campaign import open_campaign

LEAST: dict[str, Any] = {
    "name": "small",
    "space": {"elements": ["Co", "V", "Zr"]},
    "backend": {"dataset": "/data/small.nc"},
}


def check(**changes: Any) -> CampaignConfig:
    return CampaignConfig.of(LEAST | changes, source="test.toml")


@pytest.mark.parametrize(
    ("changes", "unknown", "allowed"),
    [
        ({"sead": 1}, "'sead'", "name, seed, device, runner, dask, space, spectrum, backend, guide,"),
        ({"space": {"elements": ["Co", "V"], "step": 5}}, "'space.step'", "elements, step_at_pct, bounds_at_pct"),
        ({"spectrum": {"length": 5}}, "'spectrum.length'", "low, high, points"),
        (
            {"backend": {"dataset": "x", "holdout": 1}},
            "'backend.holdout'",
            "kind, dataset, variable, where, hold_out, test_share",
        ),
        ({"planning": {"size": 5}}, "'planning.size'", "unit, batch, method, weights, confirm, hold_out_share"),
        ({"model": {"layers": 5}}, "'model.layers'", "architecture, members, stacked, steps"),
        ({"stop": {"rounds": 5}}, "'stop.rounds'", "tolerance, patience, max_rounds"),
    ],
)
def test_an_unknown_setting_is_refused_by_name_with_the_allowed_ones(changes: dict, unknown: str, allowed: str):
    with pytest.raises(CampaignError) as refused:
        check(**changes)
    message = str(refused.value)
    assert message.startswith(f"test.toml: unknown setting {unknown}; allowed here: ")
    assert allowed in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": -1}, "seed: .* greater than or equal to 0, got -1"),
        ({"device": "gpu"}, "device: .*auto.*cpu.*cuda.*, got 'gpu'"),
        ({"space": {"elements": ["Co", "Xx"]}}, "space: .*Xx"),
        ({"space": {"elements": ["Co", "V"], "step_at_pct": 7}}, "space: .*got 7"),
        ({"backend": {}}, "setting 'backend.dataset' is missing"),
        ({"backend": {"dataset": "x", "kind": "factory"}}, "backend: kind must be one of 'replay', .*, got 'factory'"),
        ({"backend": {"dataset": "x", "hold_out": "half"}}, "backend.hold_out: .*'random', 'wafer' or 'batch'"),
        ({"backend": {"dataset": "x", "test_share": 1.0}}, "backend.test_share: .*less than 1, got 1.0"),
        ({"planning": {"batch": 0}}, "planning.batch: .*greater than 0, got 0"),
        ({"planning": {"method": "best"}}, "planning.method: must be 'uniform', .* got 'best'"),
        ({"planning": {"method": "random", "weights": "disagreement"}}, "planning.weights = 'disagreement' needs"),
        ({"model": {"members": 0}}, "model.members: .*got 0"),
        ({"model": {"averaging": 1.0}}, "model.averaging: .*got 1.0"),
        ({"model": {"preset": "best"}}, "model.preset must be one of default, compact, large, paper, got 'best'"),
        ({"model": {"preset": ["default"]}}, "model.preset must be one of default, compact, large, paper"),
        ({"model": 5}, "model: .*got 5"),
        ({"stop": {"tolerance": float("nan")}}, "stop.tolerance: .*got nan"),
        ({"stop": {"patience": 1.5}}, "stop.patience: .*got 1.5"),
        ({"stop": {"on": "delta_q", "tolerance": 0.05}}, "stop: .*in Å⁻¹ where stop.on = 'delta_q'.*got 0.05"),
        (
            {"planning": {"weights": "disagreement"}, "model": {"members": 1, "stacked": False}},
            "weights = 'disagreement' needs model.members >= 2",
        ),
        (
            {"planning": {"batch": 1}, "backend": {"dataset": "x", "hold_out": "batch"}},
            "hold_out = 'batch', a simulation, a lab. needs planning.batch >= 2",
        ),
    ],
)
def test_an_impossible_value_is_named_with_its_rule(changes: dict, words: str):
    with pytest.raises(CampaignError, match=f"^test.toml: .*{words}"):
        check(**changes)


def test_a_file_that_leans_to_glass_is_refused_without_the_stack_that_says_it(tmp_path: Path):
    config = check(planning={"weights": "glass"}, model={"members": 2, "stacked": False})
    config.to_toml(tmp_path / FILE_NAME)
    with pytest.raises(
        CampaignError, match=r'planning\.weights = "glass" goes by P\(glass\), .* model\.stacked = true'
    ):
        CampaignConfig.from_toml(tmp_path / FILE_NAME)


def test_every_wrong_setting_is_named_at_once():
    with pytest.raises(CampaignError, match=r"planning\.batch.*'sead'"):
        check(sead=1, planning={"batch": 0})


def test_a_preset_is_a_start_from_which_single_settings_may_differ():
    model = check(model={"preset": "paper", "members": 3}).model
    assert model == PRESETS["paper"].model_copy(update={"members": 3})
    assert model.architecture == "paper"
    assert check(model={"preset": "default"}).model == check().model == PRESETS["default"]


def test_a_campaign_file_reads_back_as_it_was_written(tmp_path: Path):
    config = check(
        seed=7,
        space={"elements": ["Co", "V", "Zr"], "bounds_at_pct": {"Zr": [10, 90]}, "limits": ["Zr + Co >= 40"]},
        backend={"dataset": tmp_path / "small.nc", "where": "cleaned", "hold_out": "wafer"},
        model={"preset": "paper"},
        spectrum={"low": 1.5, "points": 100},
    )
    config.to_toml(tmp_path / FILE_NAME)
    assert CampaignConfig.from_toml(tmp_path / FILE_NAME) == config
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME], "no partial file is left"


def test_a_dataset_is_looked_for_beside_the_campaign_file_and_the_name_is_the_folders(tmp_path: Path):
    folder = tmp_path / "co-v-zr"
    folder.mkdir()
    (folder / FILE_NAME).write_text('space.elements = ["Co", "V"]\nbackend.dataset = "data/x.nc"')
    config = CampaignConfig.from_toml(folder / FILE_NAME)
    assert (config.name, config.backend) == ("co-v-zr", ReplaySettings(dataset=folder / "data" / "x.nc"))
    (folder / FILE_NAME).write_text('space.elements = ["Co", "V"]\nbackend.dataset = "~/x.nc"')
    assert CampaignConfig.from_toml(folder / FILE_NAME).backend == ReplaySettings(dataset=Path.home() / "x.nc")


def test_a_missing_campaign_file_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(CampaignError, match="glassmap init"):
        CampaignConfig.from_toml(tmp_path / FILE_NAME)


@pytest.mark.parametrize("content", [b"seed = = 1", b"seed = \xff"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(CampaignError, match="is not valid TOML"):
        CampaignConfig.from_toml(tmp_path / FILE_NAME)


@pytest.mark.parametrize(
    ("name", "value", "said", "back"),
    [
        ("seed", 1, "seed: 0 -> 1", "seed=0"),
        ("model", {"steps": 9}, "model.steps: 700 -> 9", "model.steps=700"),
        ("spectrum", {"points": 50}, "spectrum.points: not set -> 50", "spectrum.points="),
        (
            "space",
            {"elements": ["Co", "Ti", "Zr"]},
            'space.elements: ["Co", "V", "Zr"] -> ["Co", "Ti", "Zr"]',
            '\'space.elements=["Co", "V", "Zr"]\'',
        ),
        (
            "backend",
            {"dataset": "x", "hold_out": "wafer"},
            'backend.hold_out: "random" -> "wafer"',
            "'backend.hold_out=\"random\"'",
        ),
    ],
)
def test_a_setting_that_the_rounds_depend_on_may_not_change_and_is_put_back_by_a_command(
    name: str, value: Any, said: str, back: str
):
    before = check(model={"steps": 700}).model_dump(mode="json")
    changes: dict[str, Any] = {"model": {"steps": 700}, name: value}
    with pytest.raises(CampaignError) as refused:
        check(**changes).check_continues(before, folder=Path("campaigns/a b"))
    assert f"Changed since the campaign began: {said}. What was measured" in str(refused.value)
    assert f"put it back with `glassmap change 'campaigns/a b' {back}`, or begin another" in str(refused.value)
    assert f"What may change is {', '.join(FREE_SETTINGS)}, and space.bounds_at_pct, " in str(refused.value)


def test_what_only_the_next_plan_goes_by_may_change():
    earlier = check().model_dump(mode="json")
    planning = {"batch": 9, "method": "random", "hold_out_share": 0.5, "approval": "required"}
    check(planning=planning).check_continues(earlier)
    space = {"elements": ["Co", "V", "Zr"], "step_at_pct": 5, "bounds_at_pct": {"V": [5, 60]}, "limits": ["Zr >= 10"]}
    check(space=space | {"edges": True, "max_elements": 2}).check_continues(earlier)


def test_many_changes_that_are_refused_are_counted():
    before = check().model_dump(mode="json")
    with pytest.raises(CampaignError, match=r"; and \d+ more\. .* put it back in the campaign file, or begin"):
        check(model={"preset": "paper"}).check_continues(before)


def test_what_is_left_out_is_what_it_was_and_what_is_taken_out_is_as_by_default():
    earlier = check(model={"steps": 9}, planning={"batch": 9}, stop={"patience": 7, "max_hours": 5})
    now = check(model={"steps": 11}, stop={"patience": 3})
    went_on = now.continuing(earlier.model_dump(mode="json"), given={})
    assert (went_on.model.steps, went_on.planning.batch) == (11, 9)
    assert (went_on.stop.patience, went_on.stop.max_hours) == (3, 5)
    taken_out = now.continuing(earlier.model_dump(mode="json"), given=earlier.given)
    assert (taken_out.planning.batch, taken_out.stop.max_hours) == (check().planning.batch, None)
    of_before = now.continuing(earlier.model_dump(mode="json"), given=None)
    assert (of_before.planning.batch, of_before.stop.max_hours) == (9, None)


@pytest.mark.parametrize("table", [{}, {"preset": "default"}], ids=["nothing", "a preset"])
def test_a_default_that_another_version_changed_is_no_change_of_the_campaign(table: dict[str, Any]):
    earlier = check().model_dump(mode="json")
    earlier["model"] |= {"steps": 777, "members": 3, "architecture": "compact"}  # the defaults of then
    now = check(model=table | {"members": 3})
    del earlier["model"]["energy"]  # which came with `auto`
    for given in (None, {}, {"model": {"architecture": "compact"}}):  # a preset of then gave its architecture
        went_on = now.continuing(earlier, given=given)
        assert (went_on.model.steps, went_on.model.architecture) == (777, "compact")
        went_on.check_continues(earlier)
    with pytest.raises(CampaignError, match=r"began: model\."):
        check(model={"preset": "paper"}).continuing(earlier, given=None).check_continues(earlier)


@pytest.mark.parametrize("began", [{"preset": "paper"}, {"preset": "large"}, {"architecture": "compact"}])
def test_who_chose_the_networks_does_not_go_on_with_others_by_default(began: dict[str, Any]):
    earlier = check(model=began)
    now = check(model={"preset": "default"})
    with pytest.raises(CampaignError, match=r"began: model\."):
        now.continuing(earlier.model_dump(mode="json"), given=earlier.given).check_continues(
            earlier.model_dump(mode="json")
        )


def test_name_device_stop_rule_and_the_place_of_the_data_may_change():
    moved = {"dataset": "/data/moved.nc"}  # what it holds is compared when the campaign is opened
    changed = check(name="other", device="cpu", stop={"max_rounds": 99}, backend=moved)
    changed.check_continues(check().model_dump(mode="json"))
    with pytest.raises(CampaignError, match="began: seed: 0 -> 5"):
        changed.model_copy(update={"seed": 5}).check_continues(check().model_dump(mode="json"))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[3] / "examples").glob("*.toml")), ids=lambda path: path.name
)
def test_every_example_is_a_campaign_that_can_be_opened(path: Path, tmp_path: Path):
    (tmp_path / FILE_NAME).write_text(path.read_text())
    with open_campaign(tmp_path) as campaign:
        assert campaign.backend.axis_name == "q" and len(campaign.backend.axis) > 100
        assert len(campaign.config.space.build()) > 100


def test_a_simulation_is_one_kind_of_backend(tmp_path: Path):
    config = check(backend={"kind": "simulation", "potential": tmp_path / "x.eam.alloy"}, planning={"batch": 2})
    config.to_toml(tmp_path / FILE_NAME)
    assert CampaignConfig.from_toml(tmp_path / FILE_NAME) == config
    assert check(backend={"kind": "simulation", "potential": "zhou"}).backend.potential == "zhou"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ({}, "setting 'backend.potential' is missing"),
        (
            {"potential": "zhou", "dataset": "x"},
            "unknown setting 'backend.dataset'; allowed here: kind, potential, spectra",
        ),
        ({"potential": "zhou", "spectra": "sound"}, "backend.spectra: .*'diffraction' or 'rdf', got 'sound'"),
        ({"potential": "zhou", "spectra": "rdf", "wavelength": 1.5}, "a wavelength belongs to spectra = 'diffraction'"),
        ({"potential": "zhou", "preset": "slow"}, "backend.preset: .*'quick' or 'paper'"),
        ({"potential": "zhou", "workers": 0}, "backend.workers: .*greater than 0, got 0"),
        ({"potential": "zhou", "timeout_hours": -1}, "backend.timeout_hours: .*got -1"),
    ],
)
def test_a_wrong_setting_of_a_simulation_is_named(backend: dict, words: str):
    with pytest.raises(CampaignError, match=words):
        check(backend={"kind": "simulation", **backend})


def test_how_lammps_is_run_may_change_within_a_campaign_but_not_what_it_runs():
    before = check(backend={"kind": "simulation", "potential": "zhou"}).model_dump(mode="json")
    free = {"potential": "/moved/here", "command": "srun -n 8 lmp", "workers": 3, "timeout_hours": 5.0}
    check(backend={"kind": "simulation", **free}).check_continues(before)
    with pytest.raises(CampaignError, match="Changed since the campaign began: backend"):
        check(backend={"kind": "simulation", "potential": "zhou", "preset": "paper"}).check_continues(before)


def test_settings_recorded_before_there_were_new_ones_still_go_on():
    before = check().model_dump(mode="json")
    del before["backend"]["variable"]
    check().check_continues(before)


@pytest.mark.parametrize(("said", "scale"), [(None, 1.0), (0.7, 0.7), ("fit", None)])
def test_how_much_of_the_bare_substrate_is_subtracted_is_a_setting(said: Any, scale: float | None, tmp_path: Path):
    (tmp_path / "bare.xy").write_text("\n".join(f"{1 + k / 10} {k + 1}" for k in range(20)))
    axis = {"low": 1.0, "high": 2.5, "points": 32, "substrate": tmp_path / "bare.xy"}
    film = {"name": "film", "space": {"elements": ["Co", "Zr"]}, "backend": {"kind": "lab", "columns": "q"}}
    spectrum = axis | ({} if said is None else {"substrate_scale": said})
    config = CampaignConfig.of(film | {"spectrum": spectrum}, source="test")
    assert config.spectrum.read()["substrate"].scale == scale


BARE = [f"{12 + k} {k + 1}" for k in range(60)]  # over 2θ


def read_bare(path: Path, lines: list[str], *over: Any) -> Any:
    path.write_text("\n".join(lines))
    return SpectrumConfig(substrate=path).read(*over)["substrate"]


def test_a_bare_substrate_is_over_what_the_spectra_are_unless_its_header_says_otherwise(tmp_path: Path):
    bare = tmp_path / "bare.xy"
    assert read_bare(bare, BARE, "two_theta", 1.5406).axis[0] == 12
    assert read_bare(bare, ["2theta counts", *BARE], "q", 1.5406).axis[0] == pytest.approx(0.8526, abs=1e-4)
    q = [f"{1 + k / 10} {k + 1}" for k in range(20)]
    assert read_bare(bare, ["q counts", *q], "two_theta", 1.5406).axis[0] == pytest.approx(14.084, abs=1e-3)
    with pytest.raises(SpectrumError, match=r"The axis ends at 71.*taken to be over q.*`2theta counts`"):
        read_bare(bare, BARE, "q", 1.5406)
    with pytest.raises(SpectrumError, match="has no substrate"):
        read_bare(bare, BARE, "r")


def test_what_a_glass_is_may_change_at_any_time_and_is_said_in_one_way():
    labelled = check(glass={"labels": "known.csv"})
    earlier, given = labelled.model_dump(mode="json"), labelled.given
    plain = check().continuing(earlier, given=given)
    plain.check_continues(earlier)
    assert plain.glass.labels is None and plain.glass.rule == GlassRule(0.57), "labels that are taken out are gone"
    assert not is_glass_given(plain.model_dump(mode="json")) and is_glass_given(earlier)
    with pytest.raises(CampaignError, match=r"take out glass.threshold and threshold_std, or the labels"):
        check(glass={"labels": "known.csv", "threshold": 0.5})
    with pytest.raises(CampaignError, match=r"glass.threshold: .*greater than 0, got -0.5"):
        check(glass={"threshold": -0.5})
