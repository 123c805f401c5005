"""The commands that look after campaigns while nobody watches."""

import os
from pathlib import Path
from typing import Annotated

import typer

from glassmap.flows.cli.commands import Commands
from glassmap.flows.cli.options import AtOnce, Folders
from glassmap.flows.cli.terminal import errors_in_words, say

services = Commands()


@services.command()
def serve(folders: Folders, at_once: AtOnce = 2) -> None:
    """Look after campaigns on their schedules until interrupted; needs a Prefect server, see `glassmap up`.

    Example: `glassmap serve campaigns/co-v-zr campaigns/zr-cu-al`
    """
    from glassmap.agent.errors import CampaignError
    from glassmap.agent.extras import require_extras

    with errors_in_words():
        require_extras("flows", needed_for="`glassmap serve`")
        server = os.environ.get("PREFECT_API_URL")
        if not server:
            raise CampaignError(
                "Serving needs a Prefect server, and PREFECT_API_URL doesn't name one. `glassmap up` starts both."
            )
        from glassmap.flows.services.supervisor import require_server

        require_server(server)
        from glassmap.flows.services.schedules import serve_campaigns

        serve_campaigns(folders, at_once=at_once)


@services.command()
def up(
    folders: Folders,
    home: Annotated[Path, typer.Option(help="The server's database, secret and logs.")] = Path(".glassmap"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the server, on loopback.")] = 4200,
    dashboard_port: Annotated[int, typer.Option(min=1, max=65535, help="Of the dashboard, on loopback.")] = 8501,
    at_once: AtOnce = 2,
) -> None:
    """Start Prefect's server and the dashboard on loopback and serve campaigns; Ctrl-C stops all.

    Example: `glassmap up campaigns/co-v-zr campaigns/zr-cu-al`
    """
    from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
    from glassmap.agent.extras import require_extras

    with errors_in_words():
        require_extras("flows", "dashboard", needed_for="`glassmap up`")
        from glassmap.flows.services.supervisor import run_services

        for folder in folders:
            CampaignConfig.from_toml(folder / FILE_NAME)  # said here and not in a log
        run_services(folders, home=home, port=port, dashboard_port=dashboard_port, at_once=at_once, say=say)


@services.command("serve-api")
def serve_api(
    folders: Folders,
    port: Annotated[int, typer.Option(min=1, max=65535, help="To listen on.")] = 8710,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is all of this computer's.")] = "127.0.0.1",
    token_file: Annotated[Path, typer.Option(help="Holds the token; made where there is none.")] = Path(
        ".glassmap/api-token"
    ),
) -> None:
    """Serve campaigns over HTTP to programs without glassmap: suggest, ingest, status, map. Ctrl-C ends it.

    Example: `glassmap serve-api campaigns/co-v-zr`
    """
    from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
    from glassmap.agent.extras import require_extras

    with errors_in_words():
        require_extras("http", needed_for="`glassmap serve-api`")
        from glassmap.flows.services.http_api import create_app, run_app, token_in

        for folder in folders:
            CampaignConfig.from_toml(folder / FILE_NAME)
        app = create_app(folders, token=token_in(token_file))
        where = f"http://{host}:{port}"
        run_app(
            app,
            host=host,
            port=port,
            once_listening=lambda: say(
                f"Serving on {where}; the token is in {token_file}. Routes: {where}/openapi.json"
            ),
        )
