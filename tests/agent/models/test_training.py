"""How the networks learn."""

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.models import training
from glassmap.agent.models.config import PRESETS, TrainingConfig
from glassmap.agent.models.ensemble import Ensemble
from glassmap.agent.models.networks import COMPACT, PAPER, Architecture, ConvGenerator, ConvWidths, CriticWidths
from glassmap.agent.models.training import Trainer, Vicinity, join_members, train_networks, weights_of
from tests.benchmarks.work import count
from tests.support.models import CPU, NOISY, TINY, Told, generate, peaks, training_data


@pytest.mark.parametrize("energy", [0.0, 1.0])
@pytest.mark.parametrize("architecture", [COMPACT, NOISY])
def test_a_member_is_the_same_network_whatever_stands_beside_it(architecture: Architecture, energy: float):
    x, _, y = peaks(20)
    config = TINY.model_copy(update={"energy": energy})
    together, alone = (
        train_networks(training_data(x, y, seeds, config=config, architecture=architecture), device=CPU)
        for seeds in ([7, 8, 9], [9])
    )
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(together.state_dict()[name].chunk(3)[2], value, rtol=0, atol=0)
    asked = peaks(6, seed=1)[0]
    torch.testing.assert_close(generate(together, asked)[:, 2], generate(alone, asked)[:, 0], rtol=1e-3, atol=1e-2)


def test_members_trained_apart_are_joined_to_those_trained_together():
    x, _, y = peaks(20)
    data = training_data(x, y, [7, 8, 9])
    parts = [weights_of(train_networks(training_data(x, y, [seed]), device=CPU)) for seed in data.seeds]
    joined, together = join_members(parts, data), train_networks(data, device=CPU)
    torch.testing.assert_close(generate(joined, x), generate(together, x), rtol=0, atol=0)


SMALL = Architecture(
    ConvGenerator,
    ConvWidths(noise=4, channels=(24, 24, 16, 8), kernels=(5, 5, 7, 9), strides=(3, 3, 2, 1)),
    CriticWidths(channels=(8, 12, 16), kernels=(7, 5, 3), strides=(2, 2, 2), hidden=32),
)
"""The published topology, narrow."""


@pytest.fixture(scope="module")
def adversarial() -> Trainer:
    """Networks that have learned halos from their discriminator alone; narrow ones can learn in large steps."""
    x, _, y = peaks(30, points=72)
    config = PRESETS["paper"].model_copy(update={"steps": 300, "batch_size": 16})
    config = config.model_copy(update={"learning_rate": 8e-3, "critic_learning_rate": 8e-3, "fidelity": 0.0})
    assert config.energy == 0 and not config.stacked
    trainer = Trainer(training_data(x, y, [1], config=config, architecture=SMALL), device=CPU)
    trainer.run()
    return trainer


def test_the_papers_terms_learn_better_than_the_mean_and_the_nearest_spectrum(adversarial: Trainer):
    x, _, y = peaks(30, points=72)
    asked, _, truth = peaks(60, points=72, seed=1)
    with torch.inference_mode():
        drawn = np.stack([generate(adversarial.averaged, asked, seed=seed)[:, 0].numpy() for seed in range(5)])
    nearest = y[cdist(asked, x).argmin(1)]
    one = np.median([mean_squared_error(draw, truth) for draw in drawn])
    assert one < 0.1 * mean_squared_error(np.broadcast_to(y.mean(0), truth.shape), truth)
    assert one < mean_squared_error(nearest, truth)


def test_a_discriminator_tells_the_right_composition_from_a_wrong_one(adversarial: Trainer):
    asked, _, truth = peaks(60, points=72, seed=1)
    assert adversarial.critic is not None
    spectra, told = (torch.tensor(a, dtype=torch.float32)[:, None] for a in (truth, asked))
    with torch.inference_mode():
        right, wrong = (
            adversarial.critic(spectra, labels)[0] for labels in (told, told[cdist(asked, asked).argmax(1)])
        )
    assert (right - wrong).mean() > 1 and (right > wrong).float().mean() > 0.6


def test_a_discriminator_is_built_where_it_is_used():
    x, _, y = peaks(12)
    plain = Trainer(training_data(x, y, [1]), device=CPU)
    assert plain.critic is None and len(plain.optimisers) == 1
    for change in ({"adversarial": 1.0}, {"composition": 1.0}):
        trainer = Trainer(training_data(x, y, [1], config=TINY.model_copy(update=change)), device=CPU)
        assert trainer.critic is not None and len(trainer.optimisers) == 2
        for name, value in plain.generator.state_dict().items():
            torch.testing.assert_close(trainer.generator.state_dict()[name], value, rtol=0, atol=0)


