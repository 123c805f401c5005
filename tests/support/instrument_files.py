"""Writes small files of Bruker's and Rigaku's programs, each figure where the public descriptions say.

A range is a dict: `start`, `step`, `counts`, and what else was set. Nothing here is shared with the readers.
"""

import io
import struct
import zipfile
from collections.abc import Callable, Sequence

import numpy as np

CU = {"alpha1": 1.5406, "alpha2": 1.54439, "beta": 1.39222, "ratio": 0.5, "anode": "Cu", "used": 0.0}


def _put(buffer: bytearray, at: int, layout: str, *values: object) -> None:
    values = tuple(value.encode("latin-1") if isinstance(value, str) else value for value in values)
    struct.pack_into(f"<{layout}", buffer, at, *values)


def _singles(counts: np.ndarray) -> bytes:
    return np.asarray(counts, dtype="<f4").tobytes()


def raw_1(ranges: Sequence[dict], *, sample: str = "", **tube) -> bytes:
    """Write version 1: ranges one behind the other, each with whether one follows."""
    tube, content = CU | tube, b""
    for left, one in zip(range(len(ranges) - 1, -1, -1), ranges, strict=True):
        head = bytearray(156)
        _put(head, 0, "4sIff", "RAW ", len(one["counts"]), one.get("seconds", 1.0), one["step"])
        _put(head, 24, "ffff", one["start"], one.get("theta", -1e6), one.get("chi", -1e6), one.get("phi", -1e6))
        _put(head, 40, "32sff", sample, tube["alpha1"], tube["alpha2"])
        _put(head, 152, "I", left)
        content += bytes(head) + _singles(one["counts"])
    return content


def raw_2(ranges: Sequence[dict], *, sample: str = "", **tube) -> bytes:
    """Write version 2: a header of 256 bytes, and one of 64 before each range."""
    tube, head = CU | tube, bytearray(256)
    _put(head, 0, "4sH2x32s", "RAW2", len(ranges), sample)
    _put(head, 188, "2sfff", tube["anode"], tube["alpha1"], tube["alpha2"], tube["ratio"])
    content = bytes(head)
    for one in ranges:
        head = bytearray(64)
        _put(head, 0, "HH", 64, len(one["counts"]))
        _put(head, 8, "fff", one.get("seconds", 1.0), one["step"], one["start"])
        _put(head, 24, "f", one.get("chi", 0.0))
        _put(head, 46, "H", int(one.get("kelvin", 0)))
        content += bytes(head) + _singles(one["counts"])
    return content


def raw_3(ranges: Sequence[dict], *, sample: str = "", status: int = 1, **tube) -> bytes:
    """Write version 3, whose files begin with RAW1.01; a range may have 2θ `measured` at each point."""
    tube, head = CU | tube, bytearray(712)
    _put(head, 0, "8sII", "RAW1.01", status, len(ranges))
    _put(head, 326, "60s", sample)
    _put(head, 608, "4s", tube["anode"])
    lines = (tube["alpha1"], tube["alpha2"])
    _put(head, 616, "5d", (2 * lines[0] + lines[1]) / 3, *lines, tube["beta"], tube["ratio"])
    _put(head, 656, "4s", "A")
    content = bytes(head)
    for one in ranges:
        head, measured, extra = bytearray(304), one.get("measured"), 24 * ("x" in one)
        _put(head, 0, "II", 304, len(one["counts"]))
        at = (one.get("theta", one["start"] / 2), one["start"], one.get("chi", 0.0), one.get("phi", 0.0))
        _put(head, 8, "7d", *at, one.get("x", 0.0), one.get("y", 0.0), one.get("z", 0.0))
        _put(head, 152, "d", one.get("auxiliary", 0.0))
        _put(head, 176, "d", one["step"])
        _put(head, 192, "fI", one.get("seconds", 1.0), one.get("scan", 0))
        _put(head, 212, "f", one.get("kelvin", 0.0))
        _put(head, 224, "II", 40, 40)
        _put(head, 240, "dIII", tube["used"], 0 if measured is None else 1, 4 if measured is None else 12, extra)
        content += bytes(head) + b"\x01" * extra
        if measured is None:
            content += _singles(one["counts"])
        else:
            pairs = np.zeros(len(measured), np.dtype([("counts", "<f4"), ("two_theta", "<f8")]))
            pairs["counts"], pairs["two_theta"] = one["counts"], measured
            content += pairs.tobytes()
    return content


