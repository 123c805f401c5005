"""The networks, how they learn, what an ensemble says, and its checkpoints."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.errors import ModelError
from glassmap.agent.models.config import PRESETS, TrainingConfig
from glassmap.agent.models.ensemble import Ensemble, Votes, _Blends, _Voices, resolve_device, weigh
from glassmap.agent.models.networks import ARCHITECTURES, Discriminator, Generator
from glassmap.agent.models.training import Trainer, Vicinity, initialise

TINY = TrainingConfig(members=2, steps=30, batch_size=8)


def peaks(n: int, *, points: int = 96, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ternary compositions, an axis in 1/Å and spectra of one peak that moves and widens with composition."""
    compositions = np.random.default_rng(seed).dirichlet(np.ones(3), n)
    q = np.linspace(1.0, 5.0, points)
    q1 = 2.0 + compositions @ [0.0, 0.5, 1.0]
    width = 0.2 + 0.3 * compositions[:, :1]
    return compositions, q, 100 * np.exp(-(((q - q1[:, None]) / width) ** 2)) * 0.9 + 5


def draw(generator: Generator, compositions: np.ndarray) -> torch.Tensor:
    x = torch.tensor(compositions, dtype=torch.float32)[:, None].expand(-1, generator.members, -1)
    noise = torch.randn(len(x), generator.members, generator.noise, generator=torch.Generator().manual_seed(0))
    return generator.eval()(noise, x)


@pytest.mark.parametrize("name", ARCHITECTURES)
@given(points=st.integers(64, 1200), elements=st.integers(2, 5))
def test_any_length_is_generated_and_judged(name, points, elements):
    sizes = {"members": 1, "elements": elements, "points": points}
    with torch.device("meta"):  # shapes alone
        generator = Generator(ARCHITECTURES[name], **sizes)
        spectra = generator(torch.empty(3, 1, generator.noise), torch.empty(3, 1, elements))
        score, composition = Discriminator(ARCHITECTURES[name], **sizes)(spectra)
    assert (spectra.shape, score.shape, composition.shape) == ((3, 1, points), (3, 1), (3, 1, elements))


