"""People at a dashboard, without browsers: sessions that speak to its server as a browser does, and draw nothing."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

PATIENCE = 120.0  # s that a page is waited for


class Seen(NamedTuple):
    """A page that was drawn whole."""

    page: str
    seconds: float  # since it was asked for, by a click or as something changed
    is_click: bool
    errors: int  # exceptions on it


class Session:
    """One person's tab: it opens pages, and asks every other second whether something changed, as a browser does."""

    def __init__(self, socket: ClientConnection, campaign: str, on_seen: Callable[[Seen], None]) -> None:
        self._socket, self._query, self._on_seen = socket, urlencode({"campaign": campaign}), on_seen
        self._page, self._asked, self._is_click, self._errors = "", 0.0, False, 0
        self._drawn = asyncio.Event()
        self._looks: dict[str, asyncio.Task[None]] = {}  # by what they look at
        self._listener = asyncio.create_task(self._listen())

    async def open(self, page: str) -> None:
        """Click on a page, and wait until it is drawn whole."""
        self._stop_looking(list(self._looks))
        self._page, self._asked, self._is_click, self._errors = page, time.monotonic(), True, 0
        self._drawn.clear()
        await self._draw(ClientState(query_string=self._query, page_name=page))
        drawn = asyncio.create_task(self._drawn.wait())
        await asyncio.wait([drawn, self._listener], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if self._listener.done():
            self._listener.result()  # raises what it ended from
        if not drawn.done():
            raise TimeoutError(f"The page {page or 'campaigns'} was not drawn within {PATIENCE:.0f} s.")

    async def close(self) -> None:
        """Close the tab."""
        self._listener.cancel()
        self._stop_looking(list(self._looks))
        await self._socket.close()

    async def _draw(self, what: ClientState) -> None:
        await self._socket.send(BackMsg(rerun_script=what).SerializeToString())

    async def _listen(self) -> None:
        async for content in self._socket:
            assert isinstance(content, bytes), "all messages are binary"
            message = ForwardMsg.FromString(content)
            kind = message.WhichOneof("type")
            if kind == "new_session" and not message.metadata.run.fragment_ids:
                self._stop_looking(list(self._looks))
            elif kind == "auto_rerun":
                what, every = message.auto_rerun.fragment_id, message.auto_rerun.interval
                self._stop_looking([what])
                self._looks[what] = asyncio.create_task(self._look(what, every))
            elif kind == "stop_auto_rerun":
                self._stop_looking(message.stop_auto_rerun.fragment_ids)
            elif kind == "delta":
                self._errors += message.delta.new_element.WhichOneof("type") == "exception"
            elif kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                self._on_seen(Seen(self._page, time.monotonic() - self._asked, self._is_click, self._errors))
                self._is_click, self._errors = False, 0
                self._drawn.set()

    async def _look(self, what: str, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            if not self._is_click:  # which is still waited for
                self._asked = time.monotonic()  # should it come to another drawing
            part = ClientState(query_string=self._query, page_name=self._page, fragment_id=what, is_auto_rerun=True)
            await self._draw(part)

    def _stop_looking(self, what: Sequence[str]) -> None:
        for one in what:
            if (task := self._looks.pop(one, None)) is not None:
                task.cancel()


async def look_around(
    url: str, *, people: int, campaign: str, pages: Sequence[str], pause: float, until: Callable[[], bool]
) -> list[Seen]:
    """Have people open one page after the other, each beginning with another, and return what they saw.

    Args:
        url: Of the dashboard.
        people: Sessions at once.
        campaign: That all look at.
        pages: That each opens in turn.
        pause: Seconds between two clicks of one of them.
        until: Asked before every click whether it is enough.
    """
    seen: list[Seen] = []

    async def person(number: int) -> None:
        address = f"{url.replace('http', 'ws')}/_stcore/stream"
        async with connect(address, max_size=None, ping_interval=None, subprotocols=["streamlit"]) as socket:  # pyright: ignore[reportArgumentType]
            session, click = Session(socket, campaign, seen.append), number
            while not until():
                await session.open(pages[click % len(pages)])
                click += 1
                await asyncio.sleep(pause)
            await session.close()

    await asyncio.gather(*(person(number) for number in range(people)))
    return seen