def _segment(kind: int, payload: bytes) -> bytes:
    return struct.pack("<II", kind, 8 + len(payload)) + payload


def raw_4(ranges: Sequence[dict], *, sample: str = "", **tube) -> bytes:
    """Write version 4: segments, among them the tube and texts, and ranges with their drives."""
    tube = CU | tube
    head = bytearray(61)
    _put(head, 0, "8s4x10s2x8s", "RAW4.00", "11/27/2026", "01:00:00")
    content = bytes(head)
    if sample:
        content += _segment(10, struct.pack("<4x24s", b"SAMPLEID") + sample.encode() + b"\n\0")
    lines = (tube["alpha1"], tube["alpha2"], tube["beta"], tube["ratio"])
    content += _segment(30, struct.pack("<64x5d4x4s", 1.5418, *lines, tube["anode"].encode()))
    content += _segment(60, bytes(68))
    for one in ranges:
        theta = one.get("theta", one["start"] / 2)
        drives = {"2Theta": one["start"], "Theta": theta, "Chi": one.get("chi", 0.0), "Phi": one.get("phi", 0.0)}
        drives |= {f"{name.upper()}-Drive": one[name] for name in ("x", "y", "z") if name in one}
        chain = b"".join(
            _segment(50, struct.pack("<I24s20xd8x", name == one.get("moved", "2Theta"), name.encode(), position))
            for name, position in drives.items()
        ) + _segment(300, bytes(12))
        record, head = one.get("record", 8), bytearray(160)
        _put(
            head, 32, "24s", one.get("scan", "Locked Coupled") if isinstance(one.get("scan"), str) else "Locked Coupled"
        )
        _put(head, 72, "ddIf", one["start"], one["step"], len(one["counts"]), one.get("seconds", 1.0))
        _put(head, 100, "ff", 40, 40)
        _put(head, 112, "d", tube["used"])
        _put(head, 136, "II", record, len(chain))
        points = b"".join((struct.pack("<f", y) + b"\x01" + bytes(record))[:record] for y in one["counts"])
        content += bytes(head) + chain + points
    return content


RAW_VERSIONS: dict[int, Callable[..., bytes]] = {1: raw_1, 2: raw_2, 3: raw_3, 4: raw_4}


def uxd(ranges: Sequence[dict], *, mark: str = "_COUNTS", sample: str = "r001-01") -> str:
    """Write the text that DIFFRAC exports; a range may have `times` for _2THETACOUNTSTIME."""
    text = (
        f"; file\n_FILEVERSION=2\n_SAMPLE='{sample}'\n_+SAMPLE='continued'\n_ANODE='Cu'\n_WL1=1.5406\n_WL2=1.54439\n"
        "_WL3=1.39222\n_WLRATIO=0.500000\n"
    )
    for number, one in enumerate(ranges, start=1):
        theta, start = one.get("theta", one["start"] / 2), one["start"]
        text += (
            f"; Data for range {number}\n_DRIVE='COUPLED'\n_STEPTIME={one.get('seconds', 1.0)}\n"
            f"_STEPSIZE={one['step']}\n_STEPMODE='C'\n_START={start}\n_2THETA={start}\n_THETA={theta}\n"
            f"_KHI={one.get('chi', 0.0)}\n_PHI={one.get('phi', 0.0)}\n"
            f"_X={one.get('x', 0.0)}\n_Y={one.get('y', 0.0)}\n_KV=40\n_MA = 40\n{mark}\n"
        )
        for k, count in enumerate(one["counts"]):
            words = [f"{count:g}"]
            if mark.startswith("_2THETA"):
                words = [f"   {start + k * one['step']:.4f}", *words]
            if mark.endswith("TIME"):
                words.append(f"{one['times'][k]:g}")
            text += " ".join(words) + "\n"
    return text


def raw_4_text(ranges: Sequence[dict], *, sample: str = "r001-01") -> str:
    """Write the text of sections that DIFFRAC exports from version 4."""
    text = f";RAW4.00\n[RawHeader]\nTime=12:11:21\nNumberOfRanges={len(ranges)}\n\n"
    text += f"[VarInfo]\nType=USER\nValue=me\n\n[VarInfo]\nType=SAMPLEID\nFlags=0\nValue={sample}\n\n"
    text += "[HardwareConfiguration]\nAnode=Cu\nAlpha1=1.5406\nAlpha2=1.54439\nAlphaRatio=0.5\nWaveUnit=A\n\n"
    for one in ranges:
        text += (
            f"[RangeHeader]\nScanType={one.get('scan', 'Locked Coupled')}\nActuallyUsedLambda=1.5418\n"
            f"Start={one['start']}\nIncrement={one['step']}\nSteps={len(one['counts'])}\n"
            f"Time={one.get('seconds', 1.0)}\nGeneratorVoltage=40\n\n[Drive]\nName=Phi\n\n"
            "[Data]\n     Angle,       PSD,\n"
        )
        text += "".join(
            f"{one['start'] + k * one['step']:10.5f}, {count:9g},\n" for k, count in enumerate(one["counts"])
        )
        text += "\n"
    return text


