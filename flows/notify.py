"""Tell people of what they should know without looking: a campaign waits for them, has stopped, has failed.

A change of state is a row in the store first and told afterwards, from a thread of its own, so that neither a server
that is down nor a kill loses it, and the loop waits for nobody. What is told may come twice, but it comes.
"""

import fcntl
import json
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from glassmap.agent.config.services import NotifyConfig
from glassmap.agent.errors import GlassmapError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import DRIVER
from glassmap.agent.store.status import say_status

TRIES = 10  # of one notice; some now, the rest each time that the campaign is looked after
TRIES_NOW = 3
PAUSE_SECONDS = 2.0  # before the second try; twice as long before the third
TIMEOUT_SECONDS = 10.0
SILENT = ("running", "paused")  # states that need nobody, or that a person brought about


def announce(store: CampaignStore, name: str, settings: NotifyConfig) -> threading.Thread | None:
    """Record a change of state, and begin to tell all that is yet to be told.

    Args:
        store: Of the campaign, open to write.
        name: Of the campaign.
        settings: Who is told.

    Returns:
        The thread that tells, where there is something to tell.
    """
    if settings.url is None and settings.command is None:
        return None
    status = store.status()
    enough = [one.wafer for one in status.wafers if one.spares_some]
    about = [status.state, status.round, status.waiting_for, status.error, status.to_look_at]
    key = json.dumps([*about, enough] if enough else about)
    content = {"campaign": name, **status.to_json(), "folder": str(store.folder.absolute())}
    content["text"] = f"{name}: {say_status(status)}"  # what a chat's webhook shows
    if status.state not in SILENT:
        with store.transaction():
            store.record_notice(key, content)
    if not store.pending_notices(tries=TRIES):
        return None
    teller = threading.Thread(target=tell_pending, args=(store.folder, settings), name=f"notices of {name}")
    teller.start()
    return teller


def tell_pending(folder: Path, settings: NotifyConfig) -> None:
    """Tell all that is yet to be told, oldest first; what can't be told now is tried again the next time.

    Also where the store can't take it, as the disk is full, say: who works with the campaign says that.
    """
    with (
        suppress(GlassmapError, OSError),
        (folder / "notices.lock").open("w") as lock,
        CampaignStore.amend(folder, person=DRIVER) as store,
    ):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another thread or process tells them
            return
        for number, content in store.pending_notices(tries=TRIES):
            if error := _tell(content, settings):
                store.end_notice(number, error=error)
                return  # the next is for the same, and would come before
            store.end_notice(number)


def _tell(content: Mapping[str, Any], settings: NotifyConfig) -> str:
    """Tell all who are to be told; returns why one could not be."""
    error = ""
    for number in range(TRIES_NOW):
        time.sleep(PAUSE_SECONDS * (2**number - 1))
        error = _post(content, settings.url) or _start(content, settings.command)
        if not error:
            break
    return error


def _post(content: Mapping[str, Any], url: str | None) -> str:
    """Send to a webhook; returns why it could not be, with its host alone: the rest of an address may be secret."""
    if url is None:
        return ""
    host: str | None = None
    try:
        host = urlsplit(url).hostname
        answer = httpx.post(url, json=content, timeout=TIMEOUT_SECONDS)
        problem = "" if answer.is_success else f"answered {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        problem = f"can't be reached ({type(error).__name__})"
    return problem and f"the webhook at {host} {problem}"


def _start(content: Mapping[str, Any], command: str | None) -> str:
    """Give to a command; returns why it could not be, with its name alone: what it is given may be secret."""
    if command is None:
        return ""
    name = Path(command.strip().partition(" ")[0]).name
    try:
        words = shlex.split(command)
        subprocess.run(words, input=json.dumps(content), text=True, capture_output=True, timeout=60, check=True)
    except subprocess.CalledProcessError as error:
        return f"the command {name} ended with exit code {error.returncode}"
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        return f"the command {name} could not be run ({type(error).__name__})"
    return ""
