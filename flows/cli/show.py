"""The commands that show what a campaign found."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from glassmap.flows.cli.commands import Commands
from glassmap.flows.cli.exit_codes import ExitCode
from glassmap.flows.cli.options import Folder, Json, context_of, folders_like
from glassmap.flows.cli.terminal import errors_in_words, print_candidates, print_json, progress, say, write_csv

show = Commands()


@show.command()
def dashboard(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Folders of campaigns, or folders that hold some.", autocompletion=folders_like),
    ],
    port: Annotated[int, typer.Option(min=1, max=65535, help="On loopback.")] = 8501,
) -> None:
    """Show campaigns in a browser, up to date as they go; reads only. Ctrl-C ends it.

    Example: `glassmap dashboard campaigns`
    """
    from glassmap.agent.errors import CampaignError
    from glassmap.agent.extras import require_extras
    from glassmap.dashboard.serve import serve_dashboard

    with errors_in_words():
        require_extras("dashboard", needed_for="`glassmap dashboard`")
        if missing := [folder for folder in folders if not folder.is_dir()]:
            raise CampaignError(f"There is no folder {missing[0]}. Name a campaign's folder, or one that holds some.")
        serve_dashboard(folders, port=port)


@show.command("report")
def report_(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file.")] = Path("report.html"),
    pdf: Annotated[
        Path | None, typer.Option("--pdf", help="Also write it to this file, to be printed or sent.")
    ] = None,
) -> None:
    """Write a campaign's story and figures into one HTML file; beside it figures as PNG and SVG, and the alloys.

    It ends with a paragraph on the methods, the list of measured alloys and BibTeX. Reads only.

    Example: `glassmap report campaigns/co-v-zr -o co-v-zr.html --pdf co-v-zr.pdf`
    """
    from glassmap.agent.extras import require_extras

    with errors_in_words():
        require_extras("dashboard", needed_for="`glassmap report`")
        from glassmap.dashboard.report import write_report

        for path in write_report(folder, output, pdf=pdf):
            say(f"Written: {path}")


@show.command("map", ends=(ExitCode.BUSY,))
def map_(folder: Folder) -> None:
    """Draw the last maps of the peak figures of a ternary campaign and say where the file of all alloys is.

    What is lost or harmed of models, maps and spectra is made again first, and so are the maps where `[glass]` of the
    campaign file has changed, or where they are older than P(glass).

    Example: `glassmap map campaigns/co-v-zr`
    """
    from glassmap.agent.errors import CampaignBusy, ModelError
    from glassmap.agent.maps.glass import P_GLASS
    from glassmap.agent.maps.spectra_archive import read_map
    from glassmap.dashboard.data import harm_of_map, read_begun_campaign
    from glassmap.dashboard.pictures import draw_maps

    with errors_in_words():
        campaign = read_begun_campaign(folder)
        if harm := harm_of_map(campaign):
            _make_again(folder, harm)
            campaign = read_begun_campaign(folder)
            if harm := harm_of_map(campaign):
                raise ModelError(f"{harm}, and can't be made again.")
        if campaign.map is not None and _may_mean_another_glass(folder):
            _map_again(folder)
            campaign = read_begun_campaign(folder)
        elif campaign.map is not None and P_GLASS not in read_map(campaign.map[1])[0]:
            with suppress(CampaignBusy, ModelError):  # then as it is
                _map_again(folder)
            campaign = read_begun_campaign(folder)
        if campaign.map is None:
            raise ModelError(f"No map has been made in {folder} yet. Go on with `glassmap run {folder}`.")
        if campaign.status.headline:
            say(campaign.status.headline)
        held = f" at {campaign.settings.held}" if campaign.settings.held else ""
        say(f"Every alloy{held}: {campaign.map[1]}")
        if campaign.status.unlearned:
            say(campaign.status.unlearned)
        for other, (_, path) in campaign.other_maps.items():
            say(f"Every alloy at {other}: {path}")
        pictures = draw_maps(campaign, folder / "pictures")
        for picture in pictures:
            say(f"Picture: {picture}")
        if not pictures and len(campaign.elements) > 4:
            count = len(campaign.elements)
            say(f"A map of {count} elements is no picture; `glassmap report {folder}` has its best places.")


@show.command()
def candidates(
    folder: Folder,
    level: Annotated[
        float, typer.Option(min=0, max=1, help="Probability from which an alloy is likely a glass.")
    ] = 0.5,
    extrapolated: Annotated[
        bool, typer.Option("--extrapolated", help="Also where the model only extrapolates.")
    ] = False,
    most: Annotated[int, typer.Option(min=1, help="Places.")] = 20,
    as_json: Json = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write the table to this file.")] = None,
) -> None:
    """Say where on the last map one would bet on a glass: a row a place, how sure, and what was measured there.

    `[wish]` in the campaign file limits shares of elements, price and density. Reads only.

    Example: `glassmap candidates campaigns/co-v-zr --csv candidates.csv`
    """
    from glassmap.agent.config.wish import read_wish
    from glassmap.agent.store.campaign_store import CampaignStore
    from glassmap.agent.store.candidates import read_candidates

    with errors_in_words():
        with CampaignStore.read_only(folder) as store:
            found = read_candidates(store, level=level, only_known=not extrapolated, most=most)
            elements, wish = store.elements, read_wish(folder, store.config).say()
        print_candidates(found, elements, wish)
        rows = [place.to_row(elements) for place in found.places]
        print_json(as_json, {"places": rows, "chance": found.chance and found.chance._asdict()})
        write_csv(csv, rows)


def _may_mean_another_glass(folder: Path) -> bool:
    """Return whether a campaign's file may call something else a glass than its newest map does."""
    from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
    from glassmap.agent.store.campaign_store import CampaignStore

    if not (folder / FILE_NAME).exists():
        return False
    glass = CampaignConfig.from_toml(folder / FILE_NAME).glass
    with CampaignStore.read_only(folder) as store:
        return glass.labels is not None or glass != CampaignConfig.recorded(store.config).glass


