import csv
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import Result

from glassmap.agent.config.campaign import FILE_NAME
from glassmap.agent.data.dataset import read_dataset, write_dataset
from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.data import read_begun_campaign
from glassmap.dashboard.pictures import draw_pictures
from glassmap.flows.cli.app import app
from glassmap.flows.cli.exit_codes import ExitCode
from glassmap.flows.compare import Judged, compare_models
from glassmap.simulation.cost import Cost
from tests.support.campaigns import rows, write_campaign
from tests.support.command_line import does, glassmap, told
from tests.support.pictures import HOW_SURE, MAPS, PICTURES, shows_something

STATUS_KEYS = ["state", "reason", "rounds", "spectra", "hold_out_mse", "hold_out_mse_standard_error"]
TINY = ["--batch", "8", "--rounds", "2", "--members", "2", "--steps", "5", "--device", "cpu"]


def commands() -> list[list[str]]:
    """The words of every command."""
    group = typer.main.get_command(app)
    below = {name: getattr(command, "commands", None) for name, command in group.commands.items()}  # type: ignore[attr-defined]
    return [[name, *word] for name, inner in below.items() for word in ([[w] for w in inner] if inner else [[]])]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("replayed") / "small"
    result = glassmap("replay", small_dataset, "--folder", folder, *TINY)
    return folder, result


def test_replay_ends_with_table_sentence_and_pictures(replayed: tuple[Path, Result]):
    folder, result = replayed
    assert result.exit_code == 0, result.output
    assert "Learning curve" in result.output
    assert "Budget spent, not converged, after 16 spectra in 2 rounds, hold-out MSE" in result.output
    for name in [*PICTURES, "wafers.png"]:
        picture = folder / "pictures" / name
        assert f"Picture: {picture}\n" in result.output
        assert shows_something(picture)
    status = told("status", folder)
    assert list(status)[:6] == STATUS_KEYS and (status["rounds"], status["spectra"]) == (2, 16)


@pytest.mark.usefixtures("pictures_unseen")
def test_replaying_again_does_nothing_over_and_more_rounds_go_on(replayed: tuple[Path, Result], small_dataset: Path):
    folder, first = replayed
    again = glassmap("replay", small_dataset, "--folder", folder, *TINY)
    look, volumes, *rounds = first.output.splitlines()[:4]
    assert look == "A first peak is found over q 1 to 5 1/Å in 150 of 150 scans."
    assert "the volume of their atoms" in volumes and volumes.split(". ")[-1] in glassmap("status", folder).output
    assert all(line.startswith("round ") for line in rounds)
    assert first.output == "\n".join([look, volumes, *rounds, again.output]), (
        "but for its first look, and its rounds as they go"
    )
    assert glassmap("change", folder, "planning.hold_out_share=0.5", "planning.batch=9").exit_code == 0
    more = glassmap("replay", small_dataset, "--folder", folder, *TINY, "--rounds", 3)
    assert "24 spectra in 3 rounds" in more.output
    with CampaignStore.read_only(folder) as store:
        assert store.config["planning"]["hold_out_share"] == 0.5, "what the command leaves out is as the file says"
        assert store.config["planning"]["batch"] == 8, "what it says counts"
    assert rows(folder, "SELECT max(attempts) FROM stages WHERE name != 'decide'") == [(1,)]


def test_replaying_with_other_settings_is_refused_and_changes_nothing(
    replayed: tuple[Path, Result], small_dataset: Path
):
    folder, _ = replayed
    before = (folder / FILE_NAME).read_text()
    result = glassmap("replay", small_dataset, "--folder", folder, *TINY, "--seed", 5)
    assert result.exit_code == ExitCode.REFUSED and "Changed since the campaign began: seed: " in result.output
    assert (folder / FILE_NAME).read_text() == before


@pytest.mark.usefixtures("pictures_unseen")
def test_a_replay_that_could_not_begin_leaves_no_settings_in_the_way(tmp_path: Path, small_dataset: Path):
    where = ["--folder", tmp_path / "c", "--where"]
    result = glassmap("replay", small_dataset, *where, "wafer=north", *TINY)
    assert result.exit_code == ExitCode.REFUSED and "No sample meets" in result.output
    result = glassmap("replay", small_dataset, *where, "wafer=east", *TINY, "--rounds", 1)
    assert result.exit_code == 0, result.output