def test_the_published_network_is_the_papers_layer_for_layer():
    sizes = {"members": 1, "elements": 3, "points": 3743}
    with torch.device("meta"):
        generator = Generator(ARCHITECTURES["paper"], **sizes)
        critic = Discriminator(ARCHITECTURES["paper"], **sizes)
    layers, convolutions = list(generator.layers), list(critic.convolutions)
    assert [layer.out_channels for layer in layers] == [384, 384, 256, 96, 1]
    assert [layer.kernel_size for layer in layers] == [(5,), (5,), (5,), (7,), (15,)]
    assert [layer.stride for layer in layers] == [(3,), (3,), (3,), (5,), (1,)]
    assert [type(layer) for layer in layers] == [torch.nn.ConvTranspose1d] * 5
    assert [type(norm) for norm in generator.norms] == [torch.nn.BatchNorm1d] * 4
    assert len(generator.stem) == 1
    assert [layer.out_channels for layer in convolutions] == [96, 256, 384, 384, 256]
    assert [layer.kernel_size for layer in convolutions] == [(11,), (5,), (3,), (3,), (3,)]
    assert [layer.stride for layer in convolutions] == [(4,), (2,), (1,), (1,), (1,)]
    assert (critic.score.weight.shape[2], critic.composition.weight.shape[2]) == (1, 3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_member_touches_another(name):
    streams = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    generator = initialise(Generator, ARCHITECTURES[name], {"members": 2, "elements": 3, "points": 70}, streams)
    generator.start_from(torch.full((generator.members, 70), 40.0))
    noise, x = torch.randn(5, 2, generator.noise), torch.rand(5, 2, 3)
    generator(noise, x)[:, 0].sum().backward()
    for parameter in generator.parameters():
        assert parameter.grad is not None
        mine, other = parameter.grad.chunk(2)
        assert not other.any()
        assert mine.shape == other.shape


def test_a_member_is_the_same_network_whatever_stands_beside_it():
    x, _, y = (torch.tensor(part, dtype=torch.float32) for part in peaks(20))
    trained = [Trainer(x, y, config=TINY, seeds=seeds, device=torch.device("cpu")).run() for seeds in ([7, 8, 9], [9])]
    compositions = peaks(6, seed=1)[0]
    noise = torch.randn(6, 1, trained[0].noise)
    together = trained[0](
        noise.expand(-1, 3, -1), torch.tensor(compositions, dtype=torch.float32)[:, None].expand(-1, 3, -1)
    )
    alone = trained[1](noise, torch.tensor(compositions, dtype=torch.float32)[:, None])
    torch.testing.assert_close(together[:, 2], alone[:, 0], rtol=1e-3, atol=1e-2)


def test_training_is_repeatable_and_leaves_the_global_random_state_alone():
    x, _, y = peaks(20)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = Ensemble(TINY, seed=3, device="cpu").fit(x, y).generate(x)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    np.testing.assert_array_equal(Ensemble(TINY, seed=3, device="cpu").fit(x, y).generate(x), first)
    others = [next(Ensemble(TINY, seed=seed, device="cpu").fit(x, y).hear_blocks(x))[1] for seed in (3, 4)]
    assert (others[0] - others[1]).abs().mean((0, 2))[:2].min() > 0.1, "networks are those of the seed"


def test_unseen_spectra_are_generated_far_better_than_by_their_mean():
    x, _, y = peaks(40)
    unseen, _, truth = peaks(60, seed=1)
    config = TrainingConfig(members=2, steps=400)
    ensemble = Ensemble(config, device="cpu").fit(x, y)
    assert mean_squared_error(ensemble.generate(unseen), truth) < 0.1 * mean_squared_error(0 * truth + y.mean(0), truth)


def test_a_generator_learns_from_its_discriminator_alone():
    x, _, y = peaks(30)
    config = TrainingConfig(members=1, stacked=False, steps=600, fidelity=0, adversarial=1, composition=1, momentum=0.5)
    config = config.model_copy(update={"learning_rate": 1e-3, "critic_learning_rate": 2e-3})
    configs = [config.model_copy(update={"steps": steps}) for steps in (1, 600)]
    before, after = (mean_squared_error(Ensemble(c, device="cpu").fit(x, y).generate(x), y) for c in configs)
    assert after < 0.5 * before


def test_both_vicinities_and_both_presets_run():
    x, _, y = peaks(12, points=128)
    for config in (
        TINY.model_copy(update={"vicinity": "hard", "steps": 3, "adversarial": 1.0}),
        PRESETS["paper"].model_copy(update={"members": 2, "steps": 2, "batch_size": 4}),
    ):
        generated = Ensemble(config, device="cpu").fit(x, y).describe(x)
        assert np.isfinite(generated.mean).all()
        assert ((generated.mean >= 0) & (generated.mean <= 100)).all()


def test_bandwidths_follow_the_distances_between_neighbours():
    line = torch.tensor([[0.0, 1.0], [0.1, 0.9], [0.2, 0.8], [0.5, 0.5], [0.5, 0.5]])
    vicinity = Vicinity.of(line, jitter=0.5)
    assert vicinity.sigma == pytest.approx(0.5 * 0.1 * 2**0.5, rel=1e-5)
    assert vicinity.kappa == pytest.approx(0.3 * 2**0.5, rel=1e-5)  # replicates are no neighbours
    assert Vicinity.of(line[:1], jitter=0.5) == (0.0, 0.0)


def test_one_spectrum_is_enough_to_train_on():
    x, _, y = peaks(1)
    assert np.isfinite(Ensemble(TINY, device="cpu").fit(x, y).generate(x)).all()


def test_jittered_targets_stay_compositions():
    x, _, y = (torch.tensor(part, dtype=torch.float32) for part in peaks(20))
    config = TINY.model_copy(update={"jitter": 0.5, "adversarial": 0.1})
    batch = Trainer(x, y, config=config, seeds=[1, 2], device=torch.device("cpu"))._draw()
    torch.testing.assert_close(batch.targets.sum(2), torch.ones(8, 2))
    assert (batch.targets - x[batch.rows]).abs().max() > 0
    distance = torch.linalg.vector_norm(batch.targets - x[batch.real], dim=2)
    kappa = Vicinity.of(x, jitter=0.5).kappa
    assert ((distance <= kappa * 1.001) | (batch.real == batch.rows)).all(), "real spectra come from the vicinity"
    near, far = batch.weights[distance < distance.median()], batch.weights[distance > distance.median()]
    assert near.mean() > far.mean(), "the nearer a spectrum, the more it counts"


def test_spread_is_told_apart():
    x, _, y = peaks(30)
    networks = TINY.model_copy(update={"stacked": False, "noise": 2})
    generated = Ensemble(networks, device="cpu").fit(x, y).describe(x)
    assert generated.between.mean() > 0
    assert generated.within.mean() > 0
    alone = Ensemble(networks.model_copy(update={"members": 1}), device="cpu").fit(x, y).describe(x)
    assert not alone.between.any()


def test_a_member_never_sees_the_spectra_that_it_leaves_out():
    x, _, y = peaks(40)
    config = TrainingConfig(members=6, steps=20)
    ensemble, unseen = Ensemble(config, device="cpu"), peaks(9, seed=1)[0]
    folds = ensemble._folds(x)
    changed = y.copy()
    mine = np.flatnonzero(folds == 1)
    changed[mine] = y[np.roll(mine, 1)]  # of the same mean and range
    for z in (y, changed):
        z[0, :2] = 0, 100
    before, after = (Ensemble(config, device="cpu").fit(x, z) for z in (y, changed))
    first, second = (next(e.hear_blocks(unseen))[1][:, :6].numpy() for e in (before, after))
    np.testing.assert_allclose(first[:, 1], second[:, 1], atol=0.05)
    assert np.abs(first - second).max(axis=(0, 2))[[0, 2, 3, 4, 5]].min() > 0.5
    assert np.bincount(folds).tolist() == [8] * 5, "members 0 and 5 share a fold"
    more = np.concatenate([x, peaks(7, seed=2)[0], x[:3]])
    assert np.array_equal(ensemble._folds(more)[:40], folds), "a spectrum keeps its fold when others are added"
    assert np.array_equal(ensemble._folds(more)[47:], folds[:3]), "spectra of one alloy share a fold"
    assert (ensemble._folds(np.tile(x[:9], (5, 1))) == -1).all(), "with so few alloys, every member sees all"


def test_networks_are_trusted_where_spectra_jump_and_the_smoother_where_they_are_noisy():
    x, _, smooth = peaks(60)
    rng = np.random.default_rng(0)
    jump = np.where(x[:, :1] > 0.4, smooth, smooth[:, ::-1])
    noisy = (50 + 20 * rng.normal(size=(60, 1)) + 0 * smooth).clip(0, 100)
    config = TrainingConfig(members=5, steps=400)
    jumping, shaking = (Ensemble(config, device="cpu").fit(x, y).votes for y in (jump, noisy))
    assert jumping.networks > 2 * jumping.smoother
    assert shaking.smoother > 2 * shaking.networks


@given(st.integers(0, 10**6))
def test_weights_are_those_with_which_voices_together_come_nearest(seed: int):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(12, 7))
    said = [truth + rng.normal(0.3, size, truth.shape) for size in (0.5, 1.0, 2.0)]
    weights = np.array(weigh(said, truth))
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
    size = np.sqrt(np.square(np.stack(said) - truth).mean((0, 2)))

    def error(weights: np.ndarray) -> float:
        return float((np.square(np.tensordot(weights, np.stack(said), 1) - truth).sum(1) / size).sum())

    for other in rng.dirichlet(np.ones(3), 50):
        assert error(weights) <= error(other) + 1e-6


