"""What the header of a text says: which column is what, and what else it states.

The names are those that instruments and reduction programs write; no unit is guessed.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from glassmap.agent.data.raw_scan import K_ALPHA_RATIO, SAME_LINE, check_anode, doublet_of_anode, mean_k_alpha
from glassmap.agent.errors import DatasetError
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import AxisName

Role = Literal["axis", "another axis", "intensity", "time", "monitor", "of peaks", "aside", "unknown"]

LONGEST = 1000  # letters of a line or a name that are looked at
COMMENT = re.compile(r"\s*(?:#L\b|[#!%'\"*]+|//+|;)\s?")
_BRACKETS = re.compile(r"[(\[{]([^()\[\]{}]*(?:\([^()]*\))?[^()\[\]{}]*)[)\]}]")
_PLAIN = (
    ("\\theta", "theta"), ("θ", "theta"), ("ϑ", "theta"),
    ("å", "a"), ("\\aa", "a"), ("angstroms", "a"), ("angstrom", "a"), ("⁻¹", "^-1"),
    ("−", "-"), ("°", "deg"), ("inverse nanometers", "nm^-1"), ("inverse nanometres", "nm^-1"), ("$", ""),
)  # fmt: skip
_AXES: dict[AxisName, re.Pattern[str]] = {
    "two_theta": re.compile(
        r"(2|two)[\s_*-]*(theta|th\b).*|2th.*|tth.*|ttheta.*|(beugungs)?winkel|pos(ition)?|"
        r"((diffraction|scattering) )?angle([\s_](deg|degrees?|rad|2[\s-]?theta))?"
    ),
    "q": re.compile(r"\|?q\|?([_\s].*)?|qvector|scattering[_\s]vector.*|momentum transfer.*"),
    "r": re.compile(r"r([_\s](a|nm|mm|cm|m))?|distance|radius"),
}
_ANOTHER_AXIS = re.compile(
    r"theta|th|omega|chi|phi|psi|d([\s_-]?(spacings?|values?|a))?( in a)?|energy.*|channel|tof|pixel.*|"
    r"radial distance.*|sin.*|q\^?[2²].*|1/d.*|azimut.*|wave ?(number|length).*|raman.*"
)
_ANOTHER_UNIT = re.compile(r"(\b|[\d_/])(mm|[uμµ]m|cm|m|px|pixels?|bins?|[km]?ev|mrad|arc(min|sec)\w*)(\b|_)")
_OVER_TWO_THETA = re.compile(r".*(2[\s-]?theta|two\s?theta|2θ|gonio|coupled|detector).*")
_OVER_ANOTHER = re.compile(r"omega|ω|theta|rocking.*|phi|chi|psi|[xyz]|time.*")
_PROCESSING = re.compile(r"raw|corr(ected)?|norm(ali[sz]ed)?|sub(tracted)?|smooth(ed)?|au|arb|cts|net|abs|\W*")
_INDEX = re.compile(r"|unnamed.*|index|idx|nr|no|n|points?|row|number|line|step")
_ERROR = re.compile(
    r"e|s|esd.*|sigma.*|.*[\s_]sigma|.*err(or)?s?|std.*|.*[\s_]std|[dδ][\s_]?(y|i|r|q|g|gr|x|intensity|counts|2theta)|"
    r".*uncertainty.*|s\.?u"
)
_ASIDE = re.compile(
    r"(.*[\s_-])?(bkg|bgr|bkgd|background|calc|calculated|fit|diff|difference|resid.*|model|weights?|flags?|mask|temp|"
    r"temperature|h|k|l)|[yi](bkg|bgr|calc|fit|diff)|(log(10)?|lg|ln|sqrt)\b.*|"
    r"[if]\s?(\([qr]\))?\s?[*·x^].*|.*intensity\s?[*·^].*"
)
_LOGARITHM = re.compile(r"\b(log(10)?|lg|ln|db|sqrt|square root)\b")
_OF_PEAKS = re.compile(r"fwhm.*|height|.*integral (width|breadth).*|(peak )?area|rel\.? int.*|tip width.*|matched by")
_MONITOR = re.compile(r"(.*[\s_-])?mon(itor)?(\s?\d)?|i_?0|io|ic\d?|ion ?chamber.*")
_CLOCK = re.compile(r"(elapsed|cumul|absolute|start|end|unix)\w*[\s_]?time.*|time[\s_]?stamp|epoch|clock.*|date.*")
_TIME = re.compile(
    r"time.*|dwell.*|(acquisition|integration|preset)[\s_].*|.*[\s_]time|timeperstep|seconds?|sec|duration|exposure.*|counting[\s_]?times?"
)
_INTENSITY = re.compile(
    r"(y|i|iq|int|intens|intensity|intensities|counts?|cts|cps|signal|psd|det(ector)?|g|gr|s|sq|f)"
    r"([\s_-]?(obs|observed|meas|measured|total|raw|net|abs|cps|counts|cts))?"
    r"|intensit[äé]t?|z[äa]hlrate|impulse"
    r"|(linear |absolute |relative |diffracted )?intensity|lin|counts[\s_]per[\s_]s(econd)?|counts/s|[yi]?(obs|meas)"
)
_RATE = re.compile(r"\bcps\b|c(oun)?ts?\s*(/|per)\s*s|/\s*s\b|\bs\^?-1", re.IGNORECASE)
_UNIT = re.compile(r"|[(\[]?(deg|degrees?|°|counts?|cts|cps|s|sec|a\.?u\.?|1/(a|å|nm)|(a|å|nm)\^?-1|rad|a|å|nm)[)\]]?")
SHARE = re.compile(r"\b(at|wt|mol|mass|weight|atomic)\b[.\s_]*(%|percent)|\b[aw]t\s?\.?\s?%", re.IGNORECASE)
_OF_AN_AXIS = r"(the )?(x[\s_-]?axis|axis|abscissa|((x|radial|axis)[\s_])?units?)"
_UNIT_OF_Q = re.compile(
    r"nm|1\s?/\s?[aå]|[aå](ngstr\w*)?\s?\^?[({]*[-\u2212\u207b][1\u00b9]|\(\s?[aå]\w*\s?\)|_[aå]\b|inverse",
    re.IGNORECASE,
)
_IN_NM = re.compile(r"1\s?/\s?nm|nm\s?\^?[({]*[-\u2212]1|nm\u207b\u00b9|inverse nano", re.IGNORECASE)
_A_NUMBER = r"([+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?)"
KEV_ANGSTROM = 12.398420  # energy times wavelength of a photon
_STATED = {  # what a header states, by how it is called, without blanks and signs
    "wavelength": re.compile(
        r"(xray|used|incident|average|mean|calibrated)?(wavelength|lambda|λ)(used|average|mean)?|wl|wellenlnge"
    ),
    "Kα1": re.compile(r"kalpha1(wavelength)?|wl1|alpha1|(wavelength|lambda)(kalpha|alpha)?1"),
    "Kα2": re.compile(r"kalpha2(wavelength)?|wl2|alpha2|(wavelength|lambda)(kalpha|alpha)?2"),
    "Kα2/Kα1": re.compile(r"ratio(kalpha2/kalpha1)?|wlratio|(kalpha2/kalpha1|a2a1)(ratio)?"),
    "energy": re.compile(r"(xray|beam|photon)?energy"),
    "anode": re.compile(r"(tube)?(anode|target)(material|element|metal|name)?|radiation|xraysource"),
    "sample": re.compile(r"sample(id|name|identification)?|id|probe(nname)?"),
    "scan axis": re.compile(r"scan(axis|type)"),
    "counting time": re.compile(r"timeperstep|(scan)?steptime|countingtime|exposure(time)?"),
    "points": re.compile(r"(noof|numberof|n)(data|measured|scan)?points"),
    "x": re.compile(r"(stage|sample|position)?x(position)?(mm)?"),
    "y": re.compile(r"(stage|sample|position)?y(position)?(mm)?"),
}


class Column(NamedTuple):
    """What a column is, by its name."""

    title: str
    role: Role
    axis_name: AxisName = "two_theta"
    factor: float = 1.0  # to the unit of the axis
    is_rate: bool = False
    sample: str = ""  # that its name says besides


class Stated(NamedTuple):
    """What the lines of a header state besides the names of columns."""

    wavelength: float | None  # Å
    sample: str | None
    seconds: float | None
    x: float | None  # mm
    y: float | None
    notes: tuple[str, ...]
    scan_axis: str = ""  # such as Gonio, Omega or Locked Coupled
    points: int | None = None  # that it announces
    first: int = 1  # number of the first line of numbers below


def is_of_units(cells: Sequence[str]) -> bool:
    """Tell whether the cells of a row below the names are units."""
    return all(_UNIT.fullmatch(cell.lower()) for cell in cells)


def column_of(title: str) -> Column:
    """Tell what a column is by its name."""
    plain = title.strip()[:LONGEST].lower()
    for sign, word in _PLAIN:
        plain = plain.replace(sign, word)
    plain = re.sub(r"\^\{([^{}]*)\}", r"^\1", plain)  # of TeX
    plain = re.sub(r"\s+/\s+(\S+)$|/((?:nm|a|deg|rad)\b\S*)$", r" (\1\2)", plain)  # unit behind a slash
    unit = " ".join([*_BRACKETS.findall(plain), *plain.split(",")[1:]])
    name = re.sub(r"\s+", " ", _BRACKETS.sub(" ", plain).split(",")[0]).strip(" .:*/")
    if re.fullmatch(r"[gsfi] ?(\([qr]\))?", plain.split("(a")[0].strip()) and "(" in plain:
        return Column(title, "intensity")
    for axis, pattern in _AXES.items():
        if pattern.fullmatch(name) and not _ERROR.fullmatch(name):
            if _ANOTHER_UNIT.search(f"{name} {unit}") or (axis == "q" and re.search(r"(\b|_)pm", f"{name} {unit}")):
                return Column(title, "another axis")
            if name.startswith("pos") and "deg" not in plain:  # of anything
                return Column(title, "unknown")
            return Column(title, "axis", axis, _factor(axis, f"{name} {unit}"))
    name = re.sub(r"(?<=[a-z])\.\d+$", "", name)  # by which pandas tells columns of one name apart
    if any(pattern.fullmatch(name) for pattern in (_INDEX, _ERROR, _ASIDE, _CLOCK)):
        return Column(title, "aside")
    if _MONITOR.fullmatch(name):
        return Column(title, "monitor")
    if _OF_PEAKS.fullmatch(name):
        return Column(title, "of peaks")
    if _TIME.fullmatch(name) or (name == "t" and unit.strip() in ("s", "sec")):
        return Column(title, "time")
    if _ANOTHER_AXIS.fullmatch(name):
        return Column(title, "another axis")
    if _INTENSITY.fullmatch(name):
        if _LOGARITHM.search(unit):
            return Column(title, "aside")
        return Column(title, "intensity", is_rate=bool(_RATE.search(plain)))
    return _of_a_sample(title, plain)


def _of_a_sample(title: str, plain: str) -> Column:
    """Tell what a column is whose name says a sample as well, such as `P1 2theta` or `I_W3`."""
    words = re.split(r"\s+(?![(\[])", title.strip())  # a unit goes with its word
    for rest, word in ((" ".join(words[:-1]), words[-1]), (" ".join(words[1:]), words[0])):
        if rest and word and (known := column_of(word)).role in ("axis", "intensity") and len(word) < len(title):
            return known._replace(title=title, sample=rest.strip(" _:-"))
    for found in (re.fullmatch(r"(.+?)[_:](\w+)", title), re.fullmatch(r"(\w+?)[_:](.+)", title)):
        if found:
            for rest, word in ((found[1], found[2]), (found[2], found[1])):
                if re.fullmatch(r"2?-?theta|2th|tth|twotheta|q|r|i|int|intensity|counts|cps", word.lower()):
                    return column_of(word)._replace(title=title, sample=rest)
    return Column(title, "unknown", is_rate=bool(_RATE.search(plain)))


def _factor(axis: AxisName, words: str) -> float:
    """Return what brings an axis to its unit: degrees, 1/Å or Å."""
    if axis == "two_theta":
        return 180 / np.pi if re.search(r"\brad|_rad|radian", words) else 1.0
    is_nm, is_pm = bool(re.search(r"nm|nanomet", words)), "pm" in words
    if axis == "q":
        return 0.1 if is_nm else 1.0
    return 10.0 if is_nm else 0.01 if is_pm else 1.0


def axis_in_words(header: Sequence[str]) -> Column | None:
    """Return the axis that a line of the header names by itself, such as `2-Theta Angle (Degrees)`."""
    for line in header:
        if len(line) > LONGEST:
            continue
        bare = COMMENT.sub("", line, count=1).strip() if COMMENT.match(line) else line.strip()
        stripped = bare
        bare = re.sub(rf"^({_OF_AN_AXIS})(\s*[:=]\s*| is:?\s+)", "", bare, flags=re.IGNORECASE)
        bare = re.sub(r"^(q|r|2theta)[\s_]units?\s*[:=]\s*(.+)$", r"\1 (\2)", bare, flags=re.IGNORECASE)
        is_label = 0 < len(bare) < 60 and not re.search(r"[,;\t]", bare)
        if is_label and bare.lower() not in ("r", "position", "distance", "pos", "angle"):
            column = column_of(bare)
            names_it = not stripped.startswith(bare) or re.match(r"radial distance", bare, re.IGNORECASE)
            if column.role in ("another axis", "time") and names_it:  # behind `x unit:`, or as Fit2D has it
                raise DatasetError(f"Its header says that it is over {visible(bare)!r}; a scan is over 2θ, q or r.")
            if column.role == "axis" and not column.sample:
                return column
    return None


def is_statement(line: str) -> bool:
    """Tell whether a line states something, as in `unit: q_nm^-1`, and so names no columns."""
    return len(line) <= LONGEST and re.fullmatch(r"[\w .-]+(:\s|=)[^,;\t]*", line.strip()) is not None


def is_attenuation(title: str) -> bool:
    """Tell whether a column holds what the beam was weakened by."""
    return re.match(r"att(en|\b|_)|absorber|filter|transmission|abs[\s_.]*factor", title.strip().lower()) is not None


def speaks_of_nm(header: Sequence[str]) -> bool:
    """Tell whether a line of the header speaks of 1/nm."""
    return any(_IN_NM.search(line[:LONGEST]) for line in header)


def says_its_unit(title: str) -> bool:
    """Tell whether the name of an axis of q says its unit."""
    return _UNIT_OF_Q.search(title) is not None


def names_a_unit(title: str) -> bool:
    """Tell whether the name of an axis that isn't known holds a unit to be converted, such as nm."""
    return re.search(r"(\b|_|^q)(nm|pm|[uμµ]m|m?rad)(\b|_|\d)", title.lower()) is not None


