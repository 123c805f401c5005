"""The commands that set a campaign up and have it go on."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from glassmap.flows.cli.commands import Commands
from glassmap.flows.cli.exit_codes import ExitCode, code_of
from glassmap.flows.cli.options import (
    ContextValues,
    Dataset,
    Folder,
    Json,
    PotentialName,
    Preset,
    ScanRange,
    Split,
    Where,
    context_of,
    given,
    refuse,
)
from glassmap.flows.cli.terminal import (
    console,
    errors_in_words,
    look_and_say,
    print_json,
    print_learning_curve,
    print_status,
    progress,
    say,
    watch_again_and_again,
)

if TYPE_CHECKING:
    from glassmap.agent.config.campaign import CampaignConfig
    from glassmap.agent.store.status import Status

campaigns = Commands()
NOTES_SAID = 3  # the last; `glassmap log` has all


@campaigns.command(ends=(ExitCode.WAITS, ExitCode.BUSY))
def replay(
    dataset: Dataset,
    folder: Annotated[Path | None, typer.Option(help="Campaign folder; `campaigns/NAME` by default.")] = None,
    hold_out: Annotated[Split, typer.Option(help="What the model is judged by.")] = Split.RANDOM,
    batch: Annotated[int, typer.Option(help="Spectra a round.")] = 20,
    rounds: Annotated[int, typer.Option(help="Most rounds.")] = 12,
    stop_on: Annotated[Literal["mse", "delta_q", "glass"], typer.Option(help="What has to settle.")] = "mse",
    unit: Annotated[
        Literal["alloy", "wafer"] | None, typer.Option(help="What rounds choose; by default alloys.")
    ] = None,
    wafer_hours: Annotated[float | None, typer.Option(min=0, help="That a wafer costs.")] = None,
    point_hours: Annotated[float | None, typer.Option(min=0, help="That a spectrum costs.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same campaign.")] = 0,
    preset: Preset = "default",
    where: Where = None,
    context: ContextValues = None,
    scan_range: ScanRange = None,
    members: Annotated[int | None, typer.Option(help="Networks of the ensemble.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps a round.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Json = False,
) -> None:
    """Run a whole campaign against a data set, as if each spectrum were measured when it is asked for.

    Run it again to go on where it was cut.

    Example: `glassmap replay co-v-zr.nc --folder campaigns/co-v-zr`
    """
    from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig

    with errors_in_words():
        folder = folder or Path("campaigns") / dataset.stem
        config = _replay_config(
            folder,
            dataset,
            hold_out=hold_out,
            where=where,
            context=context,
            scan_range=scan_range,
            seed=seed,
            device=device,
            planning={"batch": batch} | ({"unit": unit} if unit else {}),
            cost=given(wafer=wafer_hours, point=point_hours),
            model={"preset": preset} | given(members=members, steps=steps),
            stop={"max_rounds": rounds, "on": stop_on},
        )
        path = folder / FILE_NAME
        if path.exists():
            earlier = CampaignConfig.from_toml(path).model_dump(mode="json")
            config = config.continuing(earlier, given={})
            config.check_continues(earlier)
        _run_and_draw(folder, config, as_json=as_json)


@campaigns.command()
def init(
    folder: Folder,
    dataset: Annotated[Path | None, typer.Option(help="Replay this data set.")] = None,
    simulate: Annotated[str | None, typer.Option(help="Simulate this system, such as Zr-Cu-Al.")] = None,
    potential: PotentialName = "zhou",
    lab: Annotated[str | None, typer.Option(help="Measure this system in a laboratory, such as Co-V-Zr.")] = None,
    scan_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--range",
            help="To learn from: of a laboratory in 1/Å, covered by every scan; of a data set in the unit of its axis, "
            "by default what a look at its scans says.",
        ),
    ] = None,
    columns: Annotated[Literal["q", "two_theta"], typer.Option(help="First column of scans of text.")] = "two_theta",
    wavelength: Annotated[float | None, typer.Option(help="In Å, of scans over 2θ that don't say theirs.")] = None,
    context: ContextValues = None,
    seed: Annotated[int, typer.Option(help="Same seed, same campaign.")] = 0,
) -> None:
    """Write a campaign file, every setting spelled out, to be edited before `glassmap run`.

    Example: `glassmap init campaigns/co-v-zr --dataset co-v-zr.nc`
    """
    from glassmap.agent.config.campaign import FILE_NAME
    from glassmap.agent.errors import CampaignError

    with errors_in_words():
        if (folder / FILE_NAME).exists():
            raise CampaignError(f"{folder / FILE_NAME} is there already. Edit it, or choose another folder.")
        if sum(who is not None for who in (dataset, simulate, lab)) != 1 or (simulate is None and potential != "zhou"):
            raise CampaignError(
                "Say who measures: one of --dataset FILE.nc, --simulate SYSTEM (by --potential), or --lab SYSTEM such "
                "as Co-V-Zr."
            )
        if simulate is not None:
            refuse("A simulation", range=scan_range, context=context)
        if dataset is not None:
            config = _replay_config(folder, dataset, context=context, scan_range=scan_range, seed=seed)
        elif simulate is not None:
            config = _simulation_config(folder, simulate, potential, seed=seed)
        else:
            config = _lab_config(folder, str(lab), scan_range, columns, wavelength, context=context, seed=seed)
        config.to_toml(folder / FILE_NAME)
        say(f"Wrote {folder / FILE_NAME}. Next: glassmap run {folder}")


@campaigns.command(ends=(ExitCode.WAITS, ExitCode.BUSY))
def run(folder: Folder, as_json: Json = False) -> None:
    """Advance a campaign until it stops or waits; under Prefect where PREFECT_API_URL is set.

    Example: `glassmap run campaigns/co-v-zr`
    """
    from glassmap.agent.extras import require_extras

    with errors_in_words():
        with progress() as report:
            if server := os.environ.get("PREFECT_API_URL"):
                require_extras("flows", needed_for="A campaign under Prefect (PREFECT_API_URL is set)")
                from glassmap.flows.services.supervisor import require_server

                require_server(server)
                if console.is_terminal:  # Prefect's lines would tear the bar; its server has them
                    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
                from glassmap.flows.services.prefect_flows import run_campaign

                reached = run_campaign(folder, report=report)
            else:
                from glassmap.flows.rounds.campaign import open_campaign
                from glassmap.flows.rounds.loop import advance

                with open_campaign(folder, report=report) as campaign:
                    reached = advance(campaign)
        print_status(reached.state, reached.reason, reached.failure, reached.headline)
        _say_how_to_go_on(folder, reached)
        print_json(as_json, reached.to_json())
    raise typer.Exit(code_of(reached))


def _say_how_to_go_on(folder: Path, reached: "Status") -> None:
    """Say where a laboratory finds its order and leaves its results, or how to look at what was found."""
    from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
    from glassmap.agent.store.status import STOPPED
    from glassmap.flows.backends.lab.drop_folders import count_new
    from glassmap.flows.backends.lab.settings import Settings as Laboratory

    if reached.state in STOPPED and not reached.failure:
        say(f"`glassmap map {folder}` draws the map, `glassmap report {folder}` tells the whole story.")
    laboratory = CampaignConfig.from_toml(folder / FILE_NAME).backend
    if reached.waiting_for == "measurements" and isinstance(laboratory, Laboratory):
        order = folder / "orders" / f"round-{reached.round:03d}.csv"
        say(f"The order: {order}. Results go into {', '.join(map(str, laboratory.drop))}.")
        if new := count_new(folder, laboratory.drop, quiet_seconds=laboratory.quiet_seconds):
            which = "1 file there is" if new == 1 else f"{new} files there are"
            quiet = f"{laboratory.quiet_seconds:g} s (backend.quiet_seconds)"
            say(f"{which} younger than {quiet} and may still be being written: run again.")


@campaigns.command(ends=(ExitCode.WAITS, ExitCode.BUSY))
def retrain(folder: Folder) -> None:
    """Train on all that is in now, and map, without waiting for the end of the round.

    Example: `glassmap retrain campaigns/co-v-zr`
    """
    from glassmap.flows.rounds.campaign import open_campaign
    from glassmap.flows.rounds.retrain import retrain as retrain_now

    with errors_in_words(), progress() as report, open_campaign(folder, report=report) as campaign:
        say(retrain_now(campaign))
        reached = campaign.store.status()
    raise typer.Exit(code_of(reached))


@campaigns.command()
def status(
    folder: Folder,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Say where a campaign stands, and whether its file lets it go on; reads only.

    Example: `glassmap status campaigns/co-v-zr`
    """
    from glassmap.agent.config.campaign import FILE_NAME
    from glassmap.agent.models.description import AS_PUBLISHED
    from glassmap.agent.store.campaign_store import CampaignStore
    from glassmap.flows.rounds.campaign import refuse_settings

    def look() -> dict[str, Any]:
        with CampaignStore.read_only(folder) as store:
            reached, curve = store.status(), store.curve()
            print_status(reached.state, reached.reason, reached.failure, reached.headline)
            if curve:
                print_learning_curve(curve, store.coverage())
            if reached.effort is not None:
                say(f"Measured: {reached.effort.say()}.")
            if reached.decision is not None and reached.decision.state == "continue" and not reached.failure:
                say(reached.decision.reason)
            if reached.mixture:
                say(reached.mixture)
            if reached.misplaced:
                say(reached.misplaced)
            if reached.unlearned:
                say(reached.unlearned)
            if reached.ensemble is not None:
                say(f"Model: {reached.ensemble.sentence} {AS_PUBLISHED}")
            for note in reached.notes[-NOTES_SAID:]:
                say(f"Note, {note}")
            return reached.to_json() | {"stages": [stage.to_json() for stage in store.stages()]}

    with errors_in_words():
        if watch:
            refuse("`glassmap status --watch`", json=as_json)
            watch_again_and_again(look)
        print_json(as_json, look())
        if (folder / FILE_NAME).exists():
            refuse_settings(folder)