def test_a_voice_that_is_right_is_the_only_one_heard_and_all_may_be_right():
    truth = np.random.default_rng(0).normal(size=(9, 5))
    assert weigh([truth + 1, truth, truth + 2], truth) == pytest.approx([0, 1, 0], abs=1e-3)
    assert sum(weigh([truth, truth, truth], truth)) == pytest.approx(1)


def test_one_alloy_that_nobody_foresees_does_not_decide_for_all():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40, 30))
    good, bad = truth + 0.5 * rng.normal(size=truth.shape), truth + rng.normal(size=truth.shape)
    good[7] += 30
    bad[7] += 20
    assert weigh([good, bad], truth)[0] > 0.4
    assert weigh([good[7:8], bad[7:8]], truth[7:8])[0] < 0.1


def test_the_band_holds_nine_of_ten_points_of_unseen_spectra():
    x, _, y = peaks(60)
    unseen, _, truth = peaks(100, seed=1)
    rng = np.random.default_rng(0)
    noisy, measured = (z + 3 * rng.normal(size=z.shape) for z in (y, truth))
    ensemble = Ensemble(TrainingConfig(members=5, steps=300), device="cpu").fit(x, noisy)
    generated = ensemble.describe(unseen)
    assert 0.85 < (np.abs(measured - generated.mean) <= generated.band).mean() < 0.97
    error = mean_squared_error(generated.mean, measured)
    assert ensemble.unseen_mse == pytest.approx(error, rel=0.3)