def test_init_run_and_status_are_a_campaign_in_three_steps(tmp_path: Path, small_dataset: Path):
    folder = tmp_path / "mine"
    assert glassmap("init", folder, "--dataset", small_dataset).exit_code == 0
    assert "is there already" in glassmap("init", folder, "--dataset", small_dataset).output
    assert "glassmap run" in glassmap("status", folder).output
    write_campaign(folder, small_dataset, stop={"max_rounds": 1})  # as if edited: smaller
    result = glassmap("run", folder)
    first, last, then = result.output.splitlines()
    assert then == f"`glassmap map {folder}` draws the map, `glassmap report {folder}` tells the whole story."
    assert first.startswith("round 1: MSE after n spectra: 8: ") and last.startswith(
        "Budget spent, not converged, after 8 spectra"
    )
    said, status = does("status", folder), told("status", folder)
    assert f"Model: {status['ensemble']['sentence']}" in said and "With `--preset paper` it would" in said
    assert sum(status["ensemble"]["weights"].values()) == pytest.approx(1)
    assert list(status)[:6] == STATUS_KEYS and status["decision"]["state"] == "exhausted"
    assert (status["state"], status["rounds"], status["spectra"]) == ("exhausted", 1, 8)
    with CampaignStore.read_only(folder) as store:
        assert status["hold_out_mse"] == store.curve()[-1].mse


def test_status_reads_a_campaign_that_another_process_works_on(tmp_path: Path, small_dataset: Path):
    with CampaignStore.open(tmp_path / "c") as store:
        store.start_stage(1, "plan")
        status = told("status", tmp_path / "c")
        write_campaign(tmp_path / "c", small_dataset)
        busy = glassmap("run", tmp_path / "c")
    (stage,) = status.pop("stages")
    assert (stage["name"], stage["status"], stage["attempts"], stage["seconds"]) == ("plan", "running", 1, 0)
    assert status == {
        "state": "running",
        "reason": "Round 1, plan: running.",
        "rounds": 0,
        "spectra": 0,
        "hold_out_mse": None,
        "hold_out_mse_standard_error": None,
        "folder": str(tmp_path / "c"),
        "is_advanced": True,
        "round": 1,
        "stage": "plan",
        "stage_status": "running",
        "waiting_for": None,
        "asked": 0,
        "missing": 0,
        "ordered": None,
        "running": [],
        "error": None,
        "decision": None,
        "paused": None,
        "to_look_at": {"quarantined": 0, "without_composition": 0, "flagged": 0, "used_flagged": 0, "refused_scans": 0},
        "flags": [],
        "use_changed": [],
        "peaks_found": None,
        "glass": None,
        "glass_rule": None,
        "headline": "",
        "failure": "",
        "needs_person": False,
        "notes": [],
        "to_make": [],
        "ensemble": None,
        "mixture": "",
        "misplaced": "",
        "unlearned": "",
        "effort": None,
        "wafers": [],
        "spared": 0,
        "off_targets": [],
    }
    assert busy.exit_code == ExitCode.BUSY and "by another process" in busy.output


def test_generate_writes_the_spectrum_and_its_spread(replayed: tuple[Path, Result], tmp_path: Path):
    folder, _ = replayed
    result = glassmap("generate", folder, "Co30V40Zr30", "-o", tmp_path / "out" / "alloy")
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "alloy.csv").open() as file:
        table = list(csv.reader(file))
    assert table[0] == ["q", "mean", "low", "high", "sample", "epistemic_std", "aleatoric_std"]
    values = np.array(table[1:], dtype=float)
    assert values.shape == (96, 7) and (values[:, 0] == np.linspace(1, 5, 96).round(5)).mean() > 0.9
    assert values[:, 1].max() <= 100 and (values[:, 5:] >= 0).all() and (values[:, 2] <= values[:, 3]).all()
    assert shows_something(tmp_path / "out" / "alloy.png", colours=1)
    assert "generated/Co30V40Zr30.csv" in glassmap("generate", folder, "Co30V40Zr30").output


@pytest.mark.usefixtures("pictures_unseen")
def test_map_says_where_all_alloys_are(replayed: tuple[Path, Result]):
    folder, _ = replayed
    result = glassmap("map", folder)
    assert result.exit_code == 0
    with CampaignStore.read_only(folder) as store:
        (_, path), headline = store.artefact("map") or (0, None), store.status().headline
    pictures = "".join(f"Picture: {folder / 'pictures' / name}\n" for name in MAPS)
    assert headline.startswith("Glass: ") and result.output == f"{headline}\nEvery alloy: {path}\n{pictures}"


