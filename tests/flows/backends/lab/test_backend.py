"""A campaign in a laboratory: slow, partial, wrong and late, and still nothing lost."""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.errors import CampaignError, MeasurementError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.actions import abandon, go_on, retract, retry
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES
from tests.support.campaigns import fingerprint, processes, rows, run, run_and_tell
from tests.support.lab_campaigns import (
    ROUNDS,
    account,
    deliver_all,
    drop_scan,
    drop_table,
    edit,
    measure_all,
    order,
    states,
    write_campaign,
)
from tests.support.laboratory import work

KILLS = 12


def test_a_campaign_of_ten_rounds_accounts_for_everything_that_a_laboratory_dropped(tmp_path: Path):
    folder, journal = write_campaign(tmp_path / "lab"), tmp_path / "lab.json"
    (folder / "drop").mkdir()
    process = processes().Process(target=work, args=(folder, folder / "drop", journal, 3))
    process.start()
    try:
        end = time.monotonic() + 300
        while (status := run(folder)).state == "waiting":
            assert time.monotonic() < end, status.reason
            time.sleep(0.02)
    finally:
        process.kill()
        process.join()
    assert status.state == "exhausted" and status.rounds == ROUNDS
    run(folder)  # what was dropped after the last look
    faults = account(folder, journal)
    assert len(faults) == 9, f"every fault was met: {faults}"
    for sample in order(folder, 3):
        assert sample["state"] == states(folder)[sample["sample"]], "the order says what is missing"


def lab_fingerprint(folder: Path) -> dict[str, Any]:
    """All that a campaign found out, without times."""
    orders = {path.name: path.read_text() for path in (folder / "orders").glob("*.csv")}
    kept = {p.relative_to(folder).as_posix() for part in ("scans", "quarantine") for p in (folder / part).iterdir()}
    return fingerprint(folder) | {
        "files": rows(folder, "SELECT path, hash, kind, state, reason, measurement FROM files ORDER BY path, hash"),
        "samples": rows(folder, "SELECT name, composition FROM samples ORDER BY 1, 2"),
        "facts": rows(folder, "SELECT id, facts FROM spectra ORDER BY 1"),
        "orders": orders,
        "kept": kept,
    }


def test_kills_lose_nothing_and_order_nothing_twice(tmp_path: Path):
    def begin(folder: Path) -> Path:
        write_campaign(folder)
        edit(folder, f"max_rounds = {ROUNDS}", "max_rounds = 4")  # the kills strike the first of them
        (folder / "drop").mkdir()
        return folder

    def lives(folder: Path, kills: int, rng: np.random.Generator) -> int:
        """Run to the end, delivering between two lives; returns how often it was killed."""
        killed = 0
        while True:
            listening, told = processes().Pipe(duplex=False)
            child = processes().Process(target=run_and_tell, args=(folder, told))
            child.start()
            told.close()
            if killed < kills:
                listening.recv()  # a stage begins
                time.sleep(rng.uniform(0, 0.12))
                child.kill()
            child.join()
            assert child.exitcode in (0, -9)
            killed += child.exitcode == -9
            if child.exitcode == 0 and not deliver_all(folder):
                return killed

    expected = begin(tmp_path / "untouched")
    lives(expected, 0, np.random.default_rng(0))
    total = 0
    while total < KILLS:
        folder = begin(tmp_path / "killed")
        total += lives(folder, KILLS - total, np.random.default_rng(total))
        assert lab_fingerprint(folder) == lab_fingerprint(expected)
        assert rows(folder, "PRAGMA integrity_check") == [("ok",)]
        account(folder, tmp_path / "killed.json")
        shutil.rmtree(folder)
        (tmp_path / "killed.json").unlink()
    assert total == KILLS


