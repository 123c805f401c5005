"""A campaign whose measurements are simulated on the spot: through to its end, killed, and with alloys that fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.errors import CampaignError, MeasurementError, SimulationError, SpectrumError
from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.data import read_begun_campaign
from glassmap.dashboard.pictures import draw_pictures
from glassmap.flows.actions import extend
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES
from glassmap.simulation.result import read_structure
from tests.support.campaigns import SIMULATED, fingerprint, rows, run
from tests.support.glasses import TINY_SETTINGS, ZHOU, counting_lammps
from tests.support.processes import processes_in, wait_until


def write_campaign(folder: Path, backend: dict[str, Any] | None = None, **changes: Any) -> CampaignConfig:
    settings = SIMULATED | changes | {"backend": SIMULATED["backend"] | (backend or {})}
    config = CampaignConfig.of(settings, source="test")
    config.to_toml(folder / FILE_NAME)
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    write_campaign(folder)
    run(folder)
    return folder


def simulated_already(finished: Path, folder: Path) -> None:
    """Have a campaign find the results of the one that is finished, which begins with the same alloys."""
    shutil.copytree(finished / "simulations", folder / "simulations")


def test_three_rounds_of_four_alloys_run_to_their_stop(finished: Path):
    with CampaignStore.read_only(finished) as store:
        status, curve, facts = store.status(), store.curve(), store.facts()
        compositions = store.spectra(hold_out=False)[1]
        held = store.spectra(hold_out=True)[0]
    assert (status.state, status.rounds, status.spectra) == ("exhausted", 3, 12)
    assert [point.spectra for point in curve] == [3, 6, 9] and len(held) == 3
    np.testing.assert_allclose(compositions * 10, np.round(compositions * 10), atol=1e-9)
    for found in facts.values():
        assert found["synthetic"] and "mixing rule, synthetic" in found["potential"]
        assert 2 < found["density"] < 10 and found["q1"] > 2 and found["is_crystalline"] is False
    assert rows(finished, "SELECT count(*) FROM progress") == [(0,)]


def test_pictures_say_that_the_potential_is_synthetic(finished: Path, monkeypatch: pytest.MonkeyPatch):
    titles = []
    for name in ("draw_learning_curve", "draw_peak_maps", "draw_examples"):
        monkeypatch.setattr(
            f"glassmap.dashboard.pictures.{name}", lambda *_, title, **__: titles.append(title) or Figure()
        )
    draw_pictures(read_begun_campaign(finished), finished / "pictures")
    assert len(titles) == 2 + len(FIGURES)
    assert all("simulated with zhou (mixing rule, synthetic)" in title for title in titles)


def test_what_was_simulated_stays_in_the_campaigns_folder(finished: Path):
    results = sorted((finished / "simulations").iterdir())
    assert [path.suffix for path in results].count(".npz") == 12
    assert all(path.is_file() for path in results), "working folders are tidied"
    assert read_structure(next(path for path in results if path.suffix == ".npz")).counts


@pytest.mark.parametrize("spectra", ["rdf", "angle"])
def test_g_of_r_or_angles_can_be_learned_instead(finished: Path, spectra: str, tmp_path: Path):
    simulated_already(finished, tmp_path)
    choice = {"spectra": "rdf"} if spectra == "rdf" else {"wavelength": 1.5406}
    limits: dict[str, Any] = {} if spectra == "rdf" else {"spectrum": {"low": 20.0, "high": 90.0, "points": 500}}
    write_campaign(tmp_path, choice, stop={"max_rounds": 1}, **limits)
    assert run(tmp_path).spectra == 4
    with CampaignStore.read_only(tmp_path) as store:
        name, axis, wavelength = store.axis()
        measured = store.spectra(hold_out=False)[2]
    assert (name, wavelength) == (("r", None) if spectra == "rdf" else ("two_theta", 1.5406))
    assert len(axis) == 500 and measured.shape == (3, 500)
    assert measured.max() < 10 if spectra == "rdf" else measured.max() == pytest.approx(100, abs=1)


# --- killed


def test_kill_9_during_simulations_loses_nothing_repeats_nothing_and_ends_as_the_same_seed_does(
    finished: Path, tmp_path: Path, prefect_server: None
):
    """Through Prefect, killed in the middle of a simulation."""
    from prefect.settings import PREFECT_API_URL

    folder, tools = tmp_path / "campaign", tmp_path / "tools"
    tools.mkdir()
    command, starts = counting_lammps(tools)
    write_campaign(folder, {"command": command})
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    succeeded: dict[str, float] = {}
    kills = 0
    while True:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("glassmap"), "run", folder],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if not kills:
            wait_until(lambda: starts.exists() and len(starts.read_text().split()) > 1, seconds=120)
            process.kill()
            kills += 1
        process.wait(300)
        wait_until(lambda: not processes_in(folder), 5)
        results: dict[str, float] = {
            path.name: path.stat().st_mtime_ns for path in (folder / "simulations").glob("*.npz")
        }
        assert succeeded.items() <= results.items(), "no result was made again"
        succeeded = results
        if process.returncode == 0:
            break
    assert kills == 1 and fingerprint(folder) == fingerprint(finished)
    begun_runs = starts.read_text().split()
    cut = len(begun_runs) - len(set(begun_runs))
    assert len(set(begun_runs)) == 12 and 1 <= cut <= 2, (
        f"only what a kill had cut is begun again, two at a time: {begun_runs}"
    )


# --- what fails


FAILING = (
    'case "$(head -1 in.lammps)" in *Zr{share}*) '
    "printf 'Loop\\n   Step\\nERROR: Lost atoms: original 200 current 9\\n' > log.lammps; exit 1;; esac"
)


def test_an_alloy_that_fails_is_recorded_with_its_reason_and_the_round_goes_on(tmp_path: Path):
    folder, tools = tmp_path / "campaign", tmp_path / "tools"
    tools.mkdir()
    command, _ = counting_lammps(tools, FAILING.format(share="[2-9]"))
    write_campaign(folder, {"command": command}, planning={"batch": 8}, stop={"max_rounds": 1})
    status = run(folder)
    with CampaignStore.read_only(folder) as store:
        failures, suggestions = store.failures(), store.suggestions()
        measured, held = store.n_spectra(), store.spectra(hold_out=True)[0]
    assert status.state == "exhausted" and 0 < len(failures) < 8 and measured == 8 - len(failures)
    assert all("seed 0: " in reason and "ERROR: Lost atoms" in reason for reason in failures.values())
    failed = [s for s in suggestions if s.id in failures]
    assert all(s.composition[0] > 0.15 for s in failed)
    assert held, "something is left to judge by, also where what was to be held out has failed"
    assert rows(folder, "SELECT count(*) FROM log WHERE event = 'failed'") == [(len(failures),)]


def test_a_round_in_which_all_fail_stops_and_is_tried_again_by_the_next_run(tmp_path: Path):
    folder, tools = tmp_path / "campaign", tmp_path / "tools"
    tools.mkdir()
    broken = tools / "broken"
    broken.touch()
    command, _ = counting_lammps(tools, f'if [ -e "{broken}" ]; then\n{FAILING.format(share="")}\nfi')
    write_campaign(folder, {"command": command}, stop={"max_rounds": 1})
    with pytest.raises(
        MeasurementError, match=r"Too few of round 1 could be measured, 0 of 4, .* first failed because: .*Lost"
    ):
        run(folder)
    with CampaignStore.read_only(folder) as store:
        assert store.status().state == "failed" and len(store.failures()) == 4
    broken.unlink()
    assert run(folder).spectra == 4
    with CampaignStore.read_only(folder) as store:
        assert not store.failures()
        succeeded = sum(found["cpu_seconds"] for found in store.facts().values()) / 3600
        assert (store.used().cpu_hours or 0) > succeeded, "what failed has cost as well, also when it is tried again"


def test_a_budget_that_is_spent_ends_a_round_and_what_is_missing_comes_when_there_is_more(tmp_path: Path):
    write_campaign(
        tmp_path, {"workers": 1}, planning={"batch": 4}, stop={"max_rounds": 2, "patience": 9, "max_cpu_hours": 1e-6}
    )
    status = run(tmp_path)
    assert status.state == "exhausted" and "the budget of 1e-06 CPU-hours of simulation is spent" in status.reason
    assert (status.rounds, status.spectra) == (1, 2), "one to learn from and one to judge by are made in any case"
    with CampaignStore.amend(tmp_path, person="ada") as store:
        extend(store, "", cpu_hours=5.0)
    status = run(tmp_path)
    assert (status.state, status.rounds, status.spectra) == ("exhausted", 2, 8)


def test_where_lammps_cannot_start_nothing_is_held_against_the_alloys(tmp_path: Path):
    write_campaign(tmp_path, {"command": "no-such-lmp"})
    with pytest.raises(SimulationError, match="The command 'no-such-lmp' must start a program"):
        run(tmp_path)
    with CampaignStore.read_only(tmp_path) as store:
        assert store.status().state == "failed" and not store.failures()
    write_campaign(tmp_path, stop={"max_rounds": 1})
    assert run(tmp_path).spectra == 4, "how LAMMPS is started may change"


@pytest.mark.parametrize(
    ("backend", "error", "words"),
    [
        ({"potential": "nowhere.eam.alloy"}, SimulationError, "nowhere.eam.alloy can't be read"),
        ({"protocol": {"atoms": 0}}, SimulationError, "atoms must be 100 or more; 1000 is quick; got 0"),
        ({"protocol": {"time_step_fs": 50}}, SimulationError, "time_step_fs must be .*got 50"),
        (
            {"protocol": {"atom": 500}},
            CampaignError,
            r"unknown setting 'backend.protocol.atom'; allowed here: atoms, hot",
        ),
        ({"protocol": {"seed": 5}}, CampaignError, "The seed is the campaign's"),
        ({"protocol": {"atoms": 500.5}}, CampaignError, "backend.protocol.atoms must be a whole number, got 500.5"),
        ({"protocol": {"atoms": 120, "rdf_cutoff": 16.0}}, SimulationError, "Å wide, hardly more than the rdf_cutoff"),
    ],
)
def test_bad_input_is_refused_before_anything_is_planned(backend: dict, error: type, words: str, tmp_path: Path):
    config = write_campaign(tmp_path, backend)
    with pytest.raises(error, match=words):
        run(tmp_path)
    assert not (tmp_path / "campaign.db").exists()
    assert config.backend.kind == "simulation"


def test_a_potential_without_an_element_of_the_system_is_refused(tmp_path: Path):
    (tmp_path / "zr-cu-al.eam.alloy").write_text(ZHOU.text)
    write_campaign(tmp_path, {"potential": "zr-cu-al.eam.alloy"}, space={"elements": ["Zr", "Ni"]})
    with pytest.raises(SimulationError, match="got none for Ni; it holds Zr, Cu, Al"):
        run(tmp_path)


def test_another_potential_under_a_campaign_is_refused_but_it_may_move(finished: Path, tmp_path: Path):
    simulated_already(finished, tmp_path)
    (tmp_path / "a.eam.alloy").write_text(ZHOU.text)
    write_campaign(tmp_path, {"potential": "a.eam.alloy"}, stop={"max_rounds": 1})
    run(tmp_path)
    (tmp_path / "a.eam.alloy").rename(tmp_path / "b.eam.alloy")
    write_campaign(tmp_path, {"potential": "b.eam.alloy"}, stop={"max_rounds": 1})
    assert run(tmp_path).spectra == 4
    (tmp_path / "b.eam.alloy").write_text(ZHOU.text.replace("generated by glassmap", "changed by hand"))
    with pytest.raises(CampaignError, match="potential changed since the campaign"):
        run(tmp_path)


def test_a_range_that_simulations_do_not_cover_is_refused_at_once(tmp_path: Path):
    write_campaign(tmp_path, spectrum={"low": 0.5})
    with pytest.raises(SpectrumError, match=r"must cover the range 0.5 to 8"):
        run(tmp_path)
    assert not (tmp_path / "campaign.db").exists()


def test_where_only_one_alloy_is_left_there_is_nothing_to_judge_by(tmp_path: Path):
    folder, tools = tmp_path / "campaign", tmp_path / "tools"
    tools.mkdir()
    once = tools / "once"
    command, _ = counting_lammps(tools, f'if [ -e "{once}" ]; then\n{FAILING.format(share="")}\nfi\ntouch "{once}"')
    write_campaign(folder, {"command": command, "workers": 1}, stop={"max_rounds": 1})
    with pytest.raises(MeasurementError, match="Too few of round 1 could be measured, 1 of 4"):
        run(folder)


# --- watched


def test_how_far_simulations_are_can_be_read_while_they_run(tmp_path: Path):
    config = write_campaign(tmp_path, {"protocol": {**TINY_SETTINGS, "melt_ps": 30.0}})
    seen = []
    with open_campaign(tmp_path, config=config) as campaign:
        STAGES["plan"](campaign, 1)
        campaign.store.start_stage(1, "measure")
        news = campaign.backend.measure(campaign.store.suggestions(pending=True), campaign.store)

        def watched(*_):
            for found in news:
                yield found
                with CampaignStore.read_only(tmp_path) as store:
                    seen.append((store.progress(), store.status().reason))
                if len(seen) == 4:
                    return

        campaign.backend.measure = watched  # type: ignore[method-assign]
        assert STAGES["measure"](campaign, 1) == "waiting"
        news.close()
    running, reason = seen[-1]
    assert running and all(0 <= share <= 1 for _, share in running)
    assert "0 of 4 done, Zr" in reason and "%" in reason