def test_a_folder_of_scans_becomes_a_data_set(tmp_path: Path):
    scans = tmp_path / "scans"
    scans.mkdir()
    q = np.linspace(1, 5, 81)
    for k in range(3):
        halo = 5 + 100 / (1 + 4 * ((q - 2.7 - 0.1 * k) / 0.5) ** 2)
        (scans / f"a{k}.csv").write_text("\n".join(f"{x:.2f},{y:.2f}" for x, y in zip(q, halo, strict=True)))
    table = tmp_path / "table.csv"
    table.write_text("file,Co (at.%),V (at.%)\na0.csv,10,90\na1.csv,20,80\na2.csv,30,70.2\n")
    result = glassmap("import", scans, "--compositions", table, "-o", tmp_path / "out.nc", "--axis", "q")
    assert result.exit_code == 0, result.output
    assert f"Wrote 3 spectra of Co-V to {tmp_path / 'out.nc'}" in result.output
    assert "Note: 1 of 3 compositions summed to 100.20" in result.output
    np.testing.assert_allclose(read_dataset(tmp_path / "out.nc").compositions[:2], [[0.1, 0.9], [0.2, 0.8]])


def test_simulate_prints_the_figures_and_draws_them(tmp_path: Path):
    words = ["simulate", "Zr50Cu40Al10", "--atoms", 300, "--potential", "zhou-fitted", "--folder", tmp_path]
    result = glassmap(*words)
    assert result.exit_code == 0, result.output
    found = told(*words)
    assert (found["alloy"], found["atoms"], found["synthetic"]) == ("Zr50Cu40Al10", 300, True)
    assert found["density"] == pytest.approx(6.9, abs=0.25) and found["q1"] == pytest.approx(2.65, abs=0.1)
    for figure in ("zhou-fitted (mixing rule, synthetic)", f"{found['density']:.3f} g/cm3", f"{found['q1']:.3f} Å⁻¹"):
        assert figure in result.output
    picture = next(tmp_path.glob("*.png"))
    assert f"Picture: {picture}" in result.output and shows_something(picture)
    begun = time.monotonic()
    assert glassmap(*words).output == result.output, "once simulated, it is looked up"
    assert time.monotonic() - begun < 60


def test_an_estimate_comes_without_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("glassmap.simulation.cost.SIZES", (300, 600))
    words = ["simulate", "Zr50Cu40Al10", "--estimate", "--cores", 8]
    costs = told(*words)
    monkeypatch.setattr("glassmap.simulation.cost.estimate_costs", lambda *alloy, **how: [Cost(**c) for c in costs])
    result = glassmap(*words)
    assert [cost["atoms"] for cost in costs] == [300, 600, 40_000]
    for cost in costs:
        assert 0 < cost["seconds"]["quick"] < cost["seconds"]["paper"], "a third of the steps"
    assert costs[2]["seconds"]["paper"] == pytest.approx(costs[1]["seconds"]["paper"] * 40_000 / 600)
    assert "1176 alloys on 8" in " ".join(result.output.split())


def test_init_writes_a_campaign_that_simulates(tmp_path: Path):
    result = glassmap("init", tmp_path / "c", "--simulate", "Zr-Cu-Al", "--potential", "zhou-fitted")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "c" / FILE_NAME).read_text()
    assert 'kind = "simulation"' in text and 'potential = "zhou-fitted"' in text and 'preset = "quick"' in text


