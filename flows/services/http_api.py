"""Campaigns over HTTP: ask what to measure, tell what was found, read status and map as JSON; see docs/http.md.

For programs on computers without glassmap or torch: a workflow manager, a beamline's control. What is asked and told
goes to a `Planner`, which this process holds from the first time on; what is read, to `Campaign`.
"""

import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pyarrow.parquet import read_metadata  # pyright: ignore[reportMissingTypeStubs]
from pydantic import BaseModel, ConfigDict, Field

from glassmap import __version__
from glassmap.agent.content_hash import harm_of
from glassmap.agent.errors import (
    CampaignBusy,
    CampaignError,
    CompositionError,
    DatasetError,
    GlassmapError,
    ModelError,
    SpectrumError,
    StoreError,
)
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.status import STOPPED
from glassmap.flows.campaign import Campaign
from glassmap.flows.planner import ID, Planner

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 64 * 2**20  # of a request: some hundred scans
MOST_ROWS = 100_000  # of a map as JSON; larger ones go as Parquet
SOON_S = 1.0  # what takes longer than this is learning, and is asked for again
AGAIN = {"Retry-After": "5"}  # s
MOST = "At most so many; of those who ask while it learns, the first one's number counts."

T = TypeVar("T")
MayBeMore = ConfigDict(extra="allow", populate_by_name=True)


class Alloy(BaseModel):
    """An alloy to measure: its share of each element in at.%, by symbol; process variables; where its sample lies."""

    model_config = MayBeMore
    id: Annotated[str, Field(alias=ID, description="To be said when it is told what was found.")]
    wafer: str | None = None
    sample: str | None = None
    x: Annotated[float | None, Field(description="mm")] = None
    y: Annotated[float | None, Field(description="mm")] = None


class Suggested(BaseModel):
    """What to measure now, or why there is nothing."""

    alloys: list[Alloy]
    state: Annotated[
        Literal["ready", "waiting", "learning", "stopped"],
        Field(
            description="waiting: for what was suggested; learning: ask again soon; stopped: nothing more to measure"
        ),
    ]
    reason: Annotated[str, Field(description="Where the campaign stands, for a person.")]


class Point(BaseModel):
    """A measurement: intensity over q or two_theta; measured shares in at.% and process variables beside, by name."""

    model_config = MayBeMore
    id: Annotated[str | None, Field(alias=ID, description="Of its suggestion; none where nobody asked.")] = None
    intensity: list[float]
    q: Annotated[list[float] | None, Field(description="1/Å")] = None
    two_theta: Annotated[list[float] | None, Field(description="degrees")] = None
    wavelength: Annotated[float | None, Field(description="Å; the campaign's where it isn't said")] = None
    wafer: str | None = None
    sample: str | None = None
    x: Annotated[float | None, Field(description="mm")] = None
    y: Annotated[float | None, Field(description="mm")] = None


class Failure(BaseModel):
    """A suggestion that could not be measured."""

    model_config = ConfigDict(populate_by_name=True)
    id: Annotated[str, Field(alias=ID)]


class Stand(BaseModel):
    """Where a campaign stands: every field of `glassmap status --json`."""

    model_config = MayBeMore
    state: str
    reason: Annotated[str, Field(description="Where it stands, for a person.")]


class Table(BaseModel):
    """A table by columns, which docs/python.md names with their units; null where a number is not known."""

    rows: int
    columns: dict[str, list[Any]]


