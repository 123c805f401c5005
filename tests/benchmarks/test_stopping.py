"""What the study of stop rules computes, on a made-up replay and a short one."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.flows.compare import read_prepared
from tests.benchmarks import stopping
from tests.benchmarks.traces import SCENARIOS, Trace, replay


def made_up(levels: np.ndarray, *, batch: int = 20, tested: int = 200, held: int = 60) -> Trace:
    """A replay whose errors are known: heavy-tailed from spectrum to spectrum, and as told from round to round."""
    rng = np.random.default_rng(0)
    n = batch * np.arange(1, len(levels) + 1)

    def errors(spectra: int, noise: float) -> dict[str, np.ndarray]:
        sizes = rng.lognormal(0, 0.7, spectra)
        marked = levels[:, None] * sizes / sizes.mean() * rng.lognormal(0, noise, (len(levels), spectra))
        return {"mse": marked.astype(np.float32), "delta_q": (marked / 500).astype(np.float32)}

    left = errors(int(n[-1]), 0.05)
    for values in left.values():
        for round_, learned in enumerate(n):
            values[round_, learned:] = np.nan
    return Trace(
        "made up",
        SCENARIOS[1].name,
        batch,
        0,
        n,
        n,
        errors(held, 0.05),
        np.zeros(held, int),
        np.arange(held),
        left,
        np.arange(n[-1]),
        errors(tested, 0.0),
        np.full((len(levels), tested), 0.6, np.float32),
        np.zeros((len(levels), len(levels))),
        np.linspace(1, 0.1, len(levels)),
    )


def test_a_stop_is_judged_by_what_two_more_batches_would_have_brought():
    curve = 10 + 600 / (20 * np.arange(1, 19))
    trace = made_up(curve)
    gains = stopping.true_gains(trace, "mse")
    assert gains[3] == pytest.approx((curve[3] - curve[5]) / curve[3] / 0.05, rel=1e-3)
    early, late = (stopping.stop(trace, "mse", stopping.after(n)) for n in (60, 320))
    assert early.is_false and not late.is_false
    assert early.excess is not None and late.excess is not None and early.excess < 0 < late.excess
    never = stopping.stop(trace, "mse", stopping.below(0))
    assert never.round is None and not never.is_false
    ours = stopping.stop(trace, "mse", stopping.ours("mse", 1))
    assert ours.round is not None and not ours.is_false
    assert stopping.summary([early, late, never])["false"] == pytest.approx(1 / 3)


def test_a_short_replay_is_kept_and_read_again(small_dataset: Path, tmp_path: Path):
    spectra = read_prepared(small_dataset)
    for scenario in (SCENARIOS[1], SCENARIOS[-1]):
        trace = replay(spectra, scenario, name="small", batch=10, seed=0, rounds=3)
        trace.write(tmp_path / "trace.npz")
        again = Trace.read(tmp_path / "trace.npz")
        assert again.scenario == scenario.name and again.spectra.tolist() == [8, 16, 24]
        assert np.array_equal(again.hold_out["mse"], trace.hold_out["mse"])
        assert np.isnan(again.left_out["mse"][1, 16:]).all() and not np.isnan(again.left_out["mse"][1, :16]).any()
        assert again.hold_out_since.tolist() == [0, 0, 1, 1, 2, 2]


def test_rules_are_drawn(tmp_path: Path):
    trace = made_up(10 + 600 / (20 * np.arange(1, 12)))
    stops = [stopping.stop(trace, "delta_q", stopping.after(n)) for n in (60, 120)]
    cases = [("ours", stops[1:]), ("100 spectra", stops[:1])]
    records = [
        {"on": "delta_q", "rule": rule, "scenario": stopping.ALL, **stopping.summary(some)} for rule, some in cases
    ]
    stopping.draw(records, tmp_path / "rules.png")
    assert (tmp_path / "rules.png").stat().st_size > 10_000
