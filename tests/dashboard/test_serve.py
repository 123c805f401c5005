"""The server: on loopback, closed to foreign pages and names."""

import asyncio
from pathlib import Path

import pytest

from glassmap.agent.errors import CampaignError
from glassmap.dashboard.serve import serve_dashboard


def test_a_port_that_is_taken_is_said(server: str, campaigns: Path):
    with pytest.raises(CampaignError, match="give another --port"):
        serve_dashboard([campaigns], port=int(server.rsplit(":", 1)[1]))


@pytest.mark.parametrize(
    ("host", "origin", "is_let_in"),
    [
        (None, None, True),
        ("evil.example", "http://evil.example", False),
        (None, "http://evil.example", False),
    ],
)
def test_foreign_pages_and_names_are_refused(server: str, host: str | None, origin: str | None, is_let_in: bool):
    address, port = server.removeprefix("http://").split(":")
    own = f"{address}:{port}"

    async def answer() -> str:
        reader, writer = await asyncio.open_connection(address, int(port))
        lines = [
            "GET /_stcore/stream HTTP/1.1",
            f"Host: {host or own}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            f"Origin: {origin or server}",
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()
        line = (await reader.readline()).decode()
        writer.close()
        return line

    assert ("101" in asyncio.run(answer())) == is_let_in
