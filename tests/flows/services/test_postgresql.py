"""Campaigns side by side on one Prefect server that keeps its records in PostgreSQL."""

import asyncio
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance
from tests.support.campaigns import fingerprint, rows, write_campaign
from tests.support.services import Services, free_port, running, state_of, wait_until

CAMPAIGNS = 3


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The address of a throwaway database on loopback, with a password of its own."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not programs:
        pytest.skip("needs PostgreSQL in /usr/lib/postgresql; install Debian's package `postgresql`")
    user: dict[str, Any] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to be run by root
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    with tempfile.TemporaryDirectory(prefix="glassmap-postgresql-") as name:  # pytest's folders are root's alone
        folder, password, port = Path(name), secrets.token_urlsafe(16), free_port()
        (folder / "password").write_text(password)
        if user:
            shutil.chown(folder, "postgres")
            shutil.chown(folder / "password", "postgres")

        def call(program: str, *arguments: str) -> None:
            command = [programs[-1].with_name(program), "-D", folder / "data", *arguments]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, **user)

        call("initdb", "-U", "glassmap", "-A", "scram-sha-256", "--pwfile", "password", "-E", "UTF8", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        call("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", options)
        try:
            yield f"postgresql+asyncpg://glassmap:{password}@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "stop", "-m", "fast")


async def completed(address: str) -> int:
    """How many runs of `advance` a Prefect database knows that came to their end."""
    connection = await asyncpg.connect(address.replace("+asyncpg", ""))
    try:
        statement = "SELECT count(*) FROM flow_run JOIN flow ON flow.id = flow_id WHERE flow.name = 'advance' AND "
        return await connection.fetchval(statement + "state_type = 'COMPLETED'")
    finally:
        await connection.close()


def test_campaigns_reach_their_stop_side_by_side(tmp_path: Path, small_dataset: Path, postgresql: str):
    served, plain = ([tmp_path / kind / f"c{seed}" for seed in range(CAMPAIGNS)] for kind in ("served", "plain"))
    for seed in range(CAMPAIGNS):
        for folder in (served[seed], plain[seed]):
            changes = {"name": folder.name, "seed": seed, "stop": {"max_rounds": 2}}
            write_campaign(folder, small_dataset, **changes)
        with open_campaign(plain[seed]) as campaign:
            advance(campaign)
    settings = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": postgresql}
    services = Services(tmp_path / "home", *served, options=["--at-once", str(CAMPAIGNS)], settings=settings)
    with running(services):
        wait_until(lambda: all(state_of(folder) == "exhausted" for folder in served), seconds=240)
        wait_until(lambda: asyncio.run(completed(postgresql)) == CAMPAIGNS, seconds=60)
    assert [fingerprint(folder) for folder in served] == [fingerprint(folder) for folder in plain]
    assert all(rows(folder, "SELECT DISTINCT attempts FROM stages") == [(1,)] for folder in served)
    assert not list(services.home.glob("*.db")), "Prefect keeps nothing beside"
    logs = "".join(file.read_text() for file in services.home.glob("*.log"))
    assert "locked" not in logs
    assert postgresql.split(":")[2].split("@")[0] not in logs, "the password is in no log"