def test_the_presets_and_a_discriminator_over_dense_networks_run():
    x, _, y = peaks(12, points=128)
    for config in (
        TINY.model_copy(update={"steps": 3, "adversarial": 1.0}),
        *(PRESETS[name].model_copy(update={"members": 2, "steps": 2, "batch_size": 4}) for name in ("paper", "large")),
    ):
        mean = Ensemble(config, device="cpu").fit(x, y).predict(x).mean
        assert np.isfinite(mean).all()
        assert ((mean >= 0) & (mean <= 100)).all()


def test_a_paper_generator_takes_a_step_of_all_its_terms():
    x, _, y = peaks(12)
    config = PRESETS["paper"].model_copy(update={"steps": 2, "batch_size": 4})
    trainer = Trainer(training_data(x, y, [1, 2], config=config, architecture=PAPER), device=CPU)
    before = {name: value.clone() for name, value in trainer.generator.named_parameters()}
    assert trainer.step().isfinite()
    assert all((value != before[name]).any() for name, value in trainer.generator.named_parameters())


def test_bandwidths_follow_the_distances_between_neighbours():
    line = torch.tensor([[0.0, 1.0], [0.1, 0.9], [0.2, 0.8], [0.5, 0.5], [0.5, 0.5]])
    vicinity = Vicinity.of(line, jitter=0.5)
    assert vicinity.sigma == pytest.approx(0.5 * 0.1 * 2**0.5, rel=1e-5)
    assert vicinity.kappa == pytest.approx(0.1 * 2**0.5, rel=1e-5)  # replicates are no neighbours
    assert Vicinity.of(line[:1], jitter=0.5)[:2] == (0.0, 0.0)


def test_a_soft_vicinity_falls_off_and_a_hard_one_ends():
    known = torch.tensor([[0.5, 0.5], [0.5, 0.4], [0.4, 0.4], [0.5, 0.2]])
    soft, hard = (Vicinity(0.0, 0.1, kind).weights(known[:1], known)[0].tolist() for kind in ("soft", "hard"))
    assert soft == pytest.approx([1, math.exp(-1), math.exp(-2), 0], rel=1e-4)  # exp(-9) is below a thousandth
    assert hard == [1, 1, 0, 0]


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_labels_lie_in_the_vicinity_and_stay_compositions(kind: Literal["soft", "hard"]):
    steps = Vicinity(0.0, 0.1, kind).shifts(5000, 3, torch.Generator().manual_seed(0))
    squared = steps.square().sum(1) / 0.1**2
    torch.testing.assert_close(steps.sum(1), torch.zeros(5000), rtol=0, atol=1e-6)
    if kind == "hard":
        assert squared.max() <= 1.0001 and squared.mean().item() == pytest.approx(0.5, abs=0.02)  # of a disc
    else:
        assert squared.mean().item() == pytest.approx(1, abs=0.05)  # of density exp(-distance²/κ²) in a plane


