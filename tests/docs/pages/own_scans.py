"""A folder as a laboratory's, with what is wrong in it: made by the script that the page names, with fewer points."""

from pathlib import Path

from tests.docs import places
from tests.docs.blocks import Page, Reader

IMPORT = "glassmap import mine/scans --compositions mine/edx.csv -o mine.nc"


def prepare(folder: Path) -> None:
    places.example("made_up_scans").make(folder / "mine", step=20.0)


def check(reader: Reader) -> None:
    refused = [" ".join(printed.output.split()) for printed in reader.printed if printed.command.startswith(IMPORT)]
    assert "units are never guessed" in refused[0]
    assert "W1-03.xy: Line" in refused[1] and "no scan of W1-03, W1-06; edx.csv has no row of align" in refused[2]
    assert "To look at: W2-05: A sharp line at 3.07" in refused[3] and "scans climb as behind a beam stop" in refused[3]


PAGE = Page(
    prepare,
    exits={
        f"{IMPORT} --axis two_theta --wavelength 1.5406 --skip": 0,
        IMPORT: 3,
        "glassmap retract campaigns/mine r004-08": 3,  # of fewer points there is no fourth round
    },
    check=check,
)
