"""The campaigns that something is done to, made once, and copies of them."""

import shutil
from pathlib import Path

from tests.benchmarks.crash.trials import draw_nothing, load_what
from tests.support import lab_campaigns, three_wafers
from tests.support.campaigns import run, write_campaign
from tests.support.command_line import does
from tests.support.small_dataset import write_small_dataset

ROUNDS = 2


class Prepared:
    """Campaigns in a folder of their own; making them loads all that trials will need."""

    def __init__(self, home: Path) -> None:
        self.home = home
        dataset = write_small_dataset(home / "small.nc")
        self.begun = home / "replay"  # a campaign file, and nothing else
        write_campaign(self.begun, dataset, stop={"max_rounds": ROUNDS})
        self.halfway = home / "halfway"  # all rounds but the last
        write_campaign(self.halfway, dataset, stop={"max_rounds": ROUNDS - 1})
        self.finished = home / "finished"
        self.lab = home / "lab"  # its first batch is measured, its second ordered
        self.by_hand = home / "by-hand"  # files for the second
        self.wafers = home / "wafers"  # of the points of three wafers some are ordered; their scans lie there
        load_what(self._run_all)

    def _run_all(self) -> None:
        run(self.halfway)
        shutil.copytree(self.halfway, self.finished)
        for folder in (self.halfway, self.finished):
            lab_campaigns.edit(folder, f"max_rounds = {ROUNDS - 1}", f"max_rounds = {ROUNDS}")
        run(self.finished)
        lab_campaigns.write_campaign(self.lab, minimum_share=1.0)
        run(self.lab)
        lab_campaigns.measure_all(self.lab)
        run(self.lab)
        drop = self.lab / "drop"
        before = set(drop.iterdir())
        lab_campaigns.measure_all(self.lab, 2)
        self.by_hand.mkdir()
        for path in set(drop.iterdir()) - before:
            path.rename(self.by_hand / path.name)
        three_wafers.write_lab(self.wafers, rounds=ROUNDS)
        run(self.wafers)
        three_wafers.deliver(self.wafers, {}, spared=1)
        (self.by_hand / "notes.pdf").write_bytes(b"%PDF-1.4 rubbish")
        draw_nothing()
        for words in (["map"], ["report", "-o", self.home / "report.html"], ["generate", "Co30V40Zr30"]):
            does(words[0], self.finished, *words[1:])

    def copy(self, base: Path, name: str) -> Path:
        """Copy a campaign for a trial of this name."""
        folder = self.home / "trials" / name / base.name
        shutil.rmtree(folder.parent, ignore_errors=True)
        shutil.copytree(base, folder)
        for dataset in base.parent.glob("*.nc"):
            shutil.copy(dataset, folder.parent)
        return folder

    def forget(self, folder: Path) -> None:
        """Remove a copy."""
        shutil.rmtree(folder.parent)