def test_what_is_measured_is_learned_from_as_found_and_not_as_asked_for(lab: Path):
    samples = order(lab)
    table = {s["sample"]: drop_scan(lab, s, shift=0.03 if k == 0 else 0) for k, s in enumerate(samples)}
    drop_table(lab, table)
    assert run(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2")
    with CampaignStore.read_only(lab) as store:
        first = store.measurement("r001-01")
    assert first is not None
    np.testing.assert_allclose(first.composition, table["r001-01"], atol=1e-6)
    assert first.facts["off_target_at_pct"] == pytest.approx(3.0)


def test_a_round_waits_until_enough_is_in_and_time_is_over(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab", minimum_share=0.75, patience_hours=1.0)
    run(folder)
    measure_all(folder, skip=2)
    assert run(folder).reason.startswith("Waiting for 2 of 8 measurements of round 1 since")
    with CampaignStore.amend(folder, person="clock") as store, store.transaction():
        store._db.execute("UPDATE batches SET ordered_hours = ordered_hours - 100")
    assert run(folder).reason.startswith("Waiting for 8 of 8 measurements of round 2")
    late = order(folder, 1)[0]
    drop_table(folder, {late["sample"]: drop_scan(folder, late)}, "late.csv")
    run(folder)
    assert states(folder)[late["sample"]] == "measured", "what comes late is taken all the same"
    assert order(folder, 1)[0]["state"] == "measured"


def test_a_person_may_have_a_round_go_on(lab: Path):
    measure_all(lab, skip=3)
    assert run(lab).state == "waiting"
    with CampaignStore.amend(lab, person="ada") as store:
        go_on(store, "the furnace is down")
    assert run(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2")


def test_nothing_is_asked_for_twice_while_it_is_pending(lab: Path):
    measure_all(lab, skip=3)
    with CampaignStore.amend(lab, person="ada") as store:
        go_on(store, "")
    run(lab)
    with CampaignStore.read_only(lab) as store:
        asked = [s.composition for s in store.suggestions()]
    assert len(asked) == 16 == len(set(asked))


@pytest.mark.parametrize("of", ["all learned", "held out"])
def test_a_round_whose_data_were_retracted_before_training_is_measured_on(lab: Path, of: str):
    measure_all(lab)
    with open_campaign(lab) as campaign:
        assert STAGES["measure"](campaign, 1) == "done"
    with CampaignStore.amend(lab, person="ada") as store:
        retract(store, store.spectra(hold_out=of == "held out")[0], "wrong wafer")
    assert run(lab).reason.startswith("What round 1 would learn from or be judged by was retracted; `glassmap run")
    assert run(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2"), "others are shared out"
    with CampaignStore.read_only(lab) as store:
        assert store.curve()[0].spectra == len(store.spectra(hold_out=False)[0]) > 0


def test_going_on_is_over_once_it_is_refused_or_something_is_tried_again(lab: Path):
    drop_table(lab, {"r001-01": drop_scan(lab, order(lab)[0])})
    run(lab)
    with CampaignStore.amend(lab, person="ada") as store:
        go_on(store, "")
    with pytest.raises(MeasurementError, match=r"1 of 8, .* Have some measured again with `glassmap retry`"):
        run(lab)
    drop_table(lab, {"r001-02": drop_scan(lab, order(lab)[1])}, "two.csv")
    assert run(lab).reason.startswith("Waiting for 6 of 8")
    with CampaignStore.amend(lab, person="ada") as store:
        abandon(store, ["r001-03"], "")
        go_on(store, "")
        retry(store, ["r001-03"], "")
    assert run(lab).reason.startswith("Waiting for 6 of 8")


def test_a_round_that_is_not_ordered_does_not_go_on(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab")
    edit(folder, 'approval = "auto"', 'approval = "required"')
    run(folder)
    with CampaignStore.amend(folder, person="ada") as store, pytest.raises(CampaignError, match="isn't ordered yet"):
        go_on(store, "")


def test_a_substrate_may_not_change_under_a_campaign(lab: Path, tmp_path: Path):
    (tmp_path / "bare.xy").write_text("".join(f"{x} 1\n" for x in np.linspace(1, 5, 200)))
    edit(lab, "low = 1.5", f'substrate = "{tmp_path / "bare.xy"}"\nlow = 1.5')
    with pytest.raises(CampaignError, match="substrate or potential changed"):
        run(lab)


def test_only_what_was_measured_counts_as_in(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab", minimum_share=0.75)
    run(folder)
    with CampaignStore.amend(folder, person="ada") as store:
        abandon(store, [f"r001-0{k}" for k in range(1, 8)], "the wafer broke")
    assert run(folder).reason.startswith("Waiting for 1 of 8 measurements of round 1")