def _map_again(folder: Path) -> None:
    """Make a campaign's maps again by what its file calls a glass."""
    from glassmap.flows.actions import current_user
    from glassmap.flows.rounds.campaign import open_campaign
    from glassmap.flows.rounds.map import map_again

    with progress() as report, open_campaign(folder, report=report, person=current_user()) as campaign:
        map_again(campaign)


def _make_again(folder: Path, harm: str) -> None:
    """Make a campaign's models, maps and spectra again where they aren't what was written.

    Raises:
        CampaignBusy: If another process is at the campaign.
    """
    from glassmap.agent.errors import CampaignBusy
    from glassmap.flows.actions import current_user
    from glassmap.flows.rounds.campaign import open_campaign
    from glassmap.flows.rounds.mend import mend_artefacts

    try:
        with progress() as report, open_campaign(folder, report=report, person=current_user()) as campaign:
            mend_artefacts(campaign)
    except CampaignBusy as error:
        raise CampaignBusy(f"{harm}; another process is at the campaign. Try again once it waits or ends.") from error


@show.command()
def generate(
    folder: Folder,
    alloy: Annotated[str, typer.Argument(help="In at.%, such as Co30V40Zr30.")],
    context: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE: hold it at another value of a process variable than the campaign's."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", help="File name without ending; in the folder by default.")
    ] = None,
) -> None:
    """Generate one alloy's spectrum, say its peak figures and whether it is known; a CSV and a PNG.

    Example: `glassmap generate campaigns/co-v-zr Co30V40Zr30`
    """
    from glassmap.agent.data.composition import parse_composition
    from glassmap.agent.store.campaign_store import CampaignStore

    with errors_in_words(), CampaignStore.read_only(folder) as store:
        composition = parse_composition(alloy, store.elements)  # a typo is refused before torch is loaded
        from glassmap.agent.config.campaign import held_of
        from glassmap.flows.figures import generate_alloy

        labels = [name for name, value in held_of(store.config).items() if isinstance(value, str)]
        generated, paths = generate_alloy(store, composition, output, held=context_of(context, labels=labels))
        for sentence in (generated.held, generated.figures, generated.nearest, generated.known):
            if sentence:
                say(f"{sentence[0].upper()}{sentence[1:]}")
        for path in paths:
            say(f"Wrote {path}")
