"""Settings are read by every command, so they load nothing slow: no torch, no xarray, no matplotlib."""

import subprocess
import sys
from pathlib import Path

import pytest

SLOW = ("torch", "xarray", "matplotlib", "scipy", "pandas", "pybaselines", "sklearn", "prefect", "distributed")
READ = f"""
import sys
from pathlib import Path
from glassmap.agent.config.campaign import CampaignConfig
for path in sys.argv[1:]:
    print(CampaignConfig.from_toml(Path(path)).backend.kind)
print(*(name for name in {SLOW!r} if name in sys.modules))
"""
CAMPAIGNS = {
    "replay": 'space.elements = ["Co", "V"]\nbackend.dataset = "x.nc"\n',
    "simulation": 'space.elements = ["Co", "V"]\nbackend = {kind = "simulation", potential = "zhou"}\n',
    "lab": 'space.elements = ["Co", "V"]\nspectrum = {low = 1.5, high = 4.5, points = 96}\n'
    'backend = {kind = "lab", columns = "q"}\nplanning.method = "farthest"\n',
}


@pytest.mark.parametrize("kinds", [[], *([kind] for kind in CAMPAIGNS)], ids=str)
def test_reading_a_campaign_file_loads_nothing_slow(kinds: list[str], tmp_path: Path):
    for kind in kinds:
        (tmp_path / kind).write_text(CAMPAIGNS[kind])
    command = [sys.executable, "-c", READ, *(str(tmp_path / kind) for kind in kinds)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [*kinds, ""]
