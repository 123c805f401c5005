"""The commands by which people steer a campaign; each opens the store, calls one function and prints."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glassmap.flows.cli.commands import Commands
from glassmap.flows.cli.exit_codes import ExitCode, code_of
from glassmap.flows.cli.options import Folder, Json
from glassmap.flows.cli.terminal import (
    errors_in_words,
    print_json,
    print_ledger,
    print_log,
    print_suggestion_statuses,
    say,
)

if TYPE_CHECKING:
    from glassmap.agent.store.campaign_store import CampaignStore

people = Commands()
command = partial(people.command, rich_help_panel="People and laboratories")
deciding = partial(command, ends=(ExitCode.BUSY,))

Samples = Annotated[
    list[str], typer.Argument(help="Such as r003-07, as `glassmap orders` lists them; or wafers, such as W3.")
]
Measurements = Annotated[list[str], typer.Argument(help="Such as r003-07 or u0001; `glassmap ledger` lists them.")]
Reason = Annotated[str, typer.Option(help="Why, for the log.")]


@contextmanager
def _amending(folder: Path) -> Iterator["CampaignStore"]:
    from glassmap.agent.store.campaign_store import CampaignStore
    from glassmap.flows.actions import current_user

    with errors_in_words(), CampaignStore.amend(folder, person=current_user()) as store:
        yield store


@command()
def orders(
    folder: Folder,
    round_: Annotated[int | None, typer.Option("--round", help="Of this round; the last by default.")] = None,
    as_json: Json = False,
) -> None:
    """List a round's batch: what was asked for, and what became of each alloy.

    Example: `glassmap orders campaigns/lab`
    """
    from glassmap.agent.store.campaign_store import CampaignStore

    with errors_in_words(), CampaignStore.read_only(folder) as store:
        asked = store.suggestions()
        statuses = store.suggestion_statuses(round_ or (asked[-1].round if asked else 0))
        print_suggestion_statuses(statuses, {m.id: m for m in store.measurements()}, store.elements)
        for one in store.recipes(statuses[0].suggestion.round) if statuses else ():
            say(f"{one.name} is made with {one.say()}.")
        for one in store.requests:
            if one.round is None:
                say(f"In the next batch: {one.named(store.elements)}, {one.why}.")
        print_json(as_json, [one._asdict() | {"suggestion": one.suggestion._asdict()} for one in statuses])


@deciding()
def request(
    folder: Folder,
    names: Annotated[list[str], typer.Argument(help="Alloys such as Co40V32Zr28, in at.%, or samples such as W3-17.")],
    wafer: Annotated[str, typer.Option(help="That the samples lie on.")] = "",
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take back what was requested.")] = False,
    reason: Reason = "",
) -> None:
    """Have alloys measured with the next batch, before those that the planning rule chooses.

    Example: `glassmap request campaigns/lab Co40V32Zr28 --reason "the best candidate"`
    """
    from glassmap.flows import requests

    with _amending(folder) as store:
        ask = requests.withdraw if withdraw else requests.request
        say(ask(store, names, reason, wafer=wafer))


@deciding()
def approve(folder: Folder) -> None:
    """Let the planned batch be measured, where the campaign file says `approval = "required"`.

    Example: `glassmap approve campaigns/lab`
    """
    from glassmap.flows.actions import approve

    with _amending(folder) as store:
        say(approve(store))


@deciding()
def reject(folder: Folder, samples: Samples, reason: Reason) -> None:
    """Take alloys, or what is waited for of a wafer, off the batch for good, and plan others in their place at once.

    Example: `glassmap reject campaigns/lab r003-07 r003-11 --reason "too brittle"`
    """
    from glassmap.flows.actions import current_user, reject
    from glassmap.flows.rounds.campaign import open_campaign

    with errors_in_words(), open_campaign(folder, person=current_user()) as campaign:
        say(reject(campaign, samples, reason))


@deciding()
def abandon(folder: Folder, samples: Samples, reason: Reason) -> None:
    """Wait for alloys no longer; `glassmap retry` waits for them again. Of a wafer: it failed, and another is planned.

    Example: `glassmap abandon campaigns/lab r003-07 --reason "the wafer broke"`
    """
    from glassmap.agent.store.campaign_store import CampaignStore
    from glassmap.flows.actions import abandon, current_user, give_up_wafer, split_wafers

    with errors_in_words():
        with CampaignStore.read_only(folder) as store:
            wafers, others = split_wafers(store, samples)
        if wafers:
            from glassmap.flows.rounds.campaign import open_campaign

            with open_campaign(folder, person=current_user()) as campaign:
                for wafer in wafers:
                    say(give_up_wafer(campaign, wafer, "failed", reason))
        if others:
            with _amending(folder) as store:
                say(abandon(store, others, reason))


@deciding()
def retry(folder: Folder, samples: Samples, reason: Reason = "") -> None:
    """Have alloys measured again that failed, were abandoned, or whose measurement was retracted.

    Example: `glassmap retry campaigns/lab r003-07 --reason "the tube is replaced"`
    """
    from glassmap.flows.actions import retry

    with _amending(folder) as store:
        say(retry(store, samples, reason))


@deciding()
def retract(folder: Folder, measurements: Measurements, reason: Reason) -> None:
    """Keep measurements but learn from them no more.

    Example: `glassmap retract campaigns/lab r002-03 --reason "wrong wafer"`
    """
    from glassmap.flows.actions import retract

    with _amending(folder) as store:
        say(retract(store, measurements, reason))


@deciding()
def accept(folder: Folder, measurements: Measurements, reason: Reason = "") -> None:
    """Use measurements that were flagged, or retracted by mistake.

    Example: `glassmap accept campaigns/lab r002-05 --reason "measured again, the same"`
    """
    from glassmap.flows.actions import accept

    with _amending(folder) as store:
        say(accept(store, measurements, reason))


@deciding("go-on")
def go_on(folder: Folder, reason: Reason = "") -> None:
    """Have the round go on without what is still missing.

    Example: `glassmap go-on campaigns/lab --reason "the furnace is down till Monday"`
    """
    from glassmap.flows.actions import go_on

    with _amending(folder) as store:
        say(go_on(store, reason))


@deciding()
def pause(folder: Folder, reason: Reason) -> None:
    """Have a campaign stop before its next stage.

    Example: `glassmap pause campaigns/lab --reason "the beam is off"`
    """
    from glassmap.flows.actions import pause

    with _amending(folder) as store:
        say(pause(store, reason))


@deciding()
def resume(folder: Folder) -> None:
    """Have a paused campaign go on.

    Example: `glassmap resume campaigns/lab`
    """
    from glassmap.flows.actions import resume

    with _amending(folder) as store:
        say(resume(store))


@deciding()
def note(
    folder: Folder,
    text: Annotated[str, typer.Argument(help="The remark, in quotation marks.")],
    alloy: Annotated[str | None, typer.Option(help="That it is about, such as Co40V32Zr28, in at.%.")] = None,
    round_: Annotated[int | None, typer.Option("--round", help="That it is about.")] = None,
    measurement: Annotated[
        str | None, typer.Option(help="That it is about, or an alloy that was asked for, such as r003-07.")
    ] = None,
) -> None:
    """Note something on the campaign, or on an alloy, a round or a measurement; status, dashboard and report show it.

    Example: `glassmap note campaigns/lab "cracked at the rim" --measurement r003-07`
    """
    from glassmap.flows.actions import note

    with _amending(folder) as store:
        say(note(store, text, alloy=alloy, round_=round_, measurement=measurement))


@deciding()
def extend(
    folder: Folder,
    rounds: Annotated[int | None, typer.Option(min=1, help="More than judged, whatever the stop rule says.")] = None,
    spectra: Annotated[int | None, typer.Option(min=1, help="More than used now, or than the file's limit.")] = None,
    hours: Annotated[float | None, typer.Option(min=0.001, help="More, from now or from the limit.")] = None,
    cpu_hours: Annotated[float | None, typer.Option(min=0.001, help="More, of simulation.")] = None,
    reason: Reason = "",
) -> None:
    """Give a campaign more of its budget; repeated after a kill, it gives no more than once.

    Example: `glassmap extend campaigns/lab --rounds 3`
    """
    from glassmap.flows.actions import extend

    with _amending(folder) as store:
        say(extend(store, reason, rounds=rounds, spectra=spectra, hours=hours, cpu_hours=cpu_hours))


@deciding()
def change(
    folder: Folder,
    settings: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE...", help="Such as planning.batch=10; NAME= takes a setting out.")
    ],
    reason: Reason = "",
) -> None:
    """Change settings while the campaign runs, in its file and in the log; comments stay.

    Batch, planning rule, bounds, step, hold-out share and costs count from the next plan on, stop rule and budgets from
    the next stage. What would falsify what was found before is refused; so is what is wrong.

    Example: `glassmap change campaigns/lab planning.batch=10 'space.bounds_at_pct.V=[5, 60]' --reason "short beamtime"`
    """
    from glassmap.flows.actions import current_user
    from glassmap.flows.change import change

    with errors_in_words():
        say(change(folder, settings, reason, person=current_user()))


@command(ends=(ExitCode.WAITS, ExitCode.BUSY))
def ingest(folder: Folder, files: Annotated[list[Path], typer.Argument(help="Scans and composition tables.")]) -> None:
    """Take in files by hand, wherever they lie and however new they are.

    Example: `glassmap ingest campaigns/lab r003-07.xrdml edx.csv`
    """
    from glassmap.flows.actions import current_user
    from glassmap.flows.rounds.campaign import open_campaign
    from glassmap.flows.rounds.measure import receive

    with errors_in_words(), open_campaign(folder, person=current_user()) as campaign:
        for text in receive(campaign, files=files):
            say(text)
        reached = campaign.store.status()
    raise typer.Exit(code_of(reached))


@command()
def ledger(folder: Folder, as_json: Json = False) -> None:
    """Account for every file that was dropped, every scan in it, and every alloy that was asked for.

    Example: `glassmap ledger campaigns/lab`
    """
    from glassmap.agent.store.campaign_store import CampaignStore

    with errors_in_words(), CampaignStore.read_only(folder) as store:
        files, scans, measured = store.files(), store.scans(), store.measurements()
        rounds = sorted({s.round for s in store.suggestions()})
        statuses = [one for round_ in rounds for one in store.suggestion_statuses(round_)]
        print_ledger(files, scans, statuses, measured, store.elements)
        content = {
            "files": [file._asdict() for file in files],
            "scans": [scan._asdict() for scan in scans],
            "alloys": [one._asdict() | {"suggestion": one.suggestion._asdict()} for one in statuses],
            "measurements": [one._asdict() for one in measured],
        }
        print_json(as_json, content)


@command()
def log(
    folder: Folder,
    about: Annotated[
        str | None, typer.Option(help="A suggestion or measurement, such as r003-07; or what a note is on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Who did what, when and why.

    Example: `glassmap log campaigns/lab --about r003-07`
    """
    from glassmap.agent.store.campaign_store import CampaignStore

    with errors_in_words(), CampaignStore.read_only(folder) as store:
        lines = store.log_lines(subject=about)
        print_log(lines)
        print_json(as_json, [line._asdict() for line in lines])


@command()
def trace(
    folder: Folder,
    what: Annotated[str, typer.Argument(help="An alloy such as Co30V40Zr30, or a sample such as r003-07.")],
) -> None:
    """From a pixel of the map to the checkpoint to the scans that trained it, or from a scan to all that came of it.

    Example: `glassmap trace campaigns/lab Co30V40Zr30`
    """
    from glassmap.agent.store.campaign_store import CampaignStore
    from glassmap.flows.provenance import trace

    with errors_in_words(), CampaignStore.read_only(folder) as store:
        for line in trace(store, what):
            say(line)