def test_trees_take_over_from_a_smoother_that_knows_nothing():
    networks, smoother, trees = torch.full((1, 3, 5, 4), 80.0), torch.full((3, 4), 20.0), torch.full((3, 4), 60.0)
    voices = _Voices(networks, _Blends(smoother, trees, torch.tensor([0.0, 0.5, 1.0]), torch.zeros(3, 4)))
    said = voices.together(Votes(0.5, 0.3, 0.2))[0, :, 0, 0]
    torch.testing.assert_close(said, torch.tensor([58.0, 64.0, 70.0]))
    torch.testing.assert_close(voices.together(Votes(1.0, 0.0, 0.0)), networks)


def test_what_all_agree_on_is_doubted_where_nothing_like_it_was_measured_nearby():
    networks, alike = torch.full((1, 2, 5, 4), 80.0), torch.full((2, 4), 80.0)
    nearest = torch.tensor([[80.0] * 4, [20.0] * 4])
    votes = Votes(0.5, 0.3, 0.2)
    sure = _Voices(networks, _Blends(alike, alike, torch.zeros(2), nearest)).between(votes)
    torch.testing.assert_close(sure, torch.zeros(2, 4))
    doubtful = _Voices(networks, _Blends(alike, alike, torch.full((2,), 0.25), nearest)).between(votes)
    torch.testing.assert_close(doubtful, torch.tensor([[0.0] * 4, [30.0] * 4]))


def test_spectra_that_are_all_zero_are_learned_too():
    x, _, y = peaks(20)
    assert np.abs(Ensemble(TINY, device="cpu").fit(x, 0 * y).generate(x)).max() < 5


def test_nothing_left_out_gives_no_band():
    x, _, y = peaks(30)
    for config, n in ((TINY.model_copy(update={"stacked": False}), 30), (TINY, 9)):
        ensemble = Ensemble(config, device="cpu").fit(x[:n], y[:n])
        generated = ensemble.describe(x)
        assert np.isnan(generated.band).all() and np.isnan(ensemble.unseen_mse)
        assert np.isfinite(generated.mean).all()


def test_disagreement_is_small_where_it_was_measured():
    x, _, y = peaks(40)
    near_titanium = x[:, 1] > x[:, 0]
    ensemble = Ensemble(TrainingConfig(members=4, steps=300), device="cpu").fit(x[near_titanium], y[near_titanium])
    unseen = peaks(200, seed=1)[0]
    doubt = ensemble.disagreement(unseen)
    assert doubt[unseen[:, 0] > 0.7].mean() > 2 * doubt[unseen[:, 1] > 0.6].mean()