class _Desk:
    """The one place where a campaign is asked and told: its planner, in a thread of its own, one request at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=folder.name)
        self._planner: Planner | None = None
        self._suggesting: Future[Suggested] | None = None
        self._lock = Lock()

    def suggest(self, number: int) -> Suggested:
        """Suggest alloys; where a round is all in that begins with training, and who asks again gets them."""
        with self._lock:
            if self._suggesting is None:
                self._suggesting = self._thread.submit(self._suggest, number)
            found = self._suggesting
            wait_for([found], timeout=SOON_S)
            if not found.done():
                return Suggested(alloys=[], state="learning", reason=self._reason())
            self._suggesting = None
        return found.result()

    def ask(self, what: Callable[[Planner], T]) -> T:
        """Ask or tell the planner something that takes a moment.

        Raises:
            HTTPException: If it is learning (503).
        """
        with self._lock:
            if (suggesting := self._suggesting) is not None and wait_for([suggesting], timeout=SOON_S).not_done:
                raise HTTPException(503, f"{self.folder.name} is learning. Say it again in a moment.", AGAIN)
            return self._thread.submit(lambda: what(self._open())).result()

    def close(self) -> None:
        """Give the campaign free for others, once what is being learned is learned."""
        self._thread.submit(lambda: self._planner and self._planner.close()).result()
        self._thread.shutdown()

    def _open(self) -> Planner:
        if self._planner is None:
            self._planner = Planner(self.folder)
        return self._planner

    def _reason(self) -> str:
        """Return where the campaign stands, also while it is being opened for the first time."""
        try:
            return Campaign(self.folder).status().reason
        except StoreError:
            return "The campaign is being opened."

    def _suggest(self, number: int) -> Suggested:
        planner = self._open()
        try:
            alloys = [Alloy.model_validate(one) for one in planner.suggest(number)]
            return Suggested(alloys=alloys, state="ready", reason=self._reason())
        except CampaignError as nothing:
            match Campaign(self.folder).status().state:
                case "waiting" | "paused":
                    return Suggested(alloys=[], state="waiting", reason=str(nothing))
                case state if state in STOPPED:
                    return Suggested(alloys=[], state="stopped", reason=str(nothing))
                case _:
                    raise


def create_app(folders: Sequence[Path], *, token: str) -> FastAPI:
    """Return the application that serves some campaigns.

    Args:
        folders: Of the campaigns, each served by its folder's name.
        token: Whoever asks has to say it, as `Authorization: Bearer TOKEN`.

    Raises:
        CampaignError: If two folders have one name.
    """
    desks = {folder.resolve().name: _Desk(folder) for folder in folders}
    if len(desks) < len(folders):
        raise CampaignError("Two of these folders have one name, by which they would be served. Rename one.")

    @asynccontextmanager
    async def closing_all(_: FastAPI) -> AsyncIterator[None]:
        yield
        for desk in desks.values():
            desk.close()

    def check(said: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]) -> None:
        if said is None or not secrets.compare_digest(said.credentials.encode(), token.encode()):
            how = "Say the header `Authorization: Bearer TOKEN` with the token that `glassmap serve-api` names."
            raise HTTPException(401, how, {"WWW-Authenticate": "Bearer"})

    app = FastAPI(title="glassmap", version=__version__, lifespan=closing_all, docs_url=None, redoc_url=None)
    app.state.desks = desks
    app.add_exception_handler(GlassmapError, _refuse)
    app.middleware("http")(_refuse_large)
    app.include_router(_routes(desks), dependencies=[Depends(check)])
    return app


def run_app(app: FastAPI, *, host: str, port: int, once_listening: Callable[[], None]) -> None:
    """Serve an application until Ctrl-C.

    Args:
        app: The application.
        host: Address to listen on.
        port: To listen on.
        once_listening: Called before the first request is answered.

    Raises:
        CampaignError: If nobody can listen there.
    """
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise CampaignError(
            f"Nobody can listen on {host}, port {port}: {error.strerror}. Is it served already? `--port` takes another."
        ) from error
    with listening, suppress(KeyboardInterrupt):  # which ends it as it should
        once_listening()
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


def token_in(path: Path) -> str:
    """Return the token that a file holds; where there is none, one is made that its owner alone can read.

    Raises:
        CampaignError: If the file is empty.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if not (token := path.read_text().strip()):
            raise CampaignError(f"{path} holds no token. Write one into it, or remove it: one is made.") from None
        return token
    with os.fdopen(descriptor, "w") as file:
        file.write(token := secrets.token_urlsafe())
    return token


