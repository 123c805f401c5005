"""Whether what the map says can be believed: P(glass) and the intervals of Δq, held against what was measured."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from glassmap.agent.maps.agreement import STDS_OF_INTERVAL
from glassmap.agent.maps.glass import LIKELY, P_GLASS, POSSIBLY, SURELY, GlassRule
from glassmap.agent.maps.reliability import Reliability, Share, coverage, reliability
from glassmap.agent.maps.spectra_archive import PeakFigures, SpectraArchive
from glassmap.agent.models.config import CONFIDENCE
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import Mask, PerSample

FEW = 20  # alloys, of which hardly anything can be told
CLEARLY = 2.0  # times what chance makes of a P(glass) that is right; farther off it is wrong
TITLES = {
    "held out": "held out: the model never saw them, and has learned nothing from how it errs on them",
    "left out": "left out: learned from, but said by parts of the model that had not seen them; how sure P(glass) is "
    "was learned from these errors",
}


class Evidence(NamedTuple):
    """What some measured alloys say of what was said of them."""

    kind: str  # of `TITLES`
    of_glass: Reliability | None  # None where no P(glass) was said
    of_delta_q: dict[str, Share]  # how often its interval holds the measured one: of all, and by group

    def say(self) -> list[str]:
        """Return it in sentences, the verdict first."""
        sentences = [] if self.of_glass is None else _say_glass(self.of_glass, self.kind)
        everything = self.of_delta_q.get("all")
        if everything is not None and everything.of:
            sentences.append(
                f"The {100 * CONFIDENCE:g} % interval of a new measurement of {DELTA_Q.label} holds {everything.say()}."
            )
        groups = {name: share for name, share in self.of_delta_q.items() if name != "all"}
        fewer = [f"{name} ({100 * s.value:.0f} %)" for name, s in groups.items() if s.interval[1] < CONFIDENCE]
        if fewer:
            sentences.append(f"It holds clearly fewer among these: {', '.join(fewer)}.")
        return sentences


def evidence_of(archive: SpectraArchive, rule: GlassRule | None) -> list[Evidence]:
    """Return what held-out and left-out alloys say; nothing where the map was made before it said how sure Δq is.

    Args:
        archive: Of the last map.
        rule: By which an alloy is a glass; None where that says nothing of these spectra.
    """
    measured = archive.measured
    theirs = measured.figures.get(DELTA_Q.name)
    if theirs is None:
        return []
    found: list[Evidence] = []
    for kind, said, rows in (
        ("held out", measured.generated, measured.hold_out),
        ("left out", measured.left_out, ~measured.hold_out),
    ):
        if DELTA_Q.predictive_std_name not in said:
            continue
        one = _evidence(kind, said, theirs, rows, measured.wafers, rule)
        if one.of_delta_q["all"].of or (one.of_glass is not None and one.of_glass.alloys):
            found.append(one)
    return found


def _evidence(
    kind: str, said: PeakFigures, measured: PerSample, rows: Mask, wafers: Sequence[str], rule: GlassRule | None
) -> Evidence:
    mean, std = said[DELTA_Q.name][rows], said[DELTA_Q.predictive_std_name][rows]
    measured, chances = measured[rows], said.get(P_GLASS)
    groups: list[tuple[str, Mask]] = []
    if rule is not None and chances is not None:
        groups += [("said to be a glass", chances[rows] >= LIKELY), ("said to be none", chances[rows] < LIKELY)]
    on = np.array(wafers, dtype=object)[rows]
    groups += [(f"wafer {wafer}", on == wafer) for wafer in sorted({*on.tolist()} - {""})]
    held = coverage(mean - STDS_OF_INTERVAL * std, mean + STDS_OF_INTERVAL * std, measured, groups)
    of_glass = None if rule is None or chances is None else reliability(chances[rows], rule.chance(measured))
    return Evidence(kind, of_glass, {name: share for name, share in held.items() if name == "all" or share.of})


def _say_glass(found: Reliability, kind: str) -> list[str]:
    """Return what P(glass) was worth, beside what the share of glasses alone would have been."""
    if not found.alloys:
        return []
    words: list[str] = []
    for name, classes in (
        (f"called surely a glass (P ≥ {SURELY:g})", [one for one in found.classes if one.low >= SURELY]),
        (f"called surely none (P < {POSSIBLY:g})", [one for one in found.classes if one.high <= POSSIBLY]),
    ):
        share = Share(sum(one.measured.true for one in classes), sum(one.measured.of for one in classes))
        words.append(f"of those {name}, {share.say()} are one" if share.of else f"not one was {name}")
    return [
        f"{kind.capitalize()}: {_verdict(found)}",
        f"By {found.alloys} alloys that were {kind}: {'; '.join(words)}.",
        f"Brier score {found.brier:.3f}, where the share of glasses said of every alloy would have "
        f"{found.brier_of_share:.3f}; P(glass) and what was measured differ by {100 * found.calibration_error:.0f} %, "
        f"and would by {100 * found.by_chance:.0f} % if P(glass) were right.",
    ]


def _verdict(found: Reliability) -> str:
    """Return in a sentence whether P(glass) can be believed."""
    if found.alloys < FEW:
        return "of so few alloys hardly anything can be told of P(glass)."
    if found.calibration_error <= CLEARLY * found.by_chance:
        return "nothing speaks against P(glass)."
    told = [one for one in found.classes if one.measured.of]
    off = sum((one.measured.true - one.said * one.measured.of) * (2 * one.said - 1) for one in told)
    return "P(glass) is too sure." if off < 0 else "P(glass) is less sure than it could be."


def least_of(found: Sequence[Evidence]) -> float:
    """Return where a picture of shares inside intervals begins: low enough for all bars, and at a half at most."""
    return min([0.5, *(share.interval[0] for one in found for share in one.of_delta_q.values())])


def say_kinds(found: Sequence[Evidence]) -> str:
    """Return what kinds of alloys there are, and what the bars of pictures are."""
    kinds = " ".join(f"{TITLES[one.kind][0].upper()}{TITLES[one.kind][1:]}." for one in found)
    return f"{kinds} Bars are {100 * CONFIDENCE:g} % intervals of a share (Wilson), as if alloys erred independently."


def table_of(found: Reliability) -> pd.DataFrame:
    """Return the classes of P(glass) as a table, a row each."""
    rows = [
        {
            "P(glass)": f"{one.low:g}–{one.high:g}",
            "alloys": one.measured.of,
            "said on average": f"{one.said:.2f}",
            "measured": f"{one.measured.value:.2f}",
            f"{100 * CONFIDENCE:g} % interval": "{:.2f}–{:.2f}".format(*one.measured.interval),
        }
        for one in found.classes
        if one.measured.of
    ]
    return pd.DataFrame(rows)