@campaigns.command(ends=(ExitCode.WAITS, ExitCode.BUSY))
def demo(
    data: Annotated[Path | None, typer.Option(help="A data set; the Zr-Cu-Al set of this package by default.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Simulate on the spot instead: a small campaign.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Campaign folder; `campaigns/demo` by default.")] = None,
    as_json: Json = False,
) -> None:
    """The main job from beginning to end: measure, learn, map, stop, and draw it.

    Example: `glassmap demo --data co-v-zr.nc`
    """
    from glassmap.agent.errors import CampaignError
    from glassmap.flows.cli.demo import BUNDLED, BUNDLED_SETTINGS, live_config

    with errors_in_words():
        if live and data is not None:
            raise CampaignError("A live demo simulates and takes no --data. Leave out one of the two.")
    if not live:
        settings = {} if data else BUNDLED_SETTINGS
        replay(data or BUNDLED, folder=folder or Path("campaigns/demo"), as_json=as_json, **settings)
        return
    with errors_in_words():
        folder = folder or Path("campaigns/live")
        _run_and_draw(folder, live_config(folder.resolve().name), as_json=as_json)


def _run_and_draw(folder: Path, config: "CampaignConfig", *, as_json: bool = False) -> None:
    """Advance a campaign that the command line has set up, show where it came to, and end.

    What the command line leaves out is what the campaign's file says, if there is one.
    """
    from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
    from glassmap.agent.store.campaign_store import CampaignStore
    from glassmap.dashboard.data import read_begun_campaign
    from glassmap.dashboard.pictures import draw_pictures
    from glassmap.flows.rounds.campaign import open_campaign
    from glassmap.flows.rounds.loop import advance

    if (path := folder / FILE_NAME).exists():
        config = config.continuing(CampaignConfig.from_toml(path).model_dump(mode="json"), given={})
    with progress() as report, open_campaign(folder, config=config, report=report) as campaign:
        campaign.config.to_toml(folder / FILE_NAME)
        reached = advance(campaign)
    with CampaignStore.read_only(folder) as store:
        print_learning_curve(store.curve(), store.coverage())
        print_status(reached.state, reached.reason, reached.failure, reached.headline)
    for picture in draw_pictures(read_begun_campaign(folder), folder / "pictures"):
        say(f"Picture: {picture}")
    print_json(as_json, reached.to_json())
    raise typer.Exit(code_of(reached))


