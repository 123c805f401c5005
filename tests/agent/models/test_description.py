"""An ensemble is called what its checkpoint says it is."""

import json
from pathlib import Path

import pytest

from glassmap.agent.models.description import AS_PUBLISHED, Described, read_description
from glassmap.agent.models.ensemble import Ensemble
from tests.support.models import TINY, peaks

DEFAULT = Described(
    "compact", "cpu", 10, 0, {"fidelity": 1.0}, {"networks": 0.2, "gaussian_process": 0.7, "trees": 0.1}
)


def test_networks_without_noise_are_no_gan_and_no_source_of_draws():
    assert DEFAULT.sentence == (
        "10 deterministic conditional generators (compact, trained on a CPU by fidelity 1), stacked by weight: "
        "Gaussian process 0.70, networks 0.20, trees 0.10. A sample is the mean and as far off as a spectrum nearby "
        "that was left out."
    )
    assert not DEFAULT.to_json()["is_generative"] and "GAN" not in DEFAULT.to_json()["sentence"]


@pytest.mark.parametrize(
    ("terms", "kind"),
    [
        ({"energy": 1.0}, "conditional generators with 8 noise numbers"),
        ({"energy": 1.0, "adversarial": 0.1}, "conditional GANs with 8 noise numbers"),
    ],
)
def test_only_networks_with_a_discriminator_are_called_gans(terms: dict[str, float], kind: str):
    said = DEFAULT._replace(noise=8, terms=terms, device="cuda").sentence
    assert said.startswith(f"10 {kind} (compact, trained on a GPU by energy score 1")
    assert said.endswith("as far off as a draw of a network is, or a spectrum nearby that was left out.")


def test_networks_that_the_stack_leaves_aside_are_said_to_hardly_count():
    said = DEFAULT._replace(weights={"networks": 0.0, "gaussian_process": 1.0}).sentence
    assert "Gaussian process 1.00, networks 0.00; the networks hardly count here" in said
    assert "hardly" not in DEFAULT.sentence
    alone = DEFAULT._replace(weights={"networks": 1.0}).sentence
    assert alone.endswith(", alone. Nothing is drawn at random: samples are its members.")


def test_what_a_checkpoint_became_is_read_without_its_weights(tmp_path: Path):
    x, q, y = peaks(20)
    ensemble = Ensemble(TINY, seed=0, device="cpu").fit(x, y)
    path = ensemble.save(tmp_path, axis=q, record={})
    path.with_suffix(".safetensors").unlink()
    described = read_description(path)
    assert described is not None and described.weights == dict(ensemble.weights)
    assert (described.architecture, described.device, described.members) == ("compact", "cpu", TINY.members)
    said = described.to_json()
    assert said == json.loads(json.dumps(said)) and said["paper"] == AS_PUBLISHED
    assert "5 conditional GANs of the published size, alone" in AS_PUBLISHED


def test_a_checkpoint_that_says_nothing_is_said_nothing_of(tmp_path: Path):
    for content in ("", "[]", "{}", '{"config": {"architecture": "compact"}}', '{"config": null, "weights": 3}'):
        (tmp_path / "a.json").write_text(content)
        assert read_description(tmp_path / "a.json") is None
    assert read_description(tmp_path / "none.json") is None
