"""The page for laboratories begins with wafers, and what it says there can be done as it stands."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from glassmap.agent.config.campaign import FILE_NAME
from tests.support.command_line import does
from tests.support.three_wafers import deliver, write_table

PAGE = (Path(__file__).parents[4] / "docs" / "lab.md").read_text()


def test_the_commands_go_from_an_edx_table_to_a_stage_list_and_to_the_first_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    part = PAGE.split("\n## ")[1]
    assert part.startswith("From wafers")
    settings = re.findall(r"```toml\n(.*?)```", part, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "edx.csv")
    folder = Path("campaigns/wafers")
    done = list[str]()
    for line in re.findall(r"^ {4}(\S.*)$", part, re.MULTILINE):
        words = shlex.split(line)
        if words[0] == "cp":
            shutil.copy(words[1], folder)
            continue
        done.append(words[1])
        if done == ["init", "run", "orders", "run"]:
            assert deliver(folder, {}, spared=1)
        told = does(words[1], Path(words[2]), *words[3:])
        if words[1] == "init":
            (folder / FILE_NAME).write_text((folder / FILE_NAME).read_text() + "\n" + settings)
            for key, value in {
                "members": "2",
                "steps": "20",
                "batch": "8",
                "quiet_seconds": "0.0",
                "step_at_pct": "5",
            }.items():
                text = (folder / FILE_NAME).read_text()
                (folder / FILE_NAME).write_text(re.sub(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE))
        if words[1] == "orders":
            assert (folder / "orders" / "round-001-stage.csv").read_text().startswith("sample,x,y,wafer\n")
            assert re.search(r"r001-01\W+W\d \d+", told), "which point of which wafer"
    assert done == ["init", "run", "orders", "run", "status", "map"]
    assert "Waiting for 8 of 8 measurements of round 2" in does("status", folder).replace("\n", " ")
    assert [*(folder / "pictures").glob("*map*")] or [*(folder / "maps").iterdir()]