RAS_KEYS = {
    "FILE_SAMPLE": "r001-01",
    "HW_I_MONOCHRO_NAME": "IPS_adaptor",
    "HW_XG_TARGET_NAME": "Cu",
    "HW_XG_WAVE_LENGTH_ALPHA1": "1.540593",
    "HW_XG_WAVE_LENGTH_ALPHA2": "1.544414",
    "HW_XG_WAVE_LENGTH_BETA": "1.392246",
    "HW_XG_WAVE_LENGTH_UNIT": "Angstrom",
    "MEAS_COND_XG_CURRENT": "200",
    "MEAS_COND_XG_VOLTAGE": "45",
    "MEAS_COND_XG_WAVE_TYPE": "Ka1",
    "MEAS_SCAN_AXIS_X": "2θ/θ",
    "MEAS_SCAN_AXIS_X_INTERNAL": "TwoThetaTheta",
    "MEAS_SCAN_MODE": "CONTINUOUS",
    "MEAS_SCAN_SPEED": "1.2",
    "MEAS_SCAN_SPEED_UNIT": "deg/min",
    "MEAS_SCAN_STEP": "0.02",
    "MEAS_SCAN_UNIT_X": "deg",
    "MEAS_SCAN_UNIT_Y": "counts",
}
AXES = {"TwoTheta": ("20.0", "deg"), "Omega": ("10.0", "deg"), "Chi": ("0.000", "deg"), "Z": ("1.5", "mm")}


def _lines(one: dict) -> str:
    factors = one.get("factors", np.ones(len(one["counts"])))
    angles = one["start"] + one["step"] * np.arange(len(factors))
    separator = one.get("separator", " ")
    return "".join(
        f"{angle:.4f}{separator}{count:.10g}{separator}{factor:.4f}\r\n"
        for angle, count, factor in zip(angles, one["counts"], factors, strict=True)
    )


def _keys_of(one: dict) -> dict[str, str]:
    return RAS_KEYS | {"MEAS_DATA_COUNT": str(len(one["counts"]))} | one.get("keys", {})


def _axes_of(one: dict) -> dict[str, tuple[str, str]]:
    return (
        AXES
        | {name: (str(one[name.lower()]), "mm") for name in ("X", "Y") if name.lower() in one}
        | one.get("axes", {})
    )


def ras(ranges: Sequence[dict]) -> str:
    """Write the text of one scan, or of many one behind the other; `keys` and `axes` of a range go before these."""
    text = "*RAS_DATA_START\r\n"
    for one in ranges:
        text += "*RAS_HEADER_START\r\n"
        text += "".join(f'*{key} "{value}"\r\n' for key, value in _keys_of(one).items())
        for number, (name, (position, unit)) in enumerate(_axes_of(one).items()):
            said = {"NAME": name, "NAME_INTERNAL": name, "POSITION": position, "UNIT": unit, "STATE": "Fixed"}
            text += "".join(f'*MEAS_COND_AXIS_{key}-{number} "{value}"\r\n' for key, value in said.items())
        text += f"*RAS_HEADER_END\r\n*RAS_INT_START\r\n{_lines(one)}*RAS_INT_END\r\n"
    return f"{text}*RAS_DATA_END\r\n*DSC_DATA_END\r\n"


ELEMENTS = {
    "GeneralInformation": {"SampleName": "FILE_SAMPLE"},
    "HWConfigurations/XrayGenerator": {
        "TargetName": "HW_XG_TARGET_NAME",
        "WaveType": "MEAS_COND_XG_WAVE_TYPE",
        "Current": "MEAS_COND_XG_CURRENT",
        "Voltage": "MEAS_COND_XG_VOLTAGE",
        "WavelengthKbeta": "HW_XG_WAVE_LENGTH_BETA",
        "WavelengthKalpha1": "HW_XG_WAVE_LENGTH_ALPHA1",
        "WavelengthKalpha2": "HW_XG_WAVE_LENGTH_ALPHA2",
    },
    "ScanInformation": {
        "AxisName": "MEAS_SCAN_AXIS_X_INTERNAL",
        "Mode": "MEAS_SCAN_MODE",
        "Step": "MEAS_SCAN_STEP",
        "Speed": "MEAS_SCAN_SPEED",
        "SpeedUnit": "MEAS_SCAN_SPEED_UNIT",
        "PositionUnit": "MEAS_SCAN_UNIT_X",
        "IntensityUnit": "MEAS_SCAN_UNIT_Y",
        "DataCount": "MEAS_DATA_COUNT",
    },
}