def _replay_config(
    folder: Path,
    dataset: Path,
    *,
    hold_out: str = "random",
    where: str | None = None,
    context: list[str] | None = None,
    scan_range: tuple[float, float] | None,
    **settings: Any,
) -> "CampaignConfig":
    """The replay of a data set over the whole 1 at.% grid of its elements, and over the range that its scans say.

    A campaign that has begun keeps its range; its scans aren't looked at again. A new one over 2θ has as many points as
    its scans, but for the published network, which has the paper's.
    """
    from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
    from glassmap.agent.data.dataset import read_dataset
    from glassmap.agent.data.spectrum import STANDARD_POINTS
    from glassmap.agent.store.connection import FILE_NAME as STORE_NAME

    backend = {"kind": "replay", "dataset": dataset.resolve(), "hold_out": hold_out, "where": where}
    spectra = read_dataset(dataset)
    for note in spectra.notes:
        say(f"Note: {note}")
    if where is not None:
        spectra = spectra.where(where)
    spectrum: dict[str, float] = {}
    is_new = not ((folder / FILE_NAME).exists() or (folder / STORE_NAME).exists())
    if scan_range is not None or is_new:
        look = look_and_say(spectra, asked=scan_range)
        spectrum = given(low=look.low, high=look.high)
        is_paper = settings.get("model", {}).get("preset") == "paper"
        if is_new and spectra.axis_name == "two_theta" and not is_paper:  # the paper's 3743 would be copies
            points = look.taken.of(spectra.axis)
            spectrum["points"] = min(points.stop - points.start, STANDARD_POINTS)
    labels = [name for name, values in spectra.coordinates.items() if values.dtype.kind not in "iuf"]
    space = {"elements": spectra.elements} | ({"context": context_of(context, labels=labels)} if context else {})
    config = CampaignConfig.of(
        {"name": folder.resolve().name, "space": space, "spectrum": spectrum, "backend": backend, **settings},
        source="settings",
    )
    if is_new:
        from glassmap.agent.data.mixture import mixture_of

        spectra, known = spectra.with_context(config.space.held)
        if (
            mixture := mixture_of(
                spectra.prepared(**config.spectrum.read(spectra.axis_name, spectra.wavelength)), known=known
            )
        ) is not None:
            say(mixture.say())
    return config


