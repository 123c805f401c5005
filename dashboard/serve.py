"""Start the dashboard's server: Streamlit on loopback, closed to foreign pages and names."""

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from glassmap.agent.errors import CampaignError

HOST = "127.0.0.1"
FOLDERS = "GLASSMAP_CAMPAIGNS"  # environment variable: folders of campaigns, or their parents, as in PATH
APP = Path(__file__).with_name("app.py")
ALLOWED_HOSTS = (HOST, "localhost")  # or a foreign name could be pointed here (DNS rebinding)
SETTINGS = {
    "server.address": HOST,
    "server.headless": "true",
    "server.enableXsrfProtection": "true",
    "server.enableCORS": "true",
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "5",  # MB; only lists of known glass formers are uploaded
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "theme.light.primaryColor": "#0072b2",  # what is chosen is blue: red is for errors alone
    "theme.light.textColor": "#0f0e0d",  # so that captions, which are paler, can be read
    "theme.dark.primaryColor": "#3d8fc4",
}


def command_of(*, port: int) -> list[str]:
    """Return the command that starts the server."""
    settings = [f"--{name}={value}" for name, value in (SETTINGS | {"server.port": str(port)}).items()]
    hosts = [f"--server.allowedHosts={host}" for host in ALLOWED_HOSTS]
    return [sys.executable, "-m", "streamlit", "run", str(APP), *settings, *hosts]


def environment_of(folders: Sequence[Path]) -> dict[str, str]:
    """Return the environment that tells the server of the campaigns."""
    return {FOLDERS: os.pathsep.join(str(folder.resolve()) for folder in folders)}


def serve_dashboard(folders: Sequence[Path], *, port: int) -> None:
    """Become the server; does not return.

    Raises:
        CampaignError: If the port is taken.
    """
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise CampaignError(f"Something answers on {HOST}:{port} already, so give another --port.")
    os.execve(sys.executable, command_of(port=port), os.environ | environment_of(folders))