def over_two_theta(scan_axis: str) -> bool:
    """Tell whether what a header calls its scan's axis, or type, is a scan over 2θ.

    Raises:
        DatasetError: If it is a scan over another axis.
    """
    plain = scan_axis.strip().lower()
    if _OVER_ANOTHER.fullmatch(plain):
        raise DatasetError(f"It was scanned over {scan_axis!r}, no scan over 2θ. Measure one over 2θ.")
    return _OVER_TWO_THETA.fullmatch(plain) is not None


def is_processing(name: str) -> bool:
    """Tell whether a name says what was done to an intensity, and not of which sample it is."""
    return _PROCESSING.fullmatch(name.strip(" _-.").lower()) is not None


def state(header: Sequence[str]) -> Stated:
    """Return what the lines of a header state.

    Raises:
        DatasetError: If they state it twice, and otherwise.
    """
    said: dict[str, list[tuple[str, str]]] = {}  # value and unit of what is stated
    for line in header:
        for key, value in _statements(line):
            unit = " ".join([*_BRACKETS.findall(key), *re.findall(r"_(mm)$", key)])
            plain = re.sub(r"[^a-zαλ0-9/]", "", _BRACKETS.sub("", key).lower()).replace("α", "alpha")
            if (name := next((name for name, pattern in _STATED.items() if pattern.fullmatch(plain)), None)) and value:
                for own, one in _lines_in(value) if name == "wavelength" else ((name, value),):
                    said.setdefault(own, []).append((one, unit))

    def number(name: str) -> tuple[float, str] | None:
        found = [(re.match(_A_NUMBER + r"\s*([a-zA-ZåÅµ]*)", value), unit) for value, unit in said.get(name, [])]
        read = {(float(match[1].replace(",", ".")), unit or match[2]) for match, unit in found if match}
        if len(read) > 1:
            values = ", ".join(f"{value:g}" for value, _ in sorted(read))
            raise DatasetError(f"Its header states several values of {name}: {values}. Correct it.")
        return read.pop() if read else None

    wavelength, notes = _stated_wavelength(number, [value for value, _ in said.get("anode", [])])
    over = [value for value, _ in said.get("scan axis", [])]
    over = [value for value in over if over_two_theta(value)] or over
    samples = list(dict.fromkeys(value for value, _ in said.get("sample", [])))
    seconds, x, y = number("counting time"), number("x"), number("y")
    return Stated(
        wavelength,
        samples[0] if len(samples) == 1 else None,
        None if seconds is None or seconds[1].lower() not in ("", "s", "sec", "seconds") else seconds[0],
        x[0] if x and x[1] == "mm" else None,
        y[0] if y and y[1] == "mm" else None,
        notes,
        over[0] if len(over) == 1 else "",
        None if (points := number("points")) is None else int(points[0]),
    )


