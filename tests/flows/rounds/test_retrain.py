"""Retrain: a model between rounds, which nothing else depends on."""

from pathlib import Path

from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.actions import retract
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES
from glassmap.flows.rounds.retrain import retrain
from tests.support.campaigns import rows, run, write_campaign
from tests.support.lab_campaigns import measure_all


def test_a_model_is_retrained_between_rounds_once_for_what_is_new(lab: Path):
    with open_campaign(lab) as campaign:
        assert retrain(campaign) == "There is nothing to learn from yet."
    measure_all(lab, skip=2)
    with open_campaign(lab) as campaign:
        assert retrain(campaign).startswith("Retrained on 4 spectra, hold-out MSE")
        assert retrain(campaign).startswith("Nothing came since the last training")
    assert rows(lab, "SELECT round, kind FROM artefacts ORDER BY 2") == [(1, "archive"), (1, "checkpoint"), (1, "map")]
    first = rows(lab, "SELECT path FROM artefacts WHERE kind <> 'archive'")
    assert rows(lab, "SELECT count(*) FROM curve") == [(0,)], "the learning curve is of whole rounds"
    with CampaignStore.amend(lab, person="ada") as store:
        retract(store, [store.spectra(hold_out=False)[0][0]], "wrong wafer")
    with open_campaign(lab) as campaign:
        assert retrain(campaign).startswith("Retrained on")
    second = rows(lab, "SELECT path FROM artefacts WHERE kind <> 'archive'")
    assert not set(first) & set(second)
    assert not any((lab / path).exists() for (path,) in first) and all((lab / path).exists() for (path,) in second)


def test_retraining_changes_nothing_of_what_the_campaign_finds(tmp_path: Path, small_dataset: Path):
    for name in ("plain", "retrained"):
        write_campaign(tmp_path / name, small_dataset, planning={"weights": "disagreement"}, stop={"max_rounds": 2})
    run(tmp_path / "plain")
    with open_campaign(tmp_path / "retrained") as campaign:
        for round_ in (1, 2):
            for name, stage in STAGES.items():
                campaign.store.start_stage(round_, name)
                stage(campaign, round_)
                retrain(campaign)
    tables = (
        "id, composition FROM suggestions",
        "* FROM curve",
        "* FROM decisions",
        "* FROM artefacts WHERE round < 3 AND kind <> 'archive'",
    )
    for what in tables:
        statement = f"SELECT {what} ORDER BY 1, 2"
        assert rows(tmp_path / "plain", statement) == rows(tmp_path / "retrained", statement)
