"""Clocks: that of the computer is wrong, or is set, within a stage, between stages and while nobody is at a campaign.

`libfaketime` has a process see another time of day; what has passed since the computer started stays what it is. It is
loaded with the program, so the trials run in a program of their own, which tells them line by line.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import permutations
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np

from glassmap.agent.errors import CampaignError
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES, advance, advance_unattended
from tests.benchmarks.crash.prepared import ROUNDS, Prepared
from tests.benchmarks.crash.trials import Ending, Outcome, Trial, apart, each, end_of, go_on, judge, spread
from tests.support import lab_campaigns
from tests.support.campaigns import fingerprint, run, write_campaign
from tests.support.command_line import does

RIGHT = "+0"
CLOCKS = (RIGHT, "+2d", "+30d", "+10y", "-400d", "@1970-01-02 00:00:00", "@2001-01-01 00:00:00")
PATIENCE = 72.0  # h, and the hours of a budget; no trial takes one
SEEDS = 10  # of clocks that are set before each stage
NOT_FAKED = {"FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1", "OMP_NUM_THREADS": "1"}


def clocks(prepared: Prepared, *, most: int | None, workers: int) -> Iterator[Trial]:
    """Have campaigns run by wrong clocks, in a program that `faketime` starts.

    Raises:
        CampaignError: If `faketime` is missing.
    """
    if which("faketime") is None:
        raise CampaignError("Wrong clocks need faketime. Install it: `apt-get install faketime`.")
    words = [str(prepared.home / "clocks"), json.dumps(most), str(workers)]
    command = ["faketime", "-f", RIGHT, sys.executable, "-m", "tests.benchmarks.crash.clocks", *words]
    with subprocess.Popen(command, env=os.environ | NOT_FAKED, stdout=subprocess.PIPE, text=True) as told:
        assert told.stdout is not None
        for line in told.stdout:
            yield Trial(*json.loads(line))
    if told.returncode:
        raise CampaignError(f"The program of wrong clocks ended with {told.returncode}; see what it printed above.")


def tell(home: Path, *, most: int | None, workers: int) -> Iterator[Trial]:
    """Yield what became of each trial; for a program that `faketime` started."""
    home.mkdir()
    prepared = Prepared(home)
    base = home / "hours"
    write_campaign(base, home / "small.nc", stop={"max_rounds": ROUNDS, "max_hours": PATIENCE})
    expected = end_of(go_on(prepared.copy(base, "undisturbed")))
    changed = list(permutations(CLOCKS, 2))
    for what, trial, cases in (
        ("wrong all the time", _wrong, [(clock,) for clock in CLOCKS[1:]]),
        ("set before each stage", _set_again_and_again, [(seed,) for seed in range(SEEDS)]),
        ("set between two runs", _set_between, changed),
        ("set while a laboratory is waited for", _patient, changed),
        ("ahead when a stage failed, right at a retry", _retried, [(clock,) for clock in CLOCKS]),
    ):
        doing = partial(_try, trial, prepared, base, expected, what)
        yield from each(doing, spread(cases, most), workers=workers)


def _try(
    trial: Any, prepared: Prepared, base: Path, expected: dict[str, Any], what: str, case: tuple[Any, ...]
) -> Trial:
    name = f"{what} {'-'.join(map(str, case))}".replace(" ", "-")
    outcome, detail = trial(prepared, base, expected, name, *case)
    return Trial("clocks", what, " then ".join(map(str, case)), outcome, detail)


def _by(clock: str, folder: Path) -> Ending:
    """Advance a campaign in a process with its own time of day."""

    def work() -> dict[str, Any]:
        os.environ["FAKETIME"] = clock
        run(folder)
        return fingerprint(folder)

    return apart(work)


def _wrong(prepared: Prepared, base: Path, expected: dict[str, Any], name: str, clock: str) -> tuple[Outcome, str]:
    return judge(_by(clock, prepared.copy(base, name)), expected)


def _set_again_and_again(
    prepared: Prepared, base: Path, expected: dict[str, Any], name: str, seed: int
) -> tuple[Outcome, str]:
    folder, rng = prepared.copy(base, name), np.random.default_rng(seed)

    def report(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        if done == 0 and stage in STAGES:
            os.environ["FAKETIME"] = str(rng.choice(CLOCKS))

    def work() -> dict[str, Any]:
        with open_campaign(folder, report=report) as campaign:
            advance(campaign)
        return fingerprint(folder)

    return judge(apart(work), expected)


def _set_between(
    prepared: Prepared, base: Path, expected: dict[str, Any], name: str, first: str, then: str
) -> tuple[Outcome, str]:
    folder = prepared.copy(base, name)

    def begin() -> None:
        os.environ["FAKETIME"] = first
        stages = {stage: function for stage, function in STAGES.items() if stage in ("plan", "measure")}
        with open_campaign(folder) as campaign:
            for stage, function in stages.items():
                campaign.store.start_stage(1, stage)
                function(campaign, 1)

    end_of(apart(begin))
    return judge(_by(then, folder), expected)


def _patient(
    prepared: Prepared, base: Path, expected: dict[str, Any], name: str, first: str, then: str
) -> tuple[Outcome, str]:
    """A round of which half is in waits for the rest, however far the clock is from when it was ordered."""
    folder = prepared.home / "trials" / name / "lab"

    def ordered() -> None:
        os.environ["FAKETIME"] = first
        lab_campaigns.write_campaign(folder, patience_hours=PATIENCE)
        run(folder)
        lab_campaigns.measure_all(folder, skip=4)

    def looked_at() -> str:
        os.environ["FAKETIME"] = then
        state = run(folder).state
        return f"{state}, {len(list((folder / 'orders').glob('*.csv')))} ordered"

    end_of(apart(ordered))
    ending = apart(looked_at)
    if ending.how != "done":
        return judge(ending, {})
    return ("survived", "") if ending.value == "waiting, 1 ordered" else ("lost", f"patience: {ending.value}")


def _retried(prepared: Prepared, base: Path, expected: dict[str, Any], name: str, clock: str) -> tuple[Outcome, str]:
    """What was left alone after three failures goes on once a person acts."""
    folder = prepared.home / "trials" / name / "lab"

    def fail() -> None:
        os.environ["FAKETIME"] = clock
        lab_campaigns.write_campaign(folder)
        run(folder)
        samples = [row["sample"] for row in lab_campaigns.order(folder)]
        does("abandon", folder, *samples, "--reason", "all broke")
        for _ in range(4):
            try:
                with open_campaign(folder) as campaign:
                    advance_unattended(campaign)
            except Exception:  # too few to learn from
                continue

    def retry() -> str:
        os.environ["FAKETIME"] = RIGHT
        does("retry", folder, *[row["sample"] for row in lab_campaigns.order(folder)])
        with open_campaign(folder) as campaign:
            return advance_unattended(campaign).state

    end_of(apart(fail))
    ending = apart(retry)
    if ending.how != "done":
        return judge(ending, {})
    return ("survived", "") if ending.value == "waiting" else ("stuck", f"it is {ending.value} still")


if __name__ == "__main__":
    _home, _most, _workers = sys.argv[1:]
    for one in tell(Path(_home), most=json.loads(_most), workers=int(_workers)):
        print(json.dumps(one), flush=True)
