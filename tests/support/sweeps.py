"""Small sweeps, and structures as if simulated."""

from dataclasses import replace

from glassmap.simulation.sweep import Sweep
from tests.support.glasses import ELEMENTS, TINY, ZHOU, fake_structure


def sweep(**changes) -> Sweep:
    settings = {"elements": ELEMENTS, "potential": ZHOU, "protocol": TINY, "steps_at_pct": (25,), "repeats": 1}
    return Sweep(**(settings | changes))


def structures(plan: Sweep, n: int) -> dict:
    """As a sweep finds them, for its first `n` simulations."""
    return {
        plan.id_of(s): replace(fake_structure(s.counts, seed=k, cutoff=plan.protocol.rdf_cutoff), seed=s.protocol.seed)
        for k, s in enumerate(plan.simulations[:n])
    }