def _lines_in(value: str) -> list[tuple[str, str]]:
    """Return what a wavelength is said to be: a number, two of a doublet and their ratio, or the name of an anode."""
    number = rf"{_A_NUMBER}[\s,;/]*"
    found = re.fullmatch(rf"{number}{number}(?:{number})?([a-zåÅ]*)", value, re.IGNORECASE)
    if found and abs(_decimal(found[1]) / _decimal(found[2]) - 1) < SAME_LINE:
        lines = [(name, f"{found[k]} {found[4]}") for k, name in ((1, "Kα1"), (2, "Kα2"))]
        return [*lines, *([("Kα2/Kα1", found[3])] if found[3] else [])]
    if named := re.match(r"([A-Za-z]{2})[\s-]?(K\S*|$)", value):
        rest = value[named.end() :].strip(" =:,()")
        return [("anode", value), *([("wavelength", rest)] if re.match(_A_NUMBER, rest) else [])]
    return [("wavelength", value)]


def _decimal(number: str) -> float:
    return float(number.replace(",", ".")) or np.nan


def _statements(line: str) -> list[tuple[str, str]]:
    """Return what a line says of what: `Anode: "Cu" Id: "W1"`, `Anode material,Cu` or `sample W1`."""
    line = line[:LONGEST]
    bare = COMMENT.sub("", line, count=1).strip() if COMMENT.match(line) else line.strip()
    if len(places := re.findall(rf"\b([xy])\s*[:=]\s*({_A_NUMBER}\s*mm)\b", bare, re.IGNORECASE)) > 1:
        return [(place[0], place[1]) for place in places]
    if quoted := re.findall(r"([^:=\"]+)[:=]\s*\"([^\"]*)\"", bare):
        return [(key.strip(), value.strip()) for key, value in quoted]
    found = (
        re.fullmatch(r"([^:=,;\t]+)[:=](.+)", bare)
        or re.fullmatch(r"([^:=,;\t]+)[;\t]([^;\t]+)[;\t]*", bare)
        or re.fullmatch(r"([^:=,;\t]+),([^,;\t]+),*", bare)
        or re.fullmatch(r"(sample|(?:x-?ray )?wavelength(?:\s+\([^()]*\))?)\s+([^,;\t]+)", bare, re.IGNORECASE)
    )
    return [(found[1].strip(), found[2].strip(" \t,;\"'"))] if found else []