@pytest.mark.usefixtures("pictures_unseen")
def test_the_demo_needs_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "glassmap.flows.cli.demo.BUNDLED_SETTINGS", {"where": "not replicate", "batch": 10, "rounds": 1, "steps": 5}
    )
    result = glassmap("demo", "--folder", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    with CampaignStore.read_only(tmp_path / "demo") as store:
        assert store.source.startswith("simulated with ZrCuAl2011.eam.alloy")
        assert store.n_spectra() == 10
    assert (tmp_path / "demo" / "pictures" / "delta-q-map.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("replay {none}.nc", "There is no file"),
        ("replay {data} --batch 0 --folder {none}", "planning.batch: Input should be greater than 0"),
        ("replay {data} --device gpu --folder {none}", "device: "),
        ("init {none} --dataset {none}.nc", "There is no file"),
        ("init {data} --dataset {data}", "File exists"),
        ("run {none}", "No campaign file at"),
        ("status {none}", "No campaign has been started in"),
        ("map {none}", "Not started yet: `glassmap run {none}`"),
        ("map {empty}", "It is being started right now"),
        ("generate {none} Co30V40Zr30", "No campaign has been started in"),
        ("generate {folder} Co30V40", "must sum to 100"),
        ("generate {folder} Fe30V40Zr30", "names Fe which is not among"),
        ("import {none} --compositions {none}.csv -o {none}.nc", "{none}.csv"),
        ("demo --data {none}.nc --folder {none}", "There is no file {none}.nc"),
        ("init {none}", "Say who measures: one of --dataset FILE.nc, --simulate SYSTEM"),
        ("init {none} --dataset {data} --simulate Zr-Cu-Al", "Say who measures"),
        ("init {none} --simulate Zr-Cu-Al --potential {none}.eam", "The potential {none}.eam can't be read"),
        ("init {none} --simulate Co-V-Zr", "A Zhou potential can be generated for Cu, Ag, "),
        ("simulate Zr50Xx50", "'Zr50Xx50' must name chemical elements, each once, got 'Xx'"),
        ("simulate 50", "'50' must name chemical elements"),
        ("sweep zr-Cu-Al -o {none}.nc", "'zr-Cu-Al' must name chemical elements, each once, got 'zr'"),
        ("sweep Zr-Cu/Al -o {none}.nc", "'Zr-Cu/Al' must name chemical elements"),
        ("init {none} --simulate Zr-Zr", "'Zr-Zr' must name chemical elements, each once"),
        ("init {none} --dataset {data} --potential zhou-fitted", "Say who measures"),
        ("demo --live --data {data}", "A live demo simulates and takes no --data"),
        ("simulate Zr50Cu50 --estimate --atoms 500", "An estimate is for several sizes at once"),
        ("simulate Zr50Cu40", "shares must sum to 100"),
        ("simulate Zr50Cu50 --atoms 0", "atoms must be 100 or more; 1000 is quick; got 0"),
        ("simulate Zr50Cu50 --potential {data}", "can't be read"),
        ("simulate Zr50Cu50 --command no-such-lmp", "must start a program on the path"),
        ("sweep Zr-Cu-Al --steps few -o {none}.nc", "Give whole numbers with commas between, such as 5,2; got 'few'"),
        ("sweep Zr-Cu-Al --steps 7 -o {none}.nc", "step_at_pct must divide 100, got 7"),
    ],
)
def test_what_is_refused_is_said_in_words(
    words: str, message: str, replayed: tuple[Path, Result], small_dataset: Path, tmp_path: Path
):
    with CampaignStore.open(tmp_path / "empty"):
        pass
    places = {"none": tmp_path / "none", "data": small_dataset, "folder": replayed[0], "empty": tmp_path / "empty"}
    result = glassmap(*words.format(**places).split())
    assert result.exit_code == ExitCode.REFUSED
    assert result.output.splitlines()[-1].startswith("Error: ") and "Traceback" not in result.output
    assert message.format(**places) in result.output
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_prefect_server_that_does_not_answer_is_said_in_words(
    command: str, replayed: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    result = glassmap(command, replayed[0])
    assert result.exit_code == ExitCode.REFUSED
    assert "http://127.0.0.1:1/api doesn't answer" in result.output and "Traceback" not in result.output


def test_a_table_name_in_an_error_is_no_markup(tmp_path: Path):
    (tmp_path / FILE_NAME).write_text("[planning]\n[planning]\n")
    assert str(tmp_path) in glassmap("run", tmp_path / "[bold]").output.replace("\n", "")
    assert "[bold]" in glassmap("run", tmp_path / "[bold]").output


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_help_of_every_command_has_an_example(words: list[str]):
    result = glassmap(*words, "--help")
    assert result.exit_code == 0
    assert f"Example: glassmap {' '.join(words)}" in " ".join(result.output.replace("│", " ").split())


def test_all_commands_are_found():
    assert {"replay", "init", "run", "status", "map", "generate", "demo", "import", "simulate", "sweep"} <= {
        words[0] for words in commands()
    }
    assert all(len(words) == 1 for words in commands())


@pytest.mark.parametrize("words", ["--help", "replay --help", "status {folder}"])
def test_what_needs_no_network_loads_no_torch(words: str, replayed: tuple[Path, Result]):
    arguments = words.format(folder=replayed[0]).split()
    code = (
        "import sys; from glassmap.flows.cli.app import app\n"
        "try: app(sys.argv[1:])\n"
        "finally: assert not {'torch', 'prefect'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_installed_command_prints_errors_on_the_other_channel(tmp_path: Path):
    command = Path(sys.executable).with_name("glassmap")
    done = subprocess.run([command, "status", tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (ExitCode.REFUSED, "")
    assert done.stderr.startswith(f"Error: No campaign has been started in {tmp_path}. Start one with `glassmap replay")
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("pictures_unseen")
def test_radial_distributions_have_a_learning_curve_but_no_map(tmp_path: Path, small_dataset: Path):
    data, folder = tmp_path / "rdf.nc", tmp_path / "rdf"
    write_dataset(replace(read_dataset(small_dataset), axis_name="r"), data)
    result = glassmap("replay", data, "--folder", folder, *TINY, "--rounds", 1)
    assert result.exit_code == 0, result.output
    drawn = sorted(path.name for path in (folder / "pictures").iterdir())
    assert drawn == ["examples.png", "learning-curve.png", "wafers.png"]
    with CampaignStore.read_only(folder) as store:
        (point,) = store.curve()
    assert point.mse > 0 and all(math.isnan(point.hold_out[figure.name].value) for figure in FIGURES)
    assert "No map has been made" in glassmap("map", folder).output
    assert glassmap("generate", folder, "Co30V40Zr30").exit_code == 0


@pytest.mark.usefixtures("pictures_unseen")
def test_a_campaign_without_a_test_set_is_drawn_from_its_own_hold_out(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, backend={"hold_out": "batch"}, stop={"max_rounds": 1})
    assert glassmap("run", tmp_path).exit_code == 0
    assert glassmap("map", tmp_path).exit_code == 0
    names = [path.name for path in draw_pictures(read_begun_campaign(tmp_path), tmp_path / "pictures")]
    assert names == [*(name for name in PICTURES if name not in HOW_SURE), "wafers.png"]


def as_before(judged: list[Judged], compare: Callable[..., Iterator[Judged]], *what: Any, **how: Any) -> list[Judged]:
    """What was judged the first time, as judging takes seconds."""
    judged.extend([] if judged else compare(*what, **how))
    return judged


def test_compare_says_which_model_is_best_and_draws_it(
    tmp_path: Path, small_dataset: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ["compare", small_dataset, "--sizes", "10,30", "--seeds", 2, "--members", 2, "--steps", 5]
    judged = list[Judged]()
    monkeypatch.setattr("glassmap.flows.compare.compare_models", partial(as_before, judged, compare_models))
    result = glassmap(*words, "--picture", tmp_path / "curves.png")
    assert result.exit_code == 0, result.output
    assert "30 spectra, split 2 of 2: mean" in result.output, "as it goes"
    assert "After 30 spectra " in result.output and "`--split wafer` holds a whole wafer out" in result.output
    found = told(*words)
    assert list(found) == ["dataset", "split", "errors", "sentences"]
    assert all(sentence in result.output for sentence in found["sentences"])
    models = {"mean", "without-networks", "nearest", "rbf", "pca-gp", "extra-trees", "ensemble"}
    mse = {
        model: np.median([record["mse"] for record in found["errors"] if (record["model"], record["n"]) == (model, 30)])
        for model in models
    }
    models -= {"without-networks"}  # too long for a narrow terminal's line
    table = [word for line in result.output.splitlines() if (word := line.strip("│ ").split(" ")[0]) in models]
    assert table == sorted(models, key=lambda model: mse[model]), "the best first"
    assert shows_something(tmp_path / "curves.png")


def test_compare_refuses_what_it_can_not_split(tmp_path: Path, small_dataset: Path):
    result = glassmap("compare", small_dataset, "--split", "wafer", "--where", "wafer=east")
    assert result.exit_code == ExitCode.REFUSED and "two or more wafers" in result.output
    assert "There is no file" in glassmap("compare", tmp_path / "none.nc").output
    assert "Give whole numbers" in glassmap("compare", small_dataset, "--sizes", "few").output