def _simulation_config(folder: Path, system: str, potential: str, *, seed: int) -> "CampaignConfig":
    """A simulated campaign over the whole 1 at.% grid of a system."""
    from glassmap.agent.config.campaign import CampaignConfig
    from glassmap.agent.data.composition import elements_of
    from glassmap.simulation.potential import GENERATED, load_potential

    elements = elements_of(system)
    load_potential(potential, elements)
    backend = {"kind": "simulation", "potential": potential if potential in GENERATED else Path(potential).resolve()}
    settings = {"name": folder.resolve().name, "seed": seed, "space": {"elements": elements}, "backend": backend}
    return CampaignConfig.of(settings, source="settings")


def _lab_config(
    folder: Path,
    system: str,
    scan_range: tuple[float, float] | None,
    columns: str,
    wavelength: float | None,
    *,
    context: list[str] | None,
    seed: int,
) -> "CampaignConfig":
    """A campaign in a laboratory, results dropped into the campaign's folder `drop`."""
    from glassmap.agent.config.campaign import CampaignConfig
    from glassmap.agent.config.space import LAB_POINTS
    from glassmap.agent.data.composition import elements_of
    from glassmap.agent.errors import CampaignError

    if scan_range is None:
        raise CampaignError("Say the range in q that every scan covers, such as --range 1.5 4.5 (1/Å).")
    settings: dict[str, Any] = {
        "name": folder.resolve().name,
        "seed": seed,
        "space": {"elements": elements_of(system), "context": context_of(context)},
        "spectrum": {"low": scan_range[0], "high": scan_range[1], "points": LAB_POINTS},
        "backend": {"kind": "lab", "columns": columns} | ({"wavelength": wavelength} if wavelength else {}),
    }
    return CampaignConfig.of(settings, source="settings")
