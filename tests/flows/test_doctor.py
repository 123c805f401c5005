"""What `glassmap doctor` finds on a computer that lacks something, and that it says how to mend it."""

import errno
import os
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from glassmap.agent.config.campaign import FILE_NAME
from glassmap.agent.errors import SimulationError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows import doctor
from glassmap.flows.cli.exit_codes import ExitCode
from glassmap.flows.doctor import Finding, examine
from tests.support.command_line import glassmap, told
from tests.support.lab_campaigns import edit, write_campaign

NEEDED = ("numpy>=2.0", "torch>=2.6", 'no-such-package>=1; extra == "flows"', 'numpy>=2; extra == "dask"')


@pytest.fixture(autouse=True)
def _as_installed(monkeypatch: pytest.MonkeyPatch):
    """An installation of this version, whatever that of the developer was made from."""
    version = metadata.version
    own = {"glassmap": doctor.glassmap.__version__}
    monkeypatch.setattr(metadata, "version", lambda name: own.get(name) or version(name))
    monkeypatch.setattr(metadata, "requires", lambda _: NEEDED)
    monkeypatch.setattr(doctor, "find_lammps", lambda: SimpleNamespace(command=("/bin/lmp",)))
    monkeypatch.setattr(doctor, "lammps_version", lambda _: "22 Jul 2025")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def found(name: str, findings: Iterable[Finding]) -> Finding:
    return next(one for one in findings if one.name.endswith(name))


def test_a_sound_computer_and_a_folder_for_a_campaign_have_no_fault(tmp_path: Path):
    records = told("doctor", tmp_path / "new")
    assert {one["state"] for one in records} <= {"ok", "warning"} and list(records[0]) == [*Finding._fields]
    names = {one["name"].removeprefix(f"{tmp_path / 'new'}: ") for one in records}
    assert {"Python", "glassmap", "packages", "torch", "device", "LAMMPS", "MPI", "clock", "disk", "writable"} <= names
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


def test_a_fault_ends_with_6_and_says_what_to_do(tmp_path: Path):
    (tmp_path / FILE_NAME).write_text("[space]\nelement = 3\n")
    done = glassmap("doctor", tmp_path)
    assert done.exit_code == ExitCode.HARM and "1 fault." in done.output
    assert "`glassmap run` refuses it" in done.output and "space.element" in done.output


def test_a_campaign_is_looked_at_as_far_as_it_goes(tmp_path: Path):
    lab = write_campaign(tmp_path / "lab")
    assert found("campaign file", examine([lab])).state == "ok"
    assert not [one for one in examine([lab]) if one.name.endswith("store")]
    glassmap("run", lab)
    assert found("store", examine([lab])).state == found("campaign file", examine([lab])).state == "ok"
    edit(lab, "seed = 0", "seed = 1")
    assert "Changed since the campaign began: seed" in found("campaign file", examine([lab])).remedy
    with CampaignStore.open(lab) as store, store.transaction():
        store._db.execute("UPDATE log SET time = '2999-01-01T00:00:00.000+00:00'")
    assert found("store", examine([lab])) == Finding(
        f"{lab}: store",
        "warning",
        "Its last entry is of 2999-01-01T00:00:00.000+00:00, which is yet to come",
        "Set this computer's clock.",
    )
    (lab / "campaign.db").write_bytes(b"no database" * 100)
    assert found("store", examine([lab])).state == "fault"


def test_packages_that_are_missing_or_others_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch):
    assert found("extra flows", examine([])).found == "Not installed: no-such-package>=1"
    assert found("extra flows", examine([])).state == "ok", "it is optional"
    monkeypatch.setattr(metadata, "requires", lambda _: ("numpy>=2.0", "no-such-package>=1", "xarray<1"))
    lacking = found("packages", examine([]))
    assert lacking.state == "fault" and lacking.remedy == "`pip install 'no-such-package>=1'`"
    monkeypatch.setattr(metadata, "requires", lambda _: ("numpy>=2.0", "xarray<1"))
    assert found("packages", examine([])).remedy == "`pip install 'xarray<1'`"
    monkeypatch.setattr(metadata, "version", lambda _: "0.1")
    assert found("glassmap", examine([])).state == "warning", "its source is newer than its installation"


def test_every_extra_that_all_brings_is_looked_for():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - {"all", "dev", "docs"}


def test_versions_are_held_against_those_that_are_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "CONSTRAINTS", tmp_path / "constraints.txt")
    assert found("packages", examine([])).found == "All 2 that are needed"
    (tmp_path / "constraints.txt").write_text("numpy==1.0\n")
    assert "numpy" in (said := found("packages", examine([])).found) and "(1.0)" in said and "torch" not in said


@pytest.mark.parametrize(
    ("cuda", "driver", "state", "words"),
    [
        (None, None, "ok", "there is no NVIDIA driver"),
        (None, "570.1", "warning", "built for CPUs"),
        ("12.8", "450.2", "warning", "Update the driver"),
    ],
)
def test_why_a_gpu_is_not_used_is_said(
    cuda: str | None, driver: str | None, state: str, words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "_driver", lambda: driver)
    device = found("device", examine([]))
    assert device.state == state and words in f"{device.found} {device.remedy}"


def test_a_gpu_is_named_with_its_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * doctor.GIB, 4 * doctor.GIB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    assert "cuda:0, a card, 3.0 of 4.0 GiB free" in found("device", examine([])).found


def test_what_simulations_lack_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "lammps_version", lambda _: "unknown")
    assert found("LAMMPS", examine([])).state == "fault", "it is there and doesn't start"

    def none() -> None:
        raise SimulationError("none")

    monkeypatch.setattr(doctor, "find_lammps", none)
    assert found("LAMMPS", examine([])).state == "ok" and "glassmap[simulation]" in found("LAMMPS", examine([])).remedy


def test_a_server_that_does_not_answer_is_a_fault(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert found("server", examine([])).state == "fault"


def test_a_folder_on_a_full_or_foreign_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=5e7))
    monkeypatch.setattr(doctor, "_file_system", lambda _: "nfs4")
    monkeypatch.setattr(doctor, "_can_lock", lambda _: False)
    now = doctor.time.time
    monkeypatch.setattr(doctor.time, "time", lambda: now() - 60)
    states = {one.name.rpartition(": ")[2]: one for one in examine([tmp_path])}
    assert (states["disk"].state, states["file system"].state, states["locks"].state) == ("fault", "warning", "fault")
    clocks = [one for one in examine([tmp_path]) if one.name == f"{tmp_path}: clock"]
    assert [one.found for one in clocks] == ["60 s ahead of this computer's"]


def test_a_folder_that_may_not_be_written_to_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", refuse)
    assert found("writable", examine([tmp_path])).found == f"{tmp_path}: {os.strerror(errno.EROFS)}"


def test_the_file_system_of_a_folder_is_found():
    assert doctor._file_system(Path("/proc/self")) == "proc"