async def _refuse_large(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse what would fill the memory before any of it is read; nobody has said the token by then."""
    length = request.headers.get("content-length", "0")
    if "transfer-encoding" in request.headers or not length.isdigit():
        return JSONResponse({"detail": "Say how long it is, as Content-Length."}, 411)
    if int(length) > MOST_BYTES:
        told = f"A request may hold {MOST_BYTES:,} bytes, got {int(length):,}. Tell fewer points at a time."
        return JSONResponse({"detail": told}, 413)
    return await answer(request)


def _desk_of(name: str, request: Request) -> _Desk:
    desks: dict[str, _Desk] = request.app.state.desks
    if name not in desks:
        raise HTTPException(404, f"No campaign is called {name!r} here; there are {', '.join(desks)}.")
    return desks[name]


def _campaign_of(desk: Annotated[_Desk, Depends(_desk_of)]) -> Campaign:
    return Campaign(desk.folder)


Asked = Annotated[_Desk, Depends(_desk_of)]
Read = Annotated[Campaign, Depends(_campaign_of)]


def _routes(desks: dict[str, _Desk]) -> APIRouter:
    routes = APIRouter(prefix="/campaigns")

    @routes.get("")
    def campaigns() -> list[str]:
        """Names of the campaigns that are served."""
        return list(desks)

    @routes.post("/{name}/suggest")
    def suggest(desk: Asked, n: Annotated[int, Query(ge=1, description=MOST)] = 1) -> Suggested:
        """The next alloys to measure. Where a round is all in, the first to ask has it learned from."""
        return desk.suggest(n)

    @routes.get("/{name}/suggested")
    def suggested(desk: Asked) -> list[Alloy]:
        """What was suggested since the server began and is neither measured nor failed, for who lost an answer."""
        return desk.ask(lambda planner: [Alloy.model_validate(one) for one in planner.suggested()])

    @routes.post("/{name}/ingest")
    def ingest(desk: Asked, points: list[Point]) -> Stand:
        """Tell what was measured: all points are taken or none."""
        desk.ask(lambda planner: planner.ingest([one.model_dump(by_alias=True, exclude_none=True) for one in points]))
        return _stand(Campaign(desk.folder))

    @routes.post("/{name}/failures")
    def failures(desk: Asked, failed: list[Failure]) -> Stand:
        """Tell which suggestions could not be measured; `glassmap retry` asks for them again."""
        desk.ask(lambda planner: planner.register_failures([one.model_dump(by_alias=True) for one in failed]))
        return _stand(Campaign(desk.folder))

    @routes.get("/{name}/enough")
    def enough(desk: Asked) -> list[dict[str, Any]]:
        """What measuring the rest of each wafer would bring, and which of its points first."""
        return desk.ask(lambda planner: planner.enough())

    @routes.get("/{name}/status")
    def status(campaign: Read) -> Stand:
        """Where it stands."""
        return _stand(campaign)

    @routes.get("/{name}/curve")
    def curve(campaign: Read) -> Table:
        """The learning curve, a row for each round."""
        return _table(campaign.curve())

    @routes.get("/{name}/measurements")
    def measurements(campaign: Read) -> Table:
        """Every measurement, without its spectrum."""
        return _table(campaign.measurements())

    @routes.get("/{name}/candidates")
    def candidates(campaign: Read) -> Table:
        """Where one would bet on a glass, a row a place."""
        return _table(campaign.candidates())

    @routes.get("/{name}/predict")
    def predict(campaign: Read, alloy: Annotated[list[str], Query(description="Such as Co40V32Zr28.")]) -> Table:
        """First peak and P(glass) of alloys by the last model, each with its ±."""
        return _table(campaign.predict(alloy))

    @routes.get("/{name}/map")
    def map_(campaign: Read) -> Table:
        """The last map, a row for each alloy; of more than 100,000 alloys ask for `map.parquet`."""
        if (alloys := read_metadata(_map_file(campaign.folder)).num_rows) > MOST_ROWS:
            raise HTTPException(
                413, f"The map has {alloys:,} alloys, of which JSON takes {MOST_ROWS:,}: ask for map.parquet."
            )
        return _table(campaign.map())

    @routes.get("/{name}/map.parquet", response_class=FileResponse)
    def map_file(campaign: Read) -> FileResponse:
        """The last map as the file that it is."""
        return FileResponse(_map_file(campaign.folder), media_type="application/vnd.apache.parquet")

    return routes


def _map_file(folder: Path) -> Path:
    with CampaignStore.read_only(folder) as store:
        if (found := store.artefact("map")) is None:
            raise ModelError(f"{folder.name} has no map yet; the first comes with the first round.")
    if harm := harm_of(found[1]):
        raise ModelError(f"{found[1].name} {harm}. `glassmap map` makes it again.")
    return found[1]


def _stand(campaign: Campaign) -> Stand:
    return Stand.model_validate(campaign.status().to_json() | {"folder": campaign.folder.name})


def _table(found: "pd.DataFrame") -> Table:
    """Return a table in JSON types."""
    columns = {name: found[name].astype(object).where(found[name].notna(), None).tolist() for name in found}
    return Table(rows=len(found), columns=columns)


def _refuse(request: Request, error: Exception) -> JSONResponse:
    """Answer what glassmap refuses in its words: 503 where it is busy, 422 where what was sent is wrong, else 409."""
    if isinstance(error, CampaignBusy):
        return JSONResponse({"detail": str(error)}, 503, AGAIN)
    is_wrong = isinstance(error, CompositionError | SpectrumError | DatasetError)
    return JSONResponse({"detail": str(error)}, 422 if is_wrong else 409)
