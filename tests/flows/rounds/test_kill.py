"""A campaign that is killed again and again ends as one that is left alone."""

import time
from datetime import datetime
from pathlib import Path

import numpy as np

from glassmap.flows.rounds.loop import STAGES
from tests.support.campaigns import fingerprint, processes, rows, run_and_tell, write_campaign

KILLS = 15
PLACES = (*STAGES, "anywhere")


def run_until_killed(folder: Path, place: str, delay: float) -> bool:
    """Advance a campaign in a process of its own and kill it `delay` s after it began a stage; False if it ended."""
    listening, told = processes().Pipe(duplex=False)
    child = processes().Process(target=run_and_tell, args=(folder, told))
    child.start()
    told.close()
    while (stage := "anywhere" if place == "anywhere" else listening.recv()) not in (place, "end"):
        pass
    if stage != "end":
        time.sleep(delay)
        child.kill()
    child.join()
    assert child.exitcode in (0, -9)
    return child.exitcode == -9


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def durations(folder: Path) -> dict[str, float]:
    """The longest time of each stage, s."""
    longest = {"anywhere": 0.3}
    for name, started, finished in rows(folder, "SELECT name, started, finished FROM stages"):
        took = datetime.fromisoformat(finished) - datetime.fromisoformat(started)
        longest[name] = max(longest.get(name, 0.001), took.total_seconds())
    return longest


def test_kills_change_nothing(tmp_path: Path, small_dataset: Path):
    untouched = tmp_path / "untouched"
    write_campaign(untouched, small_dataset)
    assert not run_until_killed(untouched, "end", 0)
    expected, longest = fingerprint(untouched), durations(untouched)
    rng = np.random.default_rng(0)
    kills, cut, campaigns = 0, set(), 0
    while kills < KILLS:
        campaigns += 1
        folder = tmp_path / f"killed-{campaigns}"
        write_campaign(folder, small_dataset)
        going = True
        while going:
            place = PLACES[kills % len(PLACES)] if kills < KILLS else "end"
            going = run_until_killed(folder, place, delay=rng.uniform(0, longest.get(place, 0)))
            if going:
                kills += 1
        cut |= set(rows(folder, "SELECT name FROM stages WHERE attempts > 1"))
        assert fingerprint(folder) == expected
        assert files(folder) == files(untouched), "nothing half written, nothing superfluous"
        assert rows(folder, "PRAGMA integrity_check") == [("ok",)]
    assert len(cut) >= 3, f"the kills struck {cut} only"
