"""What people remark, as the store keeps it."""

from pathlib import Path

from glassmap.agent.store.campaign_store import CampaignStore


def test_a_note_says_who_made_it_when_and_on_what(store: CampaignStore, tmp_path: Path):
    with CampaignStore.amend(tmp_path, person="ada") as amended, amended.transaction(is_news=False):
        amended.record_note("the beam was off")
        amended.record_note("a new target", round_=1)
        amended.record_note("brittle", composition=(0.4, 0.32, 0.28))
        last = amended.record_note("cracked at the rim", measurement="r001-02")
    notes = store.notes()
    assert [note.about for note in notes] == ["the campaign", "round 1", "Co40V32Zr28", "r001-02"]
    assert notes[2].composition == (0.4, 0.32, 0.28) and notes[1].round == 1 and last == notes[3]
    assert str(last).endswith(", ada on r001-02: cracked at the rim")
    assert store.status().to_json()["notes"][0]["text"] == "the beam was off"
