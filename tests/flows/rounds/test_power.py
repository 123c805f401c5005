"""A power cut at any moment loses nothing that is recorded."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from glassmap.agent.content_hash import harm_of, parts_of
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import StoreConnection
from glassmap.flows.rounds.campaign import OpenCampaign, open_campaign
from glassmap.flows.rounds.loop import STAGES, Stage, advance, run_round
from glassmap.flows.rounds.measure import receive
from tests.support.campaigns import fingerprint, rows, run, write_campaign
from tests.support.lab_campaigns import measure_all
from tests.support.lab_campaigns import write_campaign as write_lab_campaign
from tests.support.power import Disk, btrfs, copy_as_it_is

TINY = {"members": 2, "steps": 2, "batch_size": 4}


def recorded(store: CampaignStore) -> list[Path]:
    """The files that a store's records refer to."""
    artefacts = [path for kind in ("checkpoint", "map", "archive") for path in store.artefacts(kind).values()]
    kept = [file.hash[:16] + Path(file.path).suffix for file in store.files() if file.state in ("used", "waiting")]
    ordered = [f"round-{round_:03d}.json" for (round_,) in rows(store.folder, "SELECT round FROM batches")]
    orders = [store.folder / "orders" / name for name in ordered] if not store.orders_to_write else []
    return [
        *(part for path in artefacts for part in parts_of(path)),
        *(store.folder / "scans" / name for name in kept),
        *(path for path in orders if path.exists()),
    ]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A disk that is looked at after every transaction: what is recorded must be there if the power is cut now."""
    root = tmp_path / "disk"
    root.mkdir()
    disk, transaction = Disk(root, monkeypatch), StoreConnection.transaction

    @contextmanager
    def looked_at(store: CampaignStore) -> Iterator[None]:
        with transaction(store):
            yield
        if disk.root in store.folder.parents and store.has_begun:
            lost = [path.name for path in recorded(store) if disk.content(path) != path.read_bytes()]
            assert not lost, f"recorded, and lost when the power is cut: {lost}"

    monkeypatch.setattr(StoreConnection, "transaction", looked_at)
    yield disk
    disk.end()


def test_a_power_cut_loses_no_checkpoint_map_or_archive_that_is_recorded(
    disk: Disk, tmp_path: Path, small_dataset: Path
):
    folder = disk.root / "campaigns" / "replay"
    write_campaign(folder, small_dataset, model=TINY, stop={"max_rounds": 1})
    with open_campaign(folder) as campaign:
        run_round(campaign, 1, stages={name: stage for name, stage in STAGES.items() if name != "decide"})
        after = disk.cut(tmp_path / "after") / "campaigns" / "replay"
        advance(campaign)
    assert len(rows(after, "SELECT path FROM artefacts")) == 3
    run(after)
    assert fingerprint(after) == fingerprint(folder)


def test_a_power_cut_loses_no_scan_and_no_order_of_a_laboratory(disk: Disk):
    folder = disk.root / "lab"
    write_lab_campaign(folder, minimum_share=1.0)
    run(folder)
    assert disk.content(folder / "orders" / "round-001.json")
    measure_all(folder, skip=1)
    (folder / "drop" / "broken.xy").write_text("rubbish")
    with open_campaign(folder) as campaign:
        receive(campaign)
        assert len(list((folder / "scans").iterdir())) == 8
    assert all(disk.content(path) == path.read_bytes() for path in (folder / "quarantine").iterdir())


def test_btrfs_keeps_what_is_recorded_when_the_power_is_cut(tmp_path: Path, small_dataset: Path):
    """The disk is copied as soon as a stage is recorded, while the file system still has much of it in memory."""
    image, copies = tmp_path / "disk", list[Path]()
    with btrfs(image) as mounted:
        folder = mounted / "campaign"
        folder.mkdir()
        write_campaign(folder, small_dataset, model=TINY)

        def then_cut(stage: Stage, campaign: OpenCampaign, round_: int) -> str:
            status = stage(campaign, round_)
            copies.append(copy_as_it_is(image, tmp_path / f"copy-{len(copies)}"))
            return status

        with open_campaign(folder) as campaign:
            run_round(campaign, 1, stages={name: partial(then_cut, stage) for name, stage in STAGES.items()})
    expected = {"train": 1, "map": 3, "decide": 3}
    for copy, stage in list(zip(copies, STAGES, strict=True))[2:]:
        with btrfs(copy) as mounted, CampaignStore.read_only(mounted / "campaign") as store:
            artefacts = [path for kind in ("checkpoint", "map", "archive") for path in store.artefacts(kind).values()]
            assert len(artefacts) == expected[stage]
            assert not {path.name: harm for path in artefacts if (harm := harm_of(path))}, f"cut after {stage}"
