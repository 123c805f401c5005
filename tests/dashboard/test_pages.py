"""What each page says of campaigns in every state."""

import io
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import streamlit as st
from PIL import Image
from streamlit.navigation.page import Page
from streamlit.proto.Metric_pb2 import Metric as MetricProto
from streamlit.testing.v1 import AppTest

from glassmap.agent.data.composition import label
from glassmap.agent.errors import StoreError
from glassmap.agent.maps.glass import P_GLASS
from glassmap.agent.maps.spectra_archive import KnownAlloys
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES, Q1
from glassmap.agent.planning.acquisition import RULES
from glassmap.agent.planning.convergence import Decision
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import now
from glassmap.agent.store.records import CONFIRMS, PlannedBy, Request
from glassmap.dashboard.alloy import say_how_to_ask
from glassmap.dashboard.app import FOLDERS, PAGES
from glassmap.dashboard.data import Slice, read_batch, read_last_archive, read_last_map
from glassmap.dashboard.downloads import downloads_of
from glassmap.dashboard.learning import published_for
from glassmap.dashboard.live import best_place, plain
from glassmap.dashboard.plots.quantities import QUANTITIES
from glassmap.dashboard.plots.ternary import PIXELS
from glassmap.dashboard.report import write_report
from glassmap.dashboard.thumbnail import ROOM, draw_thumbnail
from glassmap.flows.actions import abandon, note, retract, retry
from tests.support.harm import flip, spectrum_in
from tests.support.made_up import make_campaign
from tests.support.pages import APP, known, look, words


def test_the_first_page_has_every_campaign_and_who_needs_a_person_first(
    monkeypatch: pytest.MonkeyPatch, campaigns: Path
):
    test = look(monkeypatch, campaigns, "campaigns")
    said = words(test)
    titles = [element.value for element in test.markdown if element.value.startswith("#####")]
    assert len(titles) == 8 and "failed" in titles[0] and "converged" in titles[-1]
    assert "Waiting for 3 of 5 measurements of round 4 since" in said
    assert re.search(r"Best candidate:\*\* Zr\d+Cu\d+Al\d+: 0\.\d+ ± 0\.\d+ Å⁻¹, P\(glass\) 0\.", said)
    assert re.search(r"Measured next:\*\* 3 of round 4: Zr", said)
    shown = {metric.label: (metric.value, metric.delta) for metric in test.metric[:4]}
    assert [*shown] == ["glass", "Δq known to", "spectra", "next due"], (
        "what a head of a laboratory asks first, in order"
    )
    assert re.fullmatch(r"\d+ %", shown["glass"][0]) and re.fullmatch(
        r"\d+ % surely, \d+ % possibly", shown["glass"][1]
    )
    assert shown["next due"] == ("repair", "measure of round 4"), "of the one that failed"
    due = [(metric.value, metric.delta) for metric in test.metric if metric.label == "next due"]
    asked = next(when for what, when in due if what == "3 of 5 spectra")
    assert re.fullmatch(r"round 4, asked for (just now|\d+ minutes? ago)", asked)
    assert due[-1] == ("nothing", "the campaign has stopped")
    assert "Another campaign" in [box.label for box in test.expander] and "glassmap init campaigns/mine" in said
    assert "glassmap run" in said and "glassmap repair" in said


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "name",
    ["converged", "waiting", "failed", "quaternary", "quinary", "broken", "new", "a_rather-long*name of [many] rounds"],
)
def test_every_page_can_show_every_campaign(monkeypatch: pytest.MonkeyPatch, campaigns: Path, page: str, name: str):
    test = look(monkeypatch, campaigns, page, campaign=name)
    assert words(test)