@pytest.mark.parametrize("n", [20, 40, 300])  # from 26 rows on torch has distances to 1e-8 alone
def test_no_alloy_is_its_own_neighbour_however_many_there_are(n: int):
    alloys = np.random.default_rng(0).dirichlet((1, 1, 1), n)
    nearest = np.sort(cdist(alloys, alloys), axis=1)[:, 1]
    vicinity = Vicinity.of(torch.from_numpy(alloys), jitter=0.5)
    assert vicinity.sigma == pytest.approx(0.5 * np.sort(nearest)[(n - 1) // 2])


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_what_the_discriminator_is_shown_is_of_the_targets_vicinity(kind: Literal["soft", "hard"]):
    x, _, y = peaks(20)
    config = TINY.model_copy(update={"jitter": 0.5, "adversarial": 0.1, "batch_size": 200, "vicinity": kind})
    trainer = Trainer(training_data(x, y, [1, 2], config=config), device=CPU)
    batch, alloys = trainer.draw(), trainer.compositions
    for compositions in (batch.targets, batch.labels):
        torch.testing.assert_close(compositions.sum(2), torch.ones(200, 2))
    assert (batch.targets - alloys[batch.rows]).abs().max() > 0
    reach = trainer.vicinity.kappa * (1 if kind == "hard" else math.log(1000) ** 0.5)
    distance = torch.linalg.vector_norm(batch.targets - alloys[batch.real], dim=2)
    assert ((distance <= reach * 1.001) | (batch.real == batch.rows)).all()
    assert (batch.real != batch.rows).any() and (batch.labels != batch.targets).any()


def test_what_stands_for_a_target_was_made_as_it_was():
    x, _, y = peaks(20)
    config = TINY.model_copy(update={"jitter": 0.5, "adversarial": 0.1, "batch_size": 200})
    alone = training_data(x, y, [1, 2], config=config)
    both, power = np.concatenate([alone.compositions] * 2), np.repeat([0.4, -0.6], 20).astype(np.float32)
    told = alone._replace(
        compositions=np.column_stack([both, power]),
        spectra=np.concatenate([alone.spectra] * 2),
        seen=np.ones((2, 40), dtype=bool),
        context=1,
    )
    trainer = Trainer(told, device=CPU)
    assert trainer.vicinity.kappa == pytest.approx(Trainer(alone, device=CPU).vicinity.kappa), "of compositions alone"
    batch, made = trainer.draw(), trainer.compositions[:, 3]
    assert (made[batch.real] == made[batch.rows]).all() and (batch.real != batch.rows).any()
    assert (batch.labels[:, :, 3] == made[batch.rows]).all()


def test_progress_is_reported_to_the_end():
    x, _, y = peaks(10)
    told = Told()
    Ensemble(TINY, device="cpu").fit(x, y, report=told)
    assert [(stage, done, total) for stage, done, total, _ in told] == [("train", step, 30) for step in (10, 20, 30)]
    assert all(text.startswith("MSE ") and float(text.removeprefix("MSE ")) > 0 for *_, text in told)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_learns_as_well_as_a_cpu():
    x, _, y = peaks(40)
    config = TrainingConfig(architecture="compact", members=2, steps=200)
    errors = [
        mean_squared_error(Ensemble(config, device=device).fit(x, y).predict(x).mean, y) for device in ("cpu", "cuda")
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.2)


@pytest.mark.parametrize("terms", [{}, {"energy": 1.0, "adversarial": 0.1, "gradient_penalty": 0.1, "jitter": 0.5}])
def test_batches_drawn_ahead_teach_what_they_teach_one_by_one(terms: dict[str, Any], monkeypatch):
    monkeypatch.setattr(training, "AHEAD", 5)
    x, _, y = peaks(20)
    config = TrainingConfig(architecture="compact", members=2, steps=12, batch_size=8, **terms)
    by_steps, ahead = (
        Trainer(training_data(x, y, [1, 2], config=config, architecture=NOISY), device=CPU) for _ in range(2)
    )
    told = Told()
    ahead.run_ahead(told)
    assert [done for _, done, *_ in told] == [5, 10, 12]
    for name, value in by_steps.run().state_dict().items():
        torch.testing.assert_close(ahead.averaged.state_dict()[name], value, rtol=1e-3, atol=1e-3)


def test_a_step_never_waits_for_the_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)  # on a GPU it counts its steps there
    x, _, y = peaks(20)
    terms: dict[str, Any] = {
        "energy": 1.0,
        "adversarial": 0.1,
        "composition": 1.0,
        "gradient_penalty": 0.1,
        "fidelity": 0.1,
    }
    config = TrainingConfig(architecture="compact", members=2, batch_size=8, **terms)
    trainer = Trainer(training_data(x, y, [1, 2], config=config, architecture=NOISY), device=CPU)
    batch = trainer.draw()
    for penalised in (False, True):
        assert count(lambda: trainer._learn(batch, penalised=penalised)).waits == []  # noqa: B023


def test_a_term_without_weight_is_not_computed_and_a_generators_step_leaves_the_discriminator_alone(monkeypatch):
    def fails(*_: torch.Tensor) -> torch.Tensor:
        raise AssertionError("nobody asked for it")

    monkeypatch.setattr(training, "energy_score", fails)
    monkeypatch.setattr(training, "composition_error", fails)
    x, _, y = peaks(20)
    terms: dict[str, Any] = {"energy": 0.0, "composition": 0.0, "adversarial": 1.0, "gradient_penalty": 0.0}
    config = TrainingConfig(architecture="compact", members=2, batch_size=8, steps=2, **terms)
    trainer = Trainer(training_data(x, y, [1, 2], config=config, architecture=NOISY), device=CPU)
    trainer.step()
    assert trainer.critic is not None
    kept = [parameter.grad.clone() for parameter in trainer.critic.parameters() if parameter.grad is not None]
    trainer._step_generator(trainer.draw())
    left = [parameter.grad for parameter in trainer.critic.parameters() if parameter.grad is not None]
    assert kept and all(torch.equal(one, other) for one, other in zip(kept, left, strict=True))
    assert all(parameter.requires_grad for parameter in trainer.critic.parameters())
