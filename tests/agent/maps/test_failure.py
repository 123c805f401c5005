from pathlib import Path

import pytest

from glassmap.agent.maps.failure import PeaksFound, say_failure, why_nothing_is_said

FOLDER = Path("campaigns/raw")
MUTE = PeaksFound(
    round=2,
    alloys=4851,
    alloys_with_peak=107,
    spectra=56,
    spectra_with_peak=4,
    often="No maximum stands out.",
    better_range=None,
    is_simulated=False,
)


@pytest.mark.parametrize("found", [None, MUTE._replace(alloys_with_peak=2426), MUTE._replace(alloys_with_peak=4851)])
def test_a_map_on_which_most_alloys_have_a_peak_is_no_failure_and_neither_is_none(found: PeaksFound | None):
    assert say_failure(found) == why_nothing_is_said(found, folder=FOLDER) == ""


@pytest.mark.parametrize(
    ("found", "cause", "command"),
    [
        (
            MUTE,
            "Only 4 of 56 measured spectra have one. No maximum stands out.",
            "begin another campaign with `--range",
        ),
        (MUTE, "there is no film on the samples", "`glassmap retract campaigns/raw`"),
        (MUTE._replace(better_range=(0.66, 4.99)), "a beam stop or holds no signal", "`--range 0.66 4.99`"),
        (MUTE._replace(spectra_with_peak=51), "the model that has not learned it", "`glassmap extend campaigns/raw"),
        (MUTE._replace(is_simulated=True), "The g(r) of few atoms ends early", "`protocol.atoms`"),
    ],
)
def test_a_map_that_says_nothing_is_told_with_its_likely_cause_and_the_command(
    found: PeaksFound, cause: str, command: str
):
    said = why_nothing_is_said(found, folder=FOLDER)
    assert said.startswith(
        "Nothing can be said of this system yet: only 2.2 % of the 4,851 alloys on the map of round 2"
    )
    assert cause in said and command in said
