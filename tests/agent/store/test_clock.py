"""Clocks that are set, run wrong, or begin at 1970."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassmap.agent.store import settings
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.clock import SET_SECONDS, ClockReading, seconds_between

NOW, DAY = 1.8e9, 86400.0
seconds = st.floats(0, 4e9)


class Clocks:
    """Those of a computer that is started now and then, and whose clock anybody may set."""

    def __init__(self) -> None:
        self.starts, self.steady, self.wall = 0, 100.0, NOW

    def read(self) -> ClockReading:
        return ClockReading(f"start {self.starts}", self.steady, self.wall)

    def pass_by(self, seconds: float) -> None:
        self.steady, self.wall = self.steady + seconds, self.wall + seconds

    def restart(self) -> None:
        self.starts, self.steady = self.starts + 1, 20.0


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(settings, "ClockReading", type("Read", (ClockReading,), {"now": clocks.read}))
    return clocks


@pytest.fixture
def begun(clocks: Clocks, tmp_path: Path) -> Path:
    with CampaignStore.open(tmp_path) as store, store.transaction():
        store.record_start(["Co", "V", "Zr"])
    return tmp_path


def count(folder: Path) -> tuple[float, list[str]]:
    """Count the time; returns the hours so far, and what the log says of the clock."""
    with CampaignStore.open(folder) as store, store.transaction():
        store.count_time()
        return store.hours(), [line.detail for line in store.log_lines() if line.event == "clock"]


def test_hours_are_those_that_passed_also_while_nobody_was_at_it(clocks: Clocks, begun: Path):
    clocks.pass_by(3600)
    with CampaignStore.read_only(begun) as store:
        assert store.hours() == pytest.approx(1.0), "looking counts without writing"
    clocks.pass_by(3600)
    assert count(begun) == (pytest.approx(2.0), [])
    clocks.restart()
    clocks.pass_by(10 * DAY)
    assert count(begun) == (pytest.approx(242.0), [])


@pytest.mark.parametrize("wrong", [0.0, 978307200.0, NOW - 2 * DAY, NOW + 2 * DAY, NOW + 1e9])
def test_a_clock_that_is_set_while_the_computer_runs_changes_no_hours_and_is_in_the_log(
    clocks: Clocks, begun: Path, wrong: float
):
    clocks.pass_by(1800)
    clocks.wall = wrong
    clocks.pass_by(1800)
    hours, said = count(begun)
    assert hours == pytest.approx(1.0) and len(said) == 1 and "the clock was set" in said[0]
    clocks.wall = NOW + 7200
    assert count(begun)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [0.0, 978307200.0, NOW - 2 * DAY, NOW + 1e9])
def test_a_computer_that_starts_with_a_wrong_clock_spends_no_budget(clocks: Clocks, begun: Path, wrong: float):
    clocks.pass_by(3600)
    assert count(begun)[0] == pytest.approx(1.0)
    clocks.restart()
    clocks.wall = wrong
    hours, said = count(begun)
    assert hours == pytest.approx(1.0) and "no time counts between" in said[-1]
    clocks.wall = NOW + DAY  # as a time server says
    clocks.pass_by(3600)
    assert count(begun)[0] == pytest.approx(2.0)


def test_the_wait_for_an_order_is_counted_by_the_campaign_and_not_by_the_clock(clocks: Clocks, begun: Path):
    with CampaignStore.open(begun) as store:
        with store.transaction():
            store._db.execute("INSERT INTO batches (round, separation, worst, mean) VALUES (1, 1, 1, 1)")
            assert store.hours_since_order(1) is None
            store.record_order(1)
        clocks.pass_by(7200)
        clocks.wall = 0.0
        assert store.hours_since_order(1) == pytest.approx(2.0)


@given(seconds, seconds, seconds, seconds, st.booleans())
def test_time_never_runs_backwards(steady: float, later: float, wall: float, other: float, restarted: bool):
    before = ClockReading("a", steady, wall)
    counted, wrong = seconds_between(before, ClockReading("b" if restarted else "a", later, other))
    assert counted >= 0 and (wrong or other >= wall - SET_SECONDS)