def test_the_menu_has_the_pages_that_have_something_to_show(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    offered: list[str] = []

    def navigate(pages: list[Page], position: str) -> Page:
        offered[:] = [page.title for page in pages if page.visibility == "visible"]
        return navigation(pages, position=position)  # pyright: ignore[reportArgumentType]

    navigation = st.navigation
    monkeypatch.setattr(st, "navigation", navigate)
    look(monkeypatch, campaigns, "campaigns", campaign="waiting")
    everywhere = ["Progress", "Map", "Reliability", "Spectra", "Batch", "Files", "Rounds", "Compare"]
    assert offered == ["Campaigns", "Progress", "Map", "Wafers", *everywhere[2:]], "it simulates nothing"
    test = look(monkeypatch, campaigns, "map", campaign="converged")
    assert offered == ["Campaigns", *everywhere]
    test.selectbox(key="chosen").set_value("waiting").run()
    assert "Wafers" in offered and not test.exception, "as soon as another campaign is chosen"
    test.selectbox(key="chosen").set_value("new").run()
    assert offered == ["Campaigns"]
    look(monkeypatch, campaigns / "quinary", "campaigns")
    assert offered == ["Campaigns", *everywhere[:-1]], "nothing to compare it with"


def test_the_first_page_has_a_small_map_of_each_campaign_that_has_one(
    monkeypatch: pytest.MonkeyPatch, campaigns: Path, tmp_path: Path
):
    test = look(monkeypatch, campaigns, "campaigns")
    captions = [image.proto.imgs[0].caption for image in test.get("image")]
    assert len(captions) == 6 and "P(glass), round 3" in captions and "P(glass), round 3, at Ti 20 at.%" in captions
    campaign = known(campaigns / "converged")
    small, map_ = draw_thumbnail(campaign), read_last_map(campaign)
    assert small is not None and map_ is not None and len(small.png) < 30_000
    assert small.words == "Triangle of Zr, Cu, Al in the colours of P(glass), round 3"
    pixels = np.array(Image.open(io.BytesIO(small.png)).convert("RGBA"))
    height, width = pixels.shape[:2]
    assert width == 400 and pixels[0, 0, 3] == pixels[-1, width // 2, 3] == 0, "clear around the triangle"
    middle = int(map_.values(P_GLASS)[np.abs(map_.compositions - 1 / 3).sum(axis=1).argmin()] > 0.5)
    at = pixels[round(height * (ROOM + PIXELS[0] * 2 / 3) / (PIXELS[0] + 2 * ROOM)), width // 2, :3].astype(int)
    assert middle == 1 and at[0] > at[2], "the middle of the system is a glass: orange, not blue"
    assert draw_thumbnail(campaign._replace(map=None)) is None
    assert draw_thumbnail(campaign._replace(elements=("Zr", "Cu"))) is None


def test_progress_says_what_it_cost_and_what_a_batch_would_bring(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    test = look(monkeypatch, campaigns, "progress", campaign="waiting")
    metrics = {metric.label: metric.value for metric in test.metric}
    assert " ± " in metrics["hold-out MSE, ensemble"] and " ± " in metrics["error of Δq"] and metrics["spectra"] == "17"
    said = r"Another 4 spectra would bring the error of Δq to 0\.\d+ ± 0\.\d+ Å⁻¹; another 8 .* now\."
    assert re.search(said, words(test))
    drawn = json.loads(test.get("plotly_chart")[0].proto.spec)["data"]
    sure = {"ensemble mean, ± standard error", "expected on the same spectra, ± standard error"}
    assert sure <= {trace["name"] for trace in drawn if "error_y" in trace}
    assert not any(trace["name"].startswith("Xie et al.") for trace in drawn), "of other spectra"
    test.toggle(key="log").set_value(True).run()
    test.toggle(key="simpler").set_value(True).run()
    assert not test.exception
    test.segmented_control(key="against").set_value("wafers").run()
    layout = json.loads(test.get("plotly_chart")[0].proto.spec)["layout"]
    assert layout["xaxis"]["title"]["text"] == "wafers measured" and not test.exception


def test_a_curve_that_rises_is_said_to_and_praised_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    make_campaign(tmp_path / "rising", step_at_pct=10, rounds=3, batch=4, end="planned")
    reason = "Go on after 9 spectra: rising: the last batch made Δq worse by 0.012 ± 0.004 Å⁻¹."
    with CampaignStore.amend(tmp_path / "rising", person="somebody") as store, store.transaction():
        store.reopen_decision()
        store.record_decision(3, Decision("continue", reason, "rising"))
    progress = look(monkeypatch, tmp_path, "progress", campaign="rising")
    assert {metric.label: metric.value for metric in progress.metric}["the curve"] == "rising"
    assert reason in [plain(warning.value).replace("\\", "") for warning in progress.warning]
    rounds = look(monkeypatch, tmp_path, "rounds", campaign="rising")
    assert list(rounds.dataframe[0].value["trend"][:2]) == ["", "rising"] and f"Round 3: {reason}" in words(rounds)
    card = look(monkeypatch, tmp_path, "campaigns").metric[1]
    assert (card.label, card.delta, card.color) == ("Δq known to", "rising", MetricProto.GRAY)
    assert re.fullmatch(r"± 0\.\d{3} Å⁻¹", card.value) and re.search(r"one: 0\.\d+ ± 0\.\d+ Å⁻¹", card.help)


def test_what_is_published_stands_only_beside_the_very_spectra_that_it_is_of(campaigns: Path):
    campaign = known(campaigns / "converged")
    archive = read_last_archive(campaign)
    assert archive is not None
    q = np.linspace(0.9018, 5.0448, 733)
    settings = campaign.settings._replace(hold_out="random", scale="maximum")
    same = campaign._replace(elements=("Co", "V", "Zr"), axis=q, settings=settings)
    everything = archive._replace(known=KnownAlloys(np.zeros((2582, 3)), {}))
    assert published_for(same, everything) is not None
    assert published_for(same._replace(settings=settings._replace(scale="smoothed maximum")), everything) is not None
    assert published_for(same, archive) is None, "other spectra"
    assert published_for(same._replace(axis=q[20:]), everything) is None, "another range"
    for other in (
        settings._replace(hold_out="wafer"),
        settings._replace(hold_out=None),
        settings._replace(scale="window"),
    ):
        assert published_for(same._replace(settings=other), everything) is None


def test_a_comparison_begins_with_campaigns_that_are_judged_alike(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    test = look(monkeypatch, campaigns, "compare", campaign="quaternary")
    system = test.selectbox(key="compared system")
    assert system.value == "Zr–Cu–Al–Ti" and {"Zr–Cu–Al", "Zr–Cu–Al–Ti–Ni"} < {*system.options}
    assert test.multiselect[0].value == test.multiselect[0].options == ["quaternary"], "and no other is offered"
    drawn = json.loads(test.get("plotly_chart")[0].proto.spec)["data"]
    assert len(drawn) == 1 and min(drawn[0]["error_y"]["array"]) > 0
    system.set_value("Zr–Cu–Al").run()
    assert not test.exception and {"converged", "waiting"} < {*test.multiselect[0].options}
    assert "quaternary" not in test.multiselect[0].options


def test_the_map_shows_each_quantity(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    test = look(monkeypatch, campaigns, "map", campaign="converged")
    assert test.selectbox(key="quantity").value == P_GLASS, "the question of the whole"
    shown = {name: quantity.label for name, quantity in QUANTITIES.items()}
    offered = [name for name, label in shown.items() if label in test.selectbox(key="quantity").options]
    assert {P_GLASS, DELTA_Q.name, DELTA_Q.predictive_std_name, "distance"} <= {*offered}
    for name in offered:
        test.selectbox(key="quantity").set_value(name).run()
        assert not test.exception and [chart.key for chart in test.get("plotly_chart")] == ["ternary", "map spectra"]
        lines = [trace.get("name") for trace in json.loads(test.get("plotly_chart")[0].proto.spec)["data"]]
        drawn = any("P(glass) = 0.5" in str(line) for line in lines)
        assert drawn == (name in (P_GLASS, DELTA_Q.name))


@pytest.mark.usefixtures("pictures_unseen")
def test_a_map_that_is_older_than_a_figure_is_shown_without_it(
    monkeypatch: pytest.MonkeyPatch, campaigns: Path, tmp_path: Path
):
    folder = shutil.copytree(campaigns / "converged", tmp_path / "older")
    figure = next(figure for figure in FIGURES if figure != DELTA_Q)
    with CampaignStore.read_only(folder) as store:
        _, path = store.artefact("map") or (0, Path())
    later = [P_GLASS, DELTA_Q.predictive_std_name, Q1.predictive_std_name]
    table = pq.read_table(path).drop_columns([figure.name, figure.std_name, *later])
    older = table.rename_columns([name.replace("_std", "_spread") for name in table.column_names])
    pq.write_table(older.replace_schema_metadata(table.schema.metadata), path)
    test = look(monkeypatch, tmp_path, "map", campaign="older")
    options = test.selectbox(key="quantity").options
    assert DELTA_Q.titled_unit in " ".join(options) and figure.titled_unit not in " ".join(options)
    test.session_state["alloy"] = (0.2, 0.4, 0.4)
    test.run()
    assert not test.exception and f"**{DELTA_Q.label} 0." in words(test) and f"**{figure.label} " not in words(test)
    assert write_report(folder, tmp_path / "report.html")[0].exists()


def test_a_harmed_map_and_harmed_spectra_are_said_on_the_pages_that_show_them(
    monkeypatch: pytest.MonkeyPatch, replayed: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(replayed, tmp_path / "harmed"))
    with CampaignStore.read_only(folder) as store:
        paths = [path for kind in ("map", "archive") for path in store.artefacts(kind).values()]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-1])
    said = {page: words(look(monkeypatch, folder, page)) for page in ("campaigns", "map", "progress", "rounds")}
    assert "stacked by weight: " in said["campaigns"] and "With `--preset paper` it would be" in said["rounds"]
    assert {page for page, text in said.items() if "`glassmap map` makes it again" in text} == {
        "campaigns",
        "map",
        "progress",
    }
    test = look(monkeypatch, folder, "spectra")
    test.segmented_control(key="way").set_value("by name").run()
    test.text_input[0].set_value("Co30V40Zr30").run()
    assert not test.exception and "was changed or cut off" in words(test) and "no spectra to look at" not in words(test)


def test_a_quaternary_is_sliced_and_shown_as_a_cloud(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    test = look(monkeypatch, campaigns, "map", campaign="quaternary")
    test.multiselect(key="fixed").set_value(["Cu"]).run()
    assert not test.exception and [slider.label for slider in test.select_slider] == ["Cu (at.%)"]
    test.segmented_control(key="view").set_value("cloud").run()
    assert not test.exception and "largest" in words(test)


def test_an_alloy_is_looked_at_by_name_and_by_rank_in_the_hold_out(monkeypatch: pytest.MonkeyPatch, replayed: Path):
    test = look(monkeypatch, replayed, "spectra")
    assert test.segmented_control(key="way").value == "median", "of the hold-out"
    assert "| | generated | measured (held out) |" in words(test).replace("|  |", "| |")
    assert re.search(r"\| Δq \| 0\.\d+ ± 0\.\d+ Å⁻¹ \| 0\.\d+ Å⁻¹ \|", words(test))
    test.segmented_control(key="way").set_value("by name").run()
    assert "Type an alloy" in words(test)
    test.text_input[0].set_value("Co30V40Zr30").run()
    assert "**Co30V40Zr30**" in words(test)
    test.text_input[0].set_value("Co30V40").run()
    assert test.error and not test.exception
    for way in ("best", "median", "worst"):
        test.segmented_control(key="way").set_value(way).run()
        assert not test.exception and test.metric[0].label == "MSE of its generated spectrum"
    test.segmented_control(key="axis").set_value("2θ").run()
    assert not test.exception and test.number_input[0].value == pytest.approx(1.5406)


def test_all_held_out_alloys_say_how_well_generated_figures_agree_with_measured_ones(
    monkeypatch: pytest.MonkeyPatch, campaigns: Path
):
    test = look(monkeypatch, campaigns, "spectra", campaign="converged")
    said = words(test)
    for figure in ("Δq", "q₁"):
        assert re.search(
            rf"{figure} of 3 held-out alloys: slope [\d.]+ ± [\d.]+; R² .* about the mean, .* about zero", said
        )
    assert "the 90 % interval of a new measurement (± 1.64 std) holds" in said
    assert "The 90 % band holds 100 % of the points of 3 held-out spectra; 3 (100 %) have" in said
    assert len(test.get("plotly_chart")) == 3


def test_a_page_says_what_p_glass_and_the_interval_were_worth_and_how_many_say_so(
    monkeypatch: pytest.MonkeyPatch, campaigns: Path
):
    name = "a_rather-long*name of [many] rounds"
    test = look(monkeypatch, campaigns, "reliability", campaign=name)
    said = words(test)
    assert re.search(
        r"\*\*Held out: nothing speaks against P\(glass\)\.\*\*  \nBy \d+ alloys that were held out: .* are one\.", said
    )
    assert re.search(r"Brier score 0\.\d+, where the share of glasses said of every alloy would have 0\.\d+", said)
    assert said.count("The 90 % interval of a new measurement of Δq holds") == 2, "of those held out and those left out"
    tables = [frame.value for frame in test.dataframe]
    archive = read_last_archive(known(campaigns / name))
    assert archive is not None
    assert [table["alloys"].sum() for table in tables] == [
        archive.measured.hold_out.sum(),
        (~archive.measured.hold_out).sum(),
    ]
    assert len(test.get("plotly_chart")) == 2
    few = words(look(monkeypatch, campaigns, "reliability", campaign="converged"))
    assert (
        "**Held out: of so few alloys hardly anything can be told of P(glass).**  \nBy 3 alloys that were held out"
        in few
    )


def test_how_much_is_a_glass_stands_first_on_every_page(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    headline = r"\*\*Glass: \d+ % of the space \(\d+ % surely, \d+ % possibly\) by Δq ≥ 0\.57 Å⁻¹\.\*\*"
    assert re.search(headline, words(look(monkeypatch, campaigns, "map", campaign="converged")))


def test_a_spectrum_that_isn_t_kept_names_the_command_that_makes_it(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    test = look(monkeypatch, campaigns, "spectra", campaign="converged")
    test.segmented_control(key="way").set_value("by name").run()
    test.text_input[0].set_value("Zr33Cu33Al34").run()
    assert f"glassmap generate {campaigns / 'converged'} Zr33Cu33Al34" in words(test)


def test_the_log_is_filtered(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    test = look(monkeypatch, campaigns, "rounds", campaign="waiting")
    test.multiselect(key="events").set_value(["planned"]).run()
    assert "4 of " in words(test) and set(test.dataframe[-1].value["what"]) == {"planned"}


def test_pages_show_text_as_it_is():
    assert plain("a_b *c* [d](e) `f_g` $x$") == r"a\_b \*c\* \[d\](e) `f_g` \$x\$"


def test_a_folder_without_campaigns_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert "There is no campaign in" in words(look(monkeypatch, tmp_path, "campaigns"))


def test_nobody_sees_a_page_before_logging_in_where_a_login_is_configured(
    monkeypatch: pytest.MonkeyPatch, campaigns: Path
):
    monkeypatch.setenv(FOLDERS, str(campaigns))
    test = AppTest.from_file(str(APP), default_timeout=60)
    test.secrets["auth"] = {"client_id": "x"}
    test.run()
    assert not test.exception and [button.label for button in test.button] == ["Log in"] and not test.markdown


def test_pages_change_nothing_in_a_campaign(monkeypatch: pytest.MonkeyPatch, replayed: Path):
    before = {path: path.read_bytes() for path in replayed.rglob("*") if path.is_file()}
    for page in PAGES:
        look(monkeypatch, replayed, page)
    for path, content in before.items():
        assert path.read_bytes() == content, path
    with CampaignStore.read_only(replayed) as store, pytest.raises(sqlite3.OperationalError, match="readonly"):
        store.log("looked")


def test_neither_torch_nor_prefect_is_loaded():
    modules = "glassmap.dashboard.alloy, glassmap.dashboard.live, glassmap.dashboard.report, glassmap.simulation.result"
    modules += ", glassmap.agent.models.baselines"
    code = f"import sys, {modules}; print(sorted({{'torch', 'prefect', 'dask', 'glassmap.flows'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_another_page_is_a_file_and_a_line(monkeypatch: pytest.MonkeyPatch, campaigns: Path, tmp_path: Path):
    shutil.copytree(APP.parent, tmp_path / "dashboard")
    frame = tmp_path / "dashboard" / "app.py"
    before = "# title, icon, and which campaigns have something to show on it\n"
    line = '    "best": ("Best", ":material/star:", lambda one: one.map is not None),\n'
    assert before in frame.read_text()
    frame.write_text(frame.read_text().replace(before, before + line))
    (tmp_path / "dashboard" / "views" / "best.py").write_text(
        "import streamlit as st\n"
        "from glassmap.dashboard.live import best_place, chosen\n"
        "st.markdown(f'The best: {best_place(chosen(lambda campaign: campaign.map))}')\n"
    )
    monkeypatch.setenv(FOLDERS, str(campaigns))
    test = AppTest.from_file(str(frame), default_timeout=60)
    test.query_params["campaign"] = "converged"
    test.run().switch_page("views/best.py").run()
    assert not test.exception and "The best: Zr" in words(test)


@pytest.mark.parametrize("method", [*RULES, "by the stars"])
def test_every_rule_has_its_sentence_and_one_of_a_newer_version_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str
):
    make_campaign(tmp_path / "planned", step_at_pct=10, rounds=2, batch=4, end="planned")
    with CampaignStore.amend(tmp_path / "planned", person="somebody") as store, store.transaction():
        store.record_config(store.config | {"planning": store.config["planning"] | {"method": method}})
    said = words(look(monkeypatch, tmp_path, "batch", campaign="planned"))
    assert (RULES[method].sentence if method in RULES else "by the rule 'by the stars'") in said


def test_an_alloy_says_by_which_command_it_or_the_sample_nearest_to_it_is_measured_next(tmp_path: Path):
    make_campaign(tmp_path / "any", step_at_pct=10, rounds=1, batch=4, end="planned")
    campaign, middle = known(tmp_path / "any"), np.array([0.4, 0.3, 0.3])
    assert say_how_to_ask(campaign, middle) == f"`glassmap request {tmp_path}/any Zr40Cu30Al30` has it measured next."
    pending = np.array(campaign.awaited[0].composition)
    assert say_how_to_ask(campaign, pending) == "In the batch that is waited for."
    with CampaignStore.amend(tmp_path / "any", person="ada") as store:
        with store.transaction():
            store.record_requests([Request(tuple(middle.tolist()), "ada", "the best", now())])
        measured = np.array(store.measurements()[0].composition)
    assert say_how_to_ask(campaign, measured) == ""
    assert say_how_to_ask(campaign, middle) == (
        f"In the next batch, requested by ada\\: the best; `glassmap request {tmp_path}/any Zr40Cu30Al30 --withdraw` "
        "takes it back."
    )
    make_campaign(tmp_path / "on wafers", step_at_pct=10, rounds=1, batch=4, end="planned", on_wafers=True)
    campaign = known(tmp_path / "on wafers")
    with CampaignStore.read_only(tmp_path / "on wafers") as store:
        samples, taken = store.existing(), store.taken_samples()
    free = [k for k, w in enumerate(samples.wafers) if w != "W3" and (w.lower(), samples.names[k]) not in taken]
    row = min(free, key=lambda k: float(np.linalg.norm(samples.compositions[k] - middle)))
    command = f"`glassmap request '{tmp_path}/on wafers' {samples.names[row]} --wafer {samples.wafers[row]}`"
    assert f"{samples.names[row]} of {samples.wafers[row]}, Zr" in say_how_to_ask(campaign, middle)
    assert say_how_to_ask(campaign, middle).endswith(f"at.% away. {command} asks for it.")


def test_the_batch_page_says_what_of_a_batch_is_asked_for_by_people_and_what_confirms_candidates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    make_campaign(tmp_path / "planned", step_at_pct=10, rounds=2, batch=4, end="planned")
    with CampaignStore.amend(tmp_path / "planned", person="ada") as store, store.transaction():
        last = store.suggestions(round_=3)[-1]
        whys = ("requested by ada", f"{CONFIRMS}Zr30Cu40Al30, P(glass) 0.83")
        more = [last._replace(id=f"r003-{5 + k:02d}", why=why) for k, why in enumerate(whys)]
        store.add_to_batch(more)
        then = store.config["planning"] | {"method": "boundary"}
        store.record_planned_by(PlannedBy(3, store.config["space"], then))
    said = words(look(monkeypatch, tmp_path, "batch", campaign="planned"))
    assert (
        "First 1 requested by people, 1 to confirm candidates of the last map. The others: chosen evenly along" in said
    )


def test_what_is_measured_next_knows_what_people_rejected_abandoned_and_want_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    folder = tmp_path / "decided"
    make_campaign(folder, step_at_pct=5, rounds=1, batch=6, end="waiting")  # 1-3 of round 2 are in
    with CampaignStore.amend(folder, person="somebody") as store:
        with store.transaction():
            store.record_exclusion("r002-04", "rejected", "too brittle")
        abandon(store, ["r002-05"], "the wafer broke")
        retract(store, ["r002-01"], "the wrong wafer")
        retry(store, ["r002-01"], "on the right wafer")
        pending = [one.id for one in store.suggestions(pending=True)]
        alloys = [label(np.array(one.composition), ("Zr", "Cu", "Al")) for one in store.suggestions(pending=True)]
    assert pending == ["r002-01", "r002-06"]
    assert f"Measured next:** 2 of round 2: {', '.join(alloys)}" in words(look(monkeypatch, tmp_path, "campaigns"))
    chart = look(monkeypatch, tmp_path, "map", campaign="decided").get("plotly_chart")[0]
    crosses = next(trace for trace in json.loads(chart.proto.spec)["data"] if trace.get("name") == "next batch")
    assert crosses["text"] == pending
    page = look(monkeypatch, tmp_path, "batch", campaign="decided")
    assert "**Missing:** r002-01, r002-06" in words(page)
    shown = json.loads(page.get("plotly_chart")[0].proto.spec)["data"]
    marked = {trace["name"]: trace["text"] for trace in shown if trace.get("text")}
    assert marked["round 2, still to be measured"] == ["r002-01, to be held out", "r002-06, to be held out"]
    assert marked["measured, of round 2"] == ["r002-02", "r002-03"], "what was abandoned or retracted isn't measured"
    assert marked["measured, held out"] == ["r001-01", "r001-06"]
    assert marked["measured, learned from"] == ["r001-02", "r001-03", "r001-04", "r001-05", "r002-02", "r002-03"]


def test_a_measured_alloy_is_drawn_where_it_was_found_and_a_finished_batch_is_not_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    folder = tmp_path / "off"
    make_campaign(folder, step_at_pct=5, rounds=1, batch=5)
    with CampaignStore.amend(folder, person="somebody") as store, store.transaction():
        store._execute("UPDATE spectra SET composition = '[0.1, 0.2, 0.7]' WHERE id = 'r001-02'")
    page = look(monkeypatch, tmp_path, "batch", campaign="off")
    shown = {trace.get("name"): trace for trace in json.loads(page.get("plotly_chart")[0].proto.spec)["data"]}
    assert "round 1, still to be measured" not in shown
    assert shown["measured, of round 1"]["text"][1] == "r001-02"
    drawn = read_batch(folder, 1).measured
    assert np.allclose(drawn.compositions[drawn.ids.index("r001-02")], [0.1, 0.2, 0.7])


@pytest.mark.usefixtures("pictures_unseen")
def test_what_is_flagged_and_used_is_said_on_every_page_and_in_the_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    make_campaign(tmp_path / "flags", step_at_pct=10, rounds=1, batch=4)
    with CampaignStore.amend(tmp_path / "flags", person="somebody") as store, store.transaction():
        store.set_measurement_state("r001-02", "used", "A sharp line at 2.61 1/Å, 55 of 100 high: substrate?")
    sentence = "1 flagged measurement is used (r001-02: a sharp line at 2.61 1/Å); look at"
    for page in ("campaigns", "map", "progress"):
        assert sentence in words(look(monkeypatch, tmp_path, page))
    due = look(monkeypatch, tmp_path, "campaigns").metric[-1]
    assert (due.label, due.value, due.delta) == ("next due", "a decision", "on 1 flagged")
    picture = tmp_path / "flags" / "pictures" / "flagged-r001-02.png"
    picture.parent.mkdir()
    picture.write_bytes((Path(__file__).parents[2] / "dashboard" / "icon.png").read_bytes())
    batch = look(monkeypatch, tmp_path, "batch", campaign="flags")
    assert "flagged, used: A sharp line" in str([one.proto for one in batch.get("image")])
    table = batch.dataframe[0].value
    assert table["state"].tolist()[1] == "measured, flagged"
    assert table["remark"].tolist()[1].startswith("flagged, used: A sharp")
    with CampaignStore.amend(tmp_path / "flags", person="ada") as store:
        note(store, "a <b>scratch</b>", measurement="r001-02")
    write_report(tmp_path / "flags", tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text()
    assert sentence in report and "Converged after" in report
    assert "What people noted" in report and "a &lt;b&gt;scratch&lt;/b&gt;" in report
    assert "What people did" not in report, "noting decides nothing"


def test_notes_stand_beside_what_they_are_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    folder = tmp_path / "noted"
    make_campaign(folder, step_at_pct=10, rounds=1, batch=4)
    with CampaignStore.amend(folder, person="ada") as store:
        alloy = np.array(store.measurements()[1].composition)
        other = np.array(store.measurements()[2].composition)
        name = label(other, store.elements)
        note(store, "a <b>scratch</b>", measurement="r001-02")
        note(store, "brittle", alloy=name)
        note(store, "a new target", round_=1)
    test = look(monkeypatch, tmp_path, "map")
    marked = {one.get("name"): one.get("text") for one in json.loads(test.get("plotly_chart")[0].proto.spec)["data"]}
    assert marked["noted on"] == ["brittle"] and "r001-02: a <b>scratch</b>" in marked["measured"]
    for shares, said, silent in ((alloy, "a <b>scratch</b> :gray[(ada, ", "brittle"), (other, "brittle", "scratch")):
        test.session_state["alloy"] = tuple(shares)
        test.run()
        assert said in words(test) and silent not in words(test)
    batch = words(look(monkeypatch, tmp_path, "batch"))
    assert "a new target" in batch and "scratch" in batch and "brittle" not in batch
    assert "a new target" in words(look(monkeypatch, tmp_path, "campaigns")), "the last"
    rounds = words(look(monkeypatch, tmp_path, "rounds"))
    assert all(text in rounds for text in ("scratch", "brittle", "a new target"))


def test_the_map_opens_with_the_best_candidate_and_its_spectrum_has_neighbours_that_were_learned_from(
    monkeypatch: pytest.MonkeyPatch, campaigns: Path
):
    test = look(monkeypatch, campaigns, "map", campaign="converged")
    best = best_place(known(campaigns / "converged"))
    assert "The best candidate; click another" in words(test) and f"**{(best or '').partition(':')[0]}**" in words(test)
    archive = read_last_archive(known(campaigns / "converged"))
    assert archive is not None
    held = {label(one, ("Zr", "Cu", "Al")) for one in archive.measured.compositions[archive.measured.hold_out]}
    names = [one["name"] for one in json.loads(test.get("plotly_chart")[1].proto.spec)["data"]]
    near = [name for name in names if "learned from," in name]
    assert len(near) == 3 and not held & {name.partition(",")[0] for name in near}
    assert "As near, and never learned from: 2 held out." in words(test)
    assert "fitted first peak, generated" in names
    test.checkbox(key="map fits").set_value(False).run()
    assert "fitted first peak, generated" not in test.get("plotly_chart")[1].proto.spec and not test.exception


@pytest.mark.parametrize(
    ("name", "picture", "begins"), [("converged", "PNG", b"\x89PNG"), ("quaternary", "SVG", b"<?xml")]
)
def test_a_map_can_be_taken_along_as_a_table_and_as_a_picture_of_what_is_shown(
    campaigns: Path, name: str, picture: str, begins: bytes
):
    campaign = known(campaigns / name)
    map_, archive = read_last_map(campaign), read_last_archive(campaign)
    assert map_ is not None and campaign.map is not None
    cut = None
    if name == "quaternary":
        cut = Slice(map_.compositions[:, 3] == 0.2, [0, 1, 2], "20 at.% Ti")
    offered = {one.label: one.make for one in downloads_of(campaign, map_, archive, "distance", cut=cut)}
    assert offered.keys() == {"Parquet", "CSV", "PNG", "SVG"} and offered[picture]().startswith(begins)
    assert offered["Parquet"]() == campaign.map[1].read_bytes()
    table = pd.read_csv(io.BytesIO(offered["CSV"]()))
    assert len(table) == len(map_.figures if cut is None else map_.figures[cut.rows])
    assert table[list(campaign.elements)].sum(axis=1).round(6).eq(100).all()
    cloud = downloads_of(campaign, map_, archive, "distance", has_picture=False)
    assert [one.label for one in cloud] == ["Parquet", "CSV"]


def test_a_page_says_in_words_what_it_can_t_read(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    def refuse(folder: Path, round_: int) -> None:
        raise StoreError(f"{folder} is damaged, round {round_}.")

    monkeypatch.setattr("glassmap.dashboard.data.read_batch", refuse)
    assert "converged is damaged, round 3." in words(look(monkeypatch, campaigns, "batch", campaign="converged"))


def test_a_report_of_a_harmed_measurement_is_refused(campaigns: Path, tmp_path: Path):
    folder = shutil.copytree(campaigns / "converged", tmp_path / "harmed")
    flip(folder / "campaign.db", at=spectrum_in(folder, "r001-02"))
    with pytest.raises(StoreError, match=r"damaged.*r001-02.*glassmap repair"):
        write_report(folder, tmp_path / "report.html")