def _conditions(one: dict) -> str:
    keys, text = _keys_of(one), ""
    for path, elements in ELEMENTS.items():
        parents = path.split("/")
        inner = "".join(f"<{name}>{keys[key]}</{name}>" for name, key in elements.items() if key in keys)
        text += "".join(f"<{parent}>" for parent in parents) + inner + "".join(f"</{p}>" for p in parents[::-1])
    axes = "".join(
        f'<Axis Name="{name}" Unit="{unit}" Offset="0" Position="{position}" State="Fixed"/>'
        for name, (position, unit) in _axes_of(one).items()
    )
    pairs = "".join(
        f"<Pair><string>*{key}</string><string>{keys[key]}</string></Pair>"
        for key in ("HW_I_MONOCHRO_NAME", "HW_XG_WAVE_LENGTH_UNIT", "MEAS_SCAN_AXIS_X")
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<MeasurementConditions>{text}<Axes>{axes}</Axes>'
        f"<RASHeader>{pairs}</RASHeader></MeasurementConditions>"
    )


def rasx(ranges: Sequence[dict], **members: bytes | str) -> bytes:
    """Write the archive, each scan in a folder of its own; `members` of other names lie beside them."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("root.xml", '<?xml version="1.0"?><Root/>')
        for number, one in enumerate(ranges):
            archive.writestr(f"Data{number}/Profile{number}.txt", "\ufeff" + _lines(one | {"separator": "\t"}))
            archive.writestr(f"Data{number}/MesurementConditions{number}.xml", _conditions(one).encode("utf-8-sig"))
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def rigaku_export(ranges: Sequence[dict], *, coefficient: float = 1.0, unit: str = "counts") -> str:
    """Write the text with the keys of `.ras` and its points, 2θ and intensity, under two lines with a hash."""
    text = ""
    for one in ranges:
        text += "".join(f'*{key} "{value}"\r\n' for key, value in _keys_of(one).items())
        for number, (name, (position, unit_)) in enumerate(_axes_of(one).items()):
            said = {"NAME": name, "NAME_INTERNAL": name, "POSITION": position, "UNIT": unit_}
            text += "".join(f'*MEAS_COND_AXIS_{key}-{number} "{value}"\r\n' for key, value in said.items())
        text += f"#Intensity_unit={unit}\r\n#Attenuator_coefficient={coefficient:.4f}\r\n"
        for k, count in enumerate(one["counts"]):
            text += f"{one['start'] + k * one['step']:.4f} {count:g}\r\n"
        text += "\r\n"
    return text


def asc(ranges: Sequence[dict]) -> str:
    """Write the text of Rigaku's older programs: groups of intensities alone, four a line."""
    text = (
        "*TYPE\t\t=  Raw\n*CLASS\t\t=  ASCII CLASS\n*SAMPLE\t\t=  r001-01\n\n"
        f"*GROUP_COUNT\t=  {len(ranges)}\n*SCAN_AXIS\t=  2theta/theta\n*WAVE_LENGTH1\t=  1.5406\n"
        "*WAVE_LENGTH2\t=  1.54439\n*SPEED_DIM\t=  sec./step\n*XUNIT\t\t=  deg.\n*YUNIT\t\t=  counts\n\n"
    )
    for number, one in enumerate(ranges):
        points, words = len(one["counts"]), [f"{count:g}" for count in one["counts"]]
        text += (
            f"*BEGIN\n*GROUP\t\t=  {number}\n*START\t\t=  {one['start']}\n"
            f"*STOP\t\t=  {one['start'] + (points - 1) * one['step']:.4f}\n*STEP\t\t=  {one['step']}\n"
            f"*SPEED\t\t=  {one.get('seconds', 1.0)}\n*COUNT\t\t=  {points}\n"
        )
        text += "".join(", ".join(words[k : k + 4]) + "\n" for k in range(0, points, 4)) + "*END\n"
    return f"{text}*EOF\n"