def _stated_wavelength(
    number: Callable[[str], tuple[float, str] | None], anodes: Sequence[str]
) -> tuple[float | None, tuple[str, ...]]:
    """Return the wavelength of a header in Å, and from what it was had."""

    def check_anodes(wavelength: float) -> None:
        for words in anodes:
            check_anode(_anode_in(words), wavelength)

    alpha1, alpha2, ratio, energy = (number(name) for name in ("Kα1", "Kα2", "Kα2/Kα1", "energy"))
    if (single := number("wavelength")) is not None:
        wavelength = _in_angstrom(*single)
        check_anodes(wavelength)
        return wavelength, ()
    if alpha1 is not None and alpha2 is not None and (ratio is None or ratio[0] > 0):
        of = K_ALPHA_RATIO if ratio is None else ratio[0]
        wavelength, what = mean_k_alpha(_in_angstrom(*alpha1), _in_angstrom(*alpha2), of), "mean of Kα"
        check_anodes(wavelength)
    elif alpha1 is not None:
        wavelength, what = _in_angstrom(*alpha1), "Kα1"
        check_anodes(wavelength)
    elif energy is not None:
        wavelength, what = (
            KEV_ANGSTROM / (energy[0] / 1000 if energy[1].lower() == "ev" else energy[0]),
            "of the energy",
        )
    else:
        anode = _anode_in(next(iter(anodes), ""))
        if (lines := doublet_of_anode(anode)) is None:
            return None, ()
        wavelength, what = mean_k_alpha(*lines), f"mean of {anode} Kα"
        if re.search(r"k\W*(α|a|alpha)\W*1(?!.*2)", anodes[0], re.IGNORECASE):
            wavelength, what = lines.alpha1, f"{anode} Kα1"
    return wavelength, (f"Wavelength {wavelength:.5f} Å, {what}.",)


def _anode_in(words: str) -> str:
    """Return the anode of `Cu`, `Cu Ka1`, `CuKα` or `copper`."""
    found = re.match(r"([A-Za-z]{2})(?=[\s-]*K|\W|$)|[A-Za-z]+", words.strip())
    return found[0] if found else ""


def _in_angstrom(value: float, unit: str) -> float:
    """Return a length in Å; without a unit it is in m where it is as small as that."""
    unit = unit.lower()
    is_nm, is_pm = unit.startswith("nano") or unit == "nm", unit.startswith("pico") or unit == "pm"
    return value * (1e10 if unit == "m" or value < 1e-6 else 10 if is_nm else 0.01 if is_pm else 1)
