"""What training and maps ask of a GPU, held where no GPU is: launches, bytes, arithmetic, and nothing that waits."""

import pytest

from glassmap.agent.models.config import PRESETS
from tests.benchmarks import counted
from tests.benchmarks.work import H200, count


def test_a_step_of_the_compact_networks_is_a_hundred_and_some_launches_however_many_members_there_are():
    config = PRESETS["compact"]
    one, five = (counted.count_step(config, 800, members=members) for members in (1, 5))
    assert one.asked == five.asked <= 160
    assert not five.waits
    faster = 5 * one.seconds(replayed=True) / five.seconds(replayed=True)
    assert faster > 3, "members together against in turn"


def test_a_step_of_the_published_networks_is_bound_by_memory_and_products():
    step = counted.count_step(PRESETS["paper"], 3743, members=5)
    assert step.asked <= 1100 and not step.waits
    assert step.asked * H200.replayed < 0.1 * step.seconds(replayed=True)


@pytest.mark.parametrize(
    ("preset", "points", "gflop", "megabytes"), [("paper", 3743, 13.3, 105), ("compact", 800, 0.02, 9)]
)
def test_a_map_asks_for_no_more_than_it_must(preset: str, points: int, gflop: float, megabytes: float):
    alloys = 512
    work = counted.count_map(PRESETS[preset], points, alloys=alloys)
    assert work.flop / alloys / 1e9 <= gflop
    assert work.bytes / alloys / 1e6 <= megabytes
    assert work.asked <= 520 and work.waits == []


def test_what_is_counted_is_what_is_asked_for():
    import torch

    a, b = torch.rand(3, 4, device="meta"), torch.rand(4, 5, device="meta")
    work = count(lambda: (a @ b).relu().view(-1).sum().item())
    assert [launch.name for launch in work.launches] == ["mm", "relu", "sum"]
    assert (work.flop, work.bytes, work.waits) == (2 * 3 * 4 * 5, 4 * (12 + 20 + 15 + 15 + 15 + 15 + 1), ["item"])
