"""How the networks learn."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.models import training
from glassmap.agent.models.config import PRESETS, TrainingConfig
from glassmap.agent.models.ensemble import Ensemble
from glassmap.agent.models.networks import COMPACT, PAPER, Architecture
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


def test_a_generator_learns_from_its_discriminator_alone():
    x, _, y = peaks(30)
    config = TrainingConfig(members=1, stacked=False, steps=600, fidelity=0, adversarial=1, composition=1, momentum=0.5)
    config = config.model_copy(update={"learning_rate": 1e-3, "critic_learning_rate": 2e-3})
    configs = [config.model_copy(update={"steps": steps}) for steps in (1, 600)]
    before, after = (mean_squared_error(Ensemble(c, device="cpu").fit(x, y).predict(x).mean, y) for c in configs)
    assert after < 0.5 * before


def test_a_discriminator_is_built_where_it_is_used():
    x, _, y = peaks(12)
    plain = Trainer(training_data(x, y, [1]), device=CPU)
    assert plain.critic is None and len(plain.optimisers) == 1
    for change in ({"adversarial": 1.0}, {"composition": 1.0}):
        trainer = Trainer(training_data(x, y, [1], config=TINY.model_copy(update=change)), device=CPU)
        assert trainer.critic is not None and len(trainer.optimisers) == 2
        for name, value in plain.generator.state_dict().items():
            torch.testing.assert_close(trainer.generator.state_dict()[name], value, rtol=0, atol=0)


def test_both_presets_and_a_discriminator_over_dense_networks_run():
    x, _, y = peaks(12, points=128)
    for config in (
        TINY.model_copy(update={"steps": 3, "adversarial": 1.0}),
        PRESETS["paper"].model_copy(update={"members": 2, "steps": 2, "batch_size": 4}),
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


@pytest.mark.parametrize("n", [20, 40, 300])  # from 26 rows on torch has distances to 1e-8 alone
def test_no_alloy_is_its_own_neighbour_however_many_there_are(n: int):
    alloys = np.random.default_rng(0).dirichlet((1, 1, 1), n)
    nearest = np.sort(cdist(alloys, alloys), axis=1)[:, 1]
    vicinity = Vicinity.of(torch.from_numpy(alloys), jitter=0.5)
    assert vicinity.sigma == pytest.approx(0.5 * np.sort(nearest)[(n - 1) // 2])


def test_jittered_targets_stay_compositions():
    x, _, y = peaks(20)
    config = TINY.model_copy(update={"jitter": 0.5, "adversarial": 0.1})
    trainer = Trainer(training_data(x, y, [1, 2], config=config), device=CPU)
    batch, alloys = trainer.draw(), trainer.compositions
    torch.testing.assert_close(batch.targets.sum(2), torch.ones(8, 2))
    assert (batch.targets - alloys[batch.rows]).abs().max() > 0


def test_progress_is_reported_to_the_end():
    x, _, y = peaks(10)
    told = Told()
    Ensemble(TINY, device="cpu").fit(x, y, report=told)
    assert [(stage, done, total) for stage, done, total, _ in told] == [("train", step, 30) for step in (10, 20, 30)]
    assert all(text.startswith("MSE ") and float(text.removeprefix("MSE ")) > 0 for *_, text in told)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_learns_as_well_as_a_cpu():
    x, _, y = peaks(40)
    config = TrainingConfig(members=2, steps=200)
    errors = [
        mean_squared_error(Ensemble(config, device=device).fit(x, y).predict(x).mean, y) for device in ("cpu", "cuda")
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.2)


@pytest.mark.parametrize("terms", [{}, {"energy": 1.0, "adversarial": 0.1, "gradient_penalty": 0.1, "jitter": 0.5}])
def test_batches_drawn_ahead_teach_what_they_teach_one_by_one(terms: dict[str, float], monkeypatch):
    monkeypatch.setattr(training, "AHEAD", 5)
    x, _, y = peaks(20)
    config = TrainingConfig(architecture="compact", members=2, steps=12, batch_size=8, **terms)
    by_steps, ahead = (
        Trainer(training_data(x, y, [1, 2], config=config, architecture=NOISY), device=CPU) for _ in range(2)
    )
    told = Told()
    ahead.run_ahead(told, on_gpu=False)
    assert [done for _, done, *_ in told] == [5, 10, 12]
    for name, value in by_steps.run().state_dict().items():
        torch.testing.assert_close(ahead.averaged.state_dict()[name], value, rtol=1e-3, atol=1e-3)


def test_a_step_never_waits_for_the_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)  # on a GPU it counts its steps there
    x, _, y = peaks(20)
    terms = {"energy": 1.0, "adversarial": 0.1, "composition": 1.0, "gradient_penalty": 0.1, "fidelity": 0.1}
    config = TrainingConfig(architecture="compact", members=2, batch_size=8, **terms)
    trainer = Trainer(training_data(x, y, [1, 2], config=config, architecture=NOISY), device=CPU)
    batch = trainer.draw()
    for penalised in (False, True):
        assert count(lambda: trainer._learn(batch, penalised=penalised)).waits == []  # noqa: B023
