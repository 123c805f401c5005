"""When most alloys of a map have no first peak, it says nothing: the words, the likely cause, and the command."""

from pathlib import Path
from typing import NamedTuple

from glassmap.agent.peaks.figures import MOST


class PeaksFound(NamedTuple):
    """How many first peaks there are on a round's map, and in the measured spectra that its model knows of."""

    round: int
    alloys: int
    alloys_with_peak: int
    spectra: int  # learned from or judged by
    spectra_with_peak: int
    often: str  # why most of the other spectra have none; empty where all have one
    better_range: tuple[float, float] | None  # on which most spectra have one, in the unit of the axis; None if unknown
    is_simulated: bool  # whether the spectra are transforms of a simulated g(r)


def say_failure(found: PeaksFound | None) -> str:
    """Return the sentence that a map says nothing; empty where it says something.

    Args:
        found: Of the last map; None where there is none, or an older version made it.
    """
    if found is None or found.alloys_with_peak >= MOST * found.alloys:
        return ""
    return (
        "Nothing can be said of this system yet: only "
        f"{100 * found.alloys_with_peak / found.alloys:.2g} % of the {found.alloys:,} alloys on the map of round "
        f"{found.round} have a first peak."
    )


def why_nothing_is_said(found: PeaksFound | None, *, folder: Path) -> str:
    """Return `say_failure` with the likely cause and what to do about it; empty where the map says something.

    Args:
        found: Of the last map.
        folder: Of the campaign.
    """
    if found is None or not (said := say_failure(found)):
        return ""
    measured = f"{found.spectra_with_peak} of {found.spectra} measured spectra"
    if found.spectra_with_peak >= MOST * found.spectra:
        return (
            f"{said} {measured} have one, so it is the model that has not learned it: measure more, where the campaign "
            f"has stopped with `glassmap extend {folder} --rounds 2`."
        )
    said += f" Only {measured} have one."
    if found.better_range is not None:
        low, high = (f"{end:g}" for end in found.better_range)
        return (
            f"{said} Over {low} to {high} most have: what lies beyond is a beam stop or holds no signal. Begin another "
            f"campaign with `--range {low} {high}`."
        )
    if found.is_simulated:
        return (
            f"{said} {found.often} The g(r) of few atoms ends early, which blurs S(q): begin another campaign with "
            "more `protocol.atoms`."
        )
    return (
        f"{said} {found.often} Either the range cuts the peak off: begin another campaign with `--range LOW HIGH`. Or "
        f"there is no film on the samples: `glassmap retract {folder}` those, then `glassmap retrain {folder}`."
    )