def test_an_alloys_spectrum_does_not_depend_on_what_is_asked_for_with_it():
    x, _, y = peaks(30)
    ensemble = Ensemble(TINY, device="cpu").fit(x, y)
    many = peaks(300, seed=5)[0]
    np.testing.assert_allclose(ensemble.generate(many)[[290]], ensemble.generate(many[[290]]), atol=1e-4)


def test_unnormalised_spectra_keep_their_scale():
    x, _, y = peaks(30)
    generated = Ensemble(TrainingConfig(members=1, steps=200), device="cpu").fit(x, y / 30).generate(x)
    assert mean_squared_error(generated, y / 30) < 0.1 * np.var(y / 30)


def test_negative_spectra_are_learned_as_well():
    """A reduced pair distribution swings around zero."""
    x, q, y = peaks(40)
    wave = (y - 50) / 25 * np.cos(4 * q)
    generated = Ensemble(TrainingConfig(members=1, steps=600), device="cpu").fit(x, wave).generate(x)
    assert mean_squared_error(generated, wave) < 0.2 * np.var(wave)
    assert generated.min() < 0.5 * wave.min()


def test_a_checkpoint_generates_the_same_spectra_bit_for_bit(tmp_path: Path):
    x, q, y = peaks(20)
    ensemble = Ensemble(TINY, seed=5, device="cpu").fit(x, y)
    path = ensemble.save(tmp_path, axis=q, record={"round": 3})
    loaded = Ensemble.load(path, device="cpu")
    for saved, again in zip(ensemble.describe(x), loaded.describe(x), strict=True):
        np.testing.assert_array_equal(saved, again)
    assert (loaded.record, loaded.seed, loaded.config) == ({"round": 3}, 5, TINY)
    np.testing.assert_array_equal(loaded.axis, q)
    assert ensemble.save(tmp_path, axis=q, record={"round": 3}) == path
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("harm", ["cut", "changed", "weights gone", "format", "no json"])
def test_a_harmed_checkpoint_is_refused_in_words(tmp_path: Path, harm):
    x, q, y = peaks(10)
    path = Ensemble(TINY, device="cpu").fit(x, y).save(tmp_path, axis=q, record={})
    weights = path.with_suffix(".safetensors")
    if harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif harm == "changed":
        path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    elif harm == "weights gone":
        weights.unlink()
    elif harm == "format":
        text = json.dumps(json.loads(path.read_text()) | {"format": 4})
        path = path.with_stem(hashlib.sha256(weights.read_bytes() + text.encode()).hexdigest()[:16])
        path.write_text(text)
        weights.rename(path.with_suffix(".safetensors"))
    else:
        path.write_text("{")
    with pytest.raises(ModelError, match="format 4" if harm == "format" else "no whole checkpoint"):
        Ensemble.load(path)


def test_wrong_use_is_refused_in_words():
    x, _, y = peaks(5)
    with pytest.raises(ModelError, match="isn't trained"):
        Ensemble(TINY).generate(x)
    with pytest.raises(ModelError, match="at least one spectrum"):
        Ensemble(TINY).fit(x[:0], y[:0])
    with pytest.raises(ModelError, match="trained on 3 elements, got compositions of 2"):
        Ensemble(TINY, device="cpu").fit(x, y).generate(x[:, :2])
    with pytest.raises(ModelError, match="device must be"):
        resolve_device("abacus")


def test_progress_is_told_to_the_end():
    x, _, y = peaks(10)
    told = []
    Ensemble(TINY, device="cpu").fit(x, y, report=lambda step, steps, losses: told.append((step, steps, losses.mse)))
    assert [step for step, _, _ in told] == [10, 20, 30]
    assert all(steps == 30 and mse > 0 for _, steps, mse in told)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_learns_as_well_as_a_cpu():
    x, _, y = peaks(40)
    errors = [
        mean_squared_error(Ensemble(TrainingConfig(members=2, steps=200), device=device).fit(x, y).generate(x), y)
        for device in ("cpu", "cuda")
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.2)
