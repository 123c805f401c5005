"""`glassmap …`: each command opens the store or a data set, calls one function and prints."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from glassmap.flows.cli.steer import Folder, Json, people
from glassmap.flows.cli.terminal import (
    console,
    errors_in_words,
    print_costs,
    print_learning_curve,
    print_records,
    print_simulation,
    print_status,
    print_summary,
    progress,
    say,
    watch_again_and_again,
    write_json,
)

if TYPE_CHECKING:
    from glassmap.agent.config.campaign import CampaignConfig
    from glassmap.agent.store.records import Status

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)
benchmark = typer.Typer(
    no_args_is_help=True, help="Measure how good the parts are, side by side with what else there is."
)
app.add_typer(benchmark, name="benchmark")
app.add_typer(people)

LAB_POINTS = 800  # of the common axis: 0.004 1/Å over the usual range, finer than a glass's peak by two orders
Dataset = Annotated[Path, typer.Argument(help="A data set, one NetCDF file; `glassmap import` makes one.")]
Datasets = Annotated[list[Path], typer.Argument(help="Data sets, NetCDF files.")]
Folders = Annotated[list[Path], typer.Argument(help="Folders of campaigns.")]
AtOnce = Annotated[int, typer.Option(min=1, help="Most campaigns that are worked on at a time.")]
Where = Annotated[str | None, typer.Option(help="Only the samples for which this holds, e.g. `cleaned`.")]
Variable = Annotated[str, typer.Option(help="The spectra of the set, such as intensity or rdf.")]
Preset = Annotated[Literal["default", "paper"], typer.Option(help="Network and losses: ours, or as published.")]
PotentialName = Annotated[
    str, typer.Option("--potential", help="An eam/alloy or eam/fs file; or `zhou` or `zhou-fitted`, generated.")
]
Protocol = Annotated[Literal["quick", "paper"], typer.Option(help="1000 atoms in a minute, or as published.")]
Atoms = Annotated[int | None, typer.Option(help="Number of atoms; the preset's by default.")]
Command = Annotated[str | None, typer.Option(help="That starts LAMMPS, such as `srun -n 8 lmp`.")]


class Split(StrEnum):
    """What a model is judged by."""

    RANDOM = "random"
    WAFER = "wafer"


class TestSet(StrEnum):
    """What a benchmark tests on."""

    RANDOM = "random"
    PLANNED = "planned"
    WAFER = "wafer"
    EDGE = "edge"


@app.callback()
def _glassmap() -> None:
    """Plan the experiments of an alloy campaign and map where metallic glass forms."""


@app.command()
def replay(
    dataset: Dataset,
    folder: Annotated[Path | None, typer.Option(help="Campaign folder; `campaigns/NAME` by default.")] = None,
    hold_out: Annotated[Split, typer.Option(help="What the model is judged by.")] = Split.RANDOM,
    batch: Annotated[int, typer.Option(help="Spectra a round.")] = 20,
    rounds: Annotated[int, typer.Option(help="Most rounds.")] = 12,
    seed: Annotated[int, typer.Option(help="Same seed, same campaign.")] = 0,
    preset: Preset = "default",
    where: Where = None,
    members: Annotated[int | None, typer.Option(help="Networks of the ensemble.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps a round.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json_file: Json = None,
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
            seed=seed,
            device=device,
            planning={"batch": batch},
            model={"preset": preset} | _given(members=members, steps=steps),
            stop={"max_rounds": rounds},
        )
        path = folder / FILE_NAME
        if path.exists():
            earlier = CampaignConfig.from_toml(path)
            config.check_continues(earlier.model_dump(mode="json"))
            config = config.model_copy(update={"stop": earlier.stop.model_copy(update={"max_rounds": rounds})})
        _run_and_draw(folder, config, json_file)


@app.command()
def init(
    folder: Folder,
    dataset: Annotated[Path | None, typer.Option(help="Replay this data set.")] = None,
    simulate: Annotated[str | None, typer.Option(help="Simulate this system, such as Zr-Cu-Al.")] = None,
    potential: PotentialName = "zhou",
    lab: Annotated[str | None, typer.Option(help="Measure this system in a laboratory, such as Co-V-Zr.")] = None,
    q_range: Annotated[
        tuple[float, float] | None, typer.Option("--range", help="In 1/Å, that every scan of the laboratory covers.")
    ] = None,
    columns: Annotated[Literal["q", "two_theta"], typer.Option(help="First column of scans of text.")] = "two_theta",
    wavelength: Annotated[float | None, typer.Option(help="In Å, of scans over 2θ that don't say theirs.")] = None,
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
        if dataset is not None:
            config = _replay_config(folder, dataset, seed=seed)
        elif simulate is not None:
            config = _simulation_config(folder, simulate, potential, seed=seed)
        else:
            config = _lab_config(folder, str(lab), q_range, columns, wavelength, seed=seed)
        config.to_toml(folder / FILE_NAME)
        say(f"Wrote {folder / FILE_NAME}. Next: glassmap run {folder}")


@app.command()
def run(folder: Folder) -> None:
    """Advance a campaign until it stops or waits; under Prefect where PREFECT_API_URL is set.

    Example: `glassmap run campaigns/co-v-zr`
    """
    with errors_in_words():
        with progress() as report:
            if server := os.environ.get("PREFECT_API_URL"):
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
        print_status(reached.state, reached.reason)


@app.command()
def retrain(folder: Folder) -> None:
    """Train on all that is in now, and map, without waiting for the end of the round.

    Example: `glassmap retrain campaigns/co-v-zr`
    """
    from glassmap.flows.rounds.campaign import open_campaign
    from glassmap.flows.rounds.retrain import retrain as retrain_now

    with errors_in_words(), progress() as report, open_campaign(folder, report=report) as campaign:
        say(retrain_now(campaign))


@app.command()
def serve(folders: Folders, at_once: AtOnce = 2) -> None:
    """Look after campaigns on their schedules until interrupted; needs a Prefect server, see `glassmap up`.

    Example: `glassmap serve campaigns/co-v-zr campaigns/zr-cu-al`
    """
    from glassmap.agent.errors import CampaignError

    with errors_in_words():
        server = os.environ.get("PREFECT_API_URL")
        if not server:
            raise CampaignError(
                "Serving needs a Prefect server, and PREFECT_API_URL doesn't name one. `glassmap up` starts both."
            )
        from glassmap.flows.services.supervisor import require_server

        require_server(server)
        from glassmap.flows.services.schedules import serve_campaigns

        serve_campaigns(folders, at_once=at_once)


@app.command()
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
    from glassmap.flows.services.supervisor import run_services

    with errors_in_words():
        for folder in folders:
            CampaignConfig.from_toml(folder / FILE_NAME)  # said here and not in a log
        run_services(folders, home=home, port=port, dashboard_port=dashboard_port, at_once=at_once, say=say)


@app.command()
def status(
    folder: Folder,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    json_file: Json = None,
) -> None:
    """Say where a campaign stands; reads only.

    Example: `glassmap status campaigns/co-v-zr`
    """
    from glassmap.agent.store.campaign_store import CampaignStore

    def look() -> "Status":
        with CampaignStore.read_only(folder) as store:
            reached, curve = store.status(), store.curve()
            print_status(reached.state, reached.reason)
            if curve:
                print_learning_curve(curve, store.coverage())
            return reached

    with errors_in_words():
        if watch:
            watch_again_and_again(look)
        write_json(json_file, look()._asdict())


@app.command()
def dashboard(
    folders: Annotated[list[Path], typer.Argument(help="Folders of campaigns, or folders that hold some.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="On loopback.")] = 8501,
) -> None:
    """Show campaigns in a browser, up to date as they go; reads only. Ctrl-C ends it.

    Example: `glassmap dashboard campaigns`
    """
    from glassmap.agent.errors import CampaignError
    from glassmap.dashboard.serve import serve_dashboard

    with errors_in_words():
        if missing := [folder for folder in folders if not folder.is_dir()]:
            raise CampaignError(f"There is no folder {missing[0]}. Name a campaign's folder, or one that holds some.")
        serve_dashboard(folders, port=port)


@app.command()
def report(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file.")] = Path("report.html"),
) -> None:
    """Write a campaign's story and figures into one HTML file, and the figures beside it as PNG and SVG; reads only.

    Example: `glassmap report campaigns/co-v-zr -o co-v-zr.html`
    """
    from glassmap.dashboard.report import write_report

    with errors_in_words():
        for path in write_report(folder, output):
            say(f"Written: {path}")


@app.command("map")
def map_(folder: Folder) -> None:
    """Draw the last maps of Δq and q1 of a ternary campaign and say where the file of all alloys is.

    Example: `glassmap map campaigns/co-v-zr`
    """
    from glassmap.agent.store.campaign_store import CampaignStore
    from glassmap.flows.figures import draw_maps, last_map

    with errors_in_words(), CampaignStore.read_only(folder) as store:
        say(f"Every alloy: {last_map(store)}")
        for picture in draw_maps(store):
            say(f"Picture: {picture}")


@app.command()
def generate(
    folder: Folder,
    alloy: Annotated[str, typer.Argument(help="In at.%, such as Co30V40Zr30.")],
    output: Annotated[
        Path | None, typer.Option("-o", help="File name without ending; in the folder by default.")
    ] = None,
) -> None:
    """Generate one alloy's spectrum with its spread: a CSV and a PNG.

    Example: `glassmap generate campaigns/co-v-zr Co30V40Zr30`
    """
    from glassmap.agent.store.campaign_store import CampaignStore
    from glassmap.flows.figures import generate_alloy

    with errors_in_words(), CampaignStore.read_only(folder) as store:
        for path in generate_alloy(store, alloy, output):
            say(f"Wrote {path}")


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="Folder of two-column scans.")],
    compositions: Annotated[Path, typer.Option(help="CSV: file name, then a column an element, such as `Co (at.%)`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="NetCDF file to write.")],
    axis: Annotated[Literal["q", "two_theta", "r"], typer.Option(help="What the first column of a scan is.")] = "q",
    wavelength: Annotated[float | None, typer.Option(help="In Å; needed for two_theta.")] = None,
    unit: Annotated[
        Literal["at.%", "wt.%"] | None, typer.Option(help="Of the shares, where the column names don't say it.")
    ] = None,
) -> None:
    """Make a data set of a folder of scans and a composition table.

    Example: `glassmap import scans --compositions compositions.csv -o co-ti-zr.nc`
    """
    from glassmap.agent.data.dataset import write_dataset
    from glassmap.agent.data.scan_folder import read_scans

    with errors_in_words():
        spectra = read_scans(folder, compositions=compositions, axis=axis, wavelength=wavelength, unit=unit)
        write_dataset(spectra, output)
        for note in spectra.notes:
            say(f"Note: {note}")
        say(f"Wrote {len(spectra)} spectra of {'-'.join(spectra.elements)} to {output}")


@app.command()
def simulate(
    alloy: Annotated[str, typer.Argument(help="In at.%, such as Zr50Cu40Al10.")],
    preset: Protocol = "quick",
    atoms: Atoms = None,
    potential: PotentialName = "zhou",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same g(r) to the bit.")] = 0,
    folder: Annotated[Path, typer.Option(help="Results and pictures.")] = Path("simulations"),
    command: Command = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it would cost instead.")] = False,
    cores: Annotated[int | None, typer.Option(min=1, help="For the estimate; this machine's by default.")] = None,
    json_file: Json = None,
) -> None:
    """Melt, quench and diffract one alloy: its figures, g(r) and S(q) with the fitted peak.

    Example: `glassmap simulate Zr50Cu40Al10 --potential ZrCuAl2011.eam.alloy`
    """
    from dataclasses import replace

    from glassmap.agent.data.composition import elements_of, parse_composition
    from glassmap.agent.errors import SimulationError
    from glassmap.flows.backends.simulation import facts_of
    from glassmap.flows.figures import draw_simulation
    from glassmap.simulation.cost import estimate_costs
    from glassmap.simulation.lammps import available_cores, find_lammps, generous_timeout
    from glassmap.simulation.lammps import simulate as run_simulation
    from glassmap.simulation.melt_quench import PRESETS, Simulation
    from glassmap.simulation.potential import load_potential

    with errors_in_words():
        elements = elements_of(alloy)
        composition = parse_composition(alloy, elements)
        source, lammps = load_potential(potential, elements), find_lammps(command)
        if estimate:
            if atoms is not None:
                raise SimulationError(f"An estimate is for several sizes at once; leave out --atoms {atoms}.")
            costs = estimate_costs(composition, elements, source, lammps=lammps)
            print_costs(costs, alloy, cores=cores or available_cores())
            write_json(json_file, [cost._asdict() for cost in costs])
            return
        protocol = replace(PRESETS[preset], seed=seed, **_given(atoms=atoms))
        alloy_run = Simulation.of(composition, elements, protocol, source)
        with progress() as report:
            structure = run_simulation(
                alloy_run,
                folder,
                lammps=lammps,
                timeout=generous_timeout(protocol),
                progress=lambda share: report("simulate", round(100 * share), 100),
            )
        facts = {"alloy": structure.label, "atoms": sum(structure.counts), **facts_of(structure, source)}
        print_simulation(facts)
        say(f"Picture: {draw_simulation(structure, source, folder / f'{alloy_run.key}.png')}")
        write_json(json_file, facts)


@app.command()
def sweep(
    system: Annotated[str, typer.Argument(help="Such as Zr-Cu-Al.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="NetCDF file; what it holds already is kept.")],
    steps: Annotated[str, typer.Option(help="Of the grids in at.%, one after another.")] = "5",
    repeats: Annotated[int, typer.Option(min=0, help="Alloys simulated twice, for the noise.")] = 0,
    preset: Protocol = "quick",
    atoms: Atoms = None,
    potential: PotentialName = "zhou",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same set.")] = 0,
    folder: Annotated[Path | None, typer.Option(help="Results, one by one; beside the output by default.")] = None,
    command: Command = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Simulations at a time; one a core by default.")] = None,
    hours: Annotated[float | None, typer.Option(min=0, help="Stop after so long and write what is there.")] = None,
) -> None:
    """Simulate every alloy of one grid or several into one data set; stop it whenever you like, it goes on.

    Example: `glassmap sweep Zr-Cu-Al --steps 5,2 --repeats 57 --potential ZrCuAl2011.eam.alloy -o zr-cu-al.nc`
    """
    from dataclasses import replace

    from glassmap.agent.data.composition import elements_of
    from glassmap.flows.compute.sweep import run_sweep
    from glassmap.simulation.lammps import available_cores
    from glassmap.simulation.melt_quench import PRESETS
    from glassmap.simulation.potential import load_potential
    from glassmap.simulation.sweep import Sweep

    with errors_in_words():
        elements = elements_of(system)
        protocol = replace(PRESETS[preset], seed=seed, **_given(atoms=atoms))
        plan = Sweep(elements, load_potential(potential, elements), protocol, _numbers(steps), repeats)
        with progress() as report:
            written, failures = run_sweep(
                plan,
                output,
                folder or output.with_name(f"{output.stem}-runs"),
                command=command,
                workers=workers or available_cores(),
                hours=hours,
                report=report,
            )
        for name, reason in failures.items():
            say(f"Failed: {name}: {reason}")
        say(f"Wrote {written} of {len(plan.simulations)} simulations to {output}")


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="A data set; the Zr-Cu-Al set of this package by default.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Simulate on the spot instead: a small campaign.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Campaign folder; `campaigns/demo` by default.")] = None,
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
        replay(data or BUNDLED, folder=folder or Path("campaigns/demo"), **settings)
        return
    with errors_in_words():
        folder = folder or Path("campaigns/live")
        _run_and_draw(folder, live_config(folder.resolve().name))


# --- benchmarks


@benchmark.command("mixed")
def benchmark_mixed(
    measured: Dataset,
    simulated: Annotated[Path, typer.Argument(help="The same system, simulated; `glassmap sweep` makes it.")],
    where: Where = None,
    background: Annotated[float | None, typer.Option(help="Half-width of the background to take off, 1/Å.")] = None,
    sizes: Annotated[str, typer.Option(help="Numbers of measured spectra to learn from.")] = "10,20,40",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    json_file: Json = None,
) -> None:
    """Whether simulated spectra help to learn measured ones (`guide.learn` in a campaign file).

    Example: `glassmap benchmark mixed co-ti-zr.nc co-ti-zr-simulated.nc --where cleaned`
    """
    from glassmap.flows.benchmarks import mixed

    with errors_in_words():
        records = mixed.run(
            measured,
            simulated,
            where=where,
            background=background,
            sizes=_numbers(sizes),
            seeds=range(seeds),
            tell=lambda r: say(f"@ {r['n']}, {r['seed']}: {r['mse_measured']:.3g}, mixed {r['mse_mixed']:.3g}"),
        )
        figures = ("mse_measured", "mse_mixed", "mse_simulated")
        print_summary(records, by=("dataset", "n"), values=figures, title="Test MSE, medians")
        write_json(json_file, records)


@benchmark.command("growth")
def benchmark_growth(
    sizes: Annotated[str, typer.Option(help="Numbers of measurements.")] = "0,100,1000,10000,100000",
    json_file: Json = None,
) -> None:
    """What a campaign's store takes for status, planning and the ledger, from its first to its 100,000th measurement.

    Example: `glassmap benchmark growth --sizes 0,1000,100000`
    """
    from glassmap.flows.benchmarks import growth

    with errors_in_words():
        records = growth.run(sizes=_numbers(sizes), tell=lambda r: say(f"{r['measurements']}: {r['plan']:.2f} s"))
        print_records(records)
        write_json(json_file, records)


@benchmark.command("screening")
def benchmark_screening(
    dataset: Dataset,
    sizes: Annotated[str, typer.Option(help="Numbers of spectra to learn from.")] = "50,100",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    json_file: Json = None,
) -> None:
    """What screening finds of the samples that a data set's authors left out (`cleaned`), and what that is worth.

    Example: `glassmap benchmark screening co-ti-zr.nc --seeds 5`
    """
    from glassmap.flows.benchmarks import screening

    with errors_in_words():
        records = screening.run(
            dataset,
            sizes=_numbers(sizes),
            seeds=range(seeds),
            tell=lambda r: say(
                f"@ {r['n']} seed {r['seed']}: {r['found']} of {r['bad']} found, {r['doubted']} doubted"
            ),
        )
        figures = [name for name in records[0] if name not in ("dataset", "n", "seed")]
        print_summary(records, by=("dataset", "n"), values=figures, title="Medians")
        write_json(json_file, records)


@benchmark.command("spectra")
def benchmark_spectra(
    datasets: Datasets,
    n: Annotated[int | None, typer.Option(min=1, help="Spectra to learn from; the paper's number by default.")] = None,
    split: Annotated[list[TestSet], typer.Option(help="What to test on.")] = [  # noqa: B006
        TestSet.RANDOM,
        TestSet.PLANNED,
        TestSet.WAFER,
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    where: Where = None,
    variable: Variable = "intensity",
    members: Annotated[int | None, typer.Option(help="Networks of the ensemble.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    published: Annotated[bool, typer.Option(help="Also the published network: takes a GPU to be quick.")] = False,
    picture: Annotated[Path | None, typer.Option(help="PNG of every model's errors.")] = None,
    ablate: Annotated[bool, typer.Option(help="Instead: our preset, changed one setting at a time.")] = False,
    json_file: Json = None,
) -> None:
    """Ours, the baselines and the published network on the same splits and seeds.

    Splits: random; planned (the same test set, half as many spectra, chosen by `plan_batch`); wafer (one held out);
    edge (learned from alloys with little of some element, tested on the others). `--ablate` sees one half of each set
    only, so that what it finds best can be judged on the other.

    Example: `glassmap benchmark spectra co-v-zr.nc --seeds 5 --split random --json records.json`
    """
    from glassmap.agent.models.config import PRESETS
    from glassmap.flows.benchmarks import spectra

    with errors_in_words():
        if ablate:
            _refuse("--ablate", members=members, steps=steps, published=published, picture=picture)
            studied = spectra.ablate(
                datasets,
                n=n,
                seeds=range(100, 100 + seeds),
                where=where,
                variable=variable,
                tell=lambda r: say(f"{r['dataset']} @ {r['n']} seed {r['seed']}: {r['change']} {r['mse']:.4g}"),
            )
            figures = ("mse", *(name for name in ("q1", "delta_q", "rank", "inside") if name in studied[0]))
            print_summary(studied, by=("dataset", "n", "change"), values=figures, title="Errors, medians")
            write_json(json_file, studied)
            return
        changes = _given(members=members, steps=steps)
        records = spectra.run(
            datasets,
            n=n,
            splits=split,
            seeds=range(seeds),
            where=where,
            variable=variable,
            config=PRESETS["default"].model_copy(update=changes),
            published=published,
            tell=lambda r: say(f"{r['dataset']} {r['split']} @ {r['n']} seed {r['seed']}: {r['model']} {r['mse']:.4g}"),
        )
        print_summary(records, by=("dataset", "split", "n", "model"), values=("mse",), title="Test MSE")
        ours = [record for record in records if record["model"] == "ensemble"]
        figures = ("networks", "smoother", "trees", "unseen_mse", "rank", "inside")
        print_summary(ours, by=("dataset", "split", "n"), values=figures, title="How far ours can be trusted, medians")
        noise = spectra.measure_noise(datasets, where=where, variable=variable)
        say("Noise: what samples of one alloy (1 at.%) differ by")
        print_records(noise)
        write_json(json_file, {"errors": records, "noise": noise})
        if picture is not None:
            spectra.draw(records, picture)


@benchmark.command("speed")
def benchmark_speed(
    preset: Preset = "default",
    samples: Annotated[int, typer.Option(min=1, help="Training spectra.")] = 80,
    points: Annotated[int, typer.Option(min=64, help="Of a spectrum; the paper's have 3743.")] = 800,
    members: Annotated[str, typer.Option(help="Networks trained together, and in turn.")] = "1,5,10",
    elements: Annotated[str, typer.Option(help="Of the systems to map.")] = "3,4,5",
    longest_map: Annotated[float, typer.Option(help="Seconds; the rest of a larger map is scaled up.")] = 60.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json_file: Json = None,
) -> None:
    """How fast the ensemble learns, generates, is measured and maps, beside what the device could do at best.

    Example: `glassmap benchmark speed --preset paper --points 3743 --device cuda`
    """
    from glassmap.agent.models.config import PRESETS
    from glassmap.flows.benchmarks import speed

    with errors_in_words():
        records = speed.run(
            config=PRESETS[preset],
            samples=samples,
            points=points,
            members=_numbers(members),
            elements=_numbers(elements),
            longest_map=longest_map,
            device=device,
            tell=lambda r: say(f"{r['what']}: {r['case']}"),
        )
        for what in dict.fromkeys(record["what"] for record in records):
            say(what)
            print_records(
                [{k: v for k, v in record.items() if k != "what"} for record in records if record["what"] == what]
            )
        write_json(json_file, records)


@benchmark.command("runner")
def benchmark_runner(
    preset: Preset = "default",
    members: Annotated[int | None, typer.Option(help="Networks of the ensemble.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    workers: Annotated[str, typer.Option(help="Numbers of worker processes.")] = "1,2",
    alloys: Annotated[int, typer.Option(min=1, help="To simulate.")] = 8,
    atoms: Annotated[int, typer.Option(help="Of each.")] = 500,
    elements: Annotated[int, typer.Option(min=2, max=8, help="Of the system to map.")] = 4,
    step: Annotated[int, typer.Option(help="Of its grid, at.%.")] = 1,
    json_file: Json = None,
) -> None:
    """What `runner = "dask"` costs and gains on this machine: simulations, a training and a map, in seconds.

    Example: `glassmap benchmark runner --json records.json`
    """
    from glassmap.agent.models.config import PRESETS
    from glassmap.flows.benchmarks import runner

    with errors_in_words():
        records = runner.run(
            config=PRESETS[preset].model_copy(update=_given(members=members, steps=steps)),
            workers=_numbers(workers),
            alloys=alloys,
            atoms=atoms,
            elements=elements,
            step_at_pct=step,
            tell=lambda r: say(r["runner"]),
        )
        print_records(records)
        write_json(json_file, records)


@benchmark.command("dashboard")
def benchmark_dashboard(
    refreshes: Annotated[int, typer.Option(min=4, help="Over which the server's memory is watched.")] = 1000,
    json_file: Json = None,
) -> None:
    """What people wait for at the dashboard, in Chromium, and what it costs the server and who writes.

    Example: `glassmap benchmark dashboard --json records.json`
    """
    from glassmap.flows.benchmarks import dashboard

    with errors_in_words():
        records = dashboard.run(refreshes=refreshes, tell=say)
        print_records(records)
        write_json(json_file, records)


@benchmark.command("planning")
def benchmark_planning(
    batch: Annotated[int, typer.Option(min=1, help="Alloys a batch.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    json_file: Json = None,
) -> None:
    """A first batch on the 1 at.% grids of three, four and five elements, by every method.

    Example: `glassmap benchmark planning --json records.json`
    """
    from glassmap.flows.benchmarks import planning

    with errors_in_words():
        records = planning.run(batch=batch, seeds=range(seeds))
        figures = ("mean", "worst", "separation", "seconds", "peak_mib")
        print_summary(records, by=("elements", "batch", "method"), values=figures, title="Medians (at.%, s, MiB)")
        write_json(json_file, records)


@benchmark.command("peaks")
def benchmark_peaks(
    datasets: Datasets,
    picture: Annotated[Path | None, typer.Option(help="PNG of the scatter plots.")] = None,
    generated: Annotated[bool, typer.Option(help="Instead: of generated spectra against measured ones.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, of generated spectra.")] = 3,
    where: Where = None,
    json_file: Json = None,
) -> None:
    """The batched peak finder against the fit, and the fit against the values published with the data.

    Example: `glassmap benchmark peaks co-v-zr.nc --picture peaks.png`
    """
    from glassmap.flows.benchmarks import peaks

    with errors_in_words():
        if generated:
            judged = peaks.judge_generated(
                datasets,
                seeds=range(seeds),
                where=where,
                picture=picture,
                tell=lambda r: say(f"{r['dataset']} seed {r['seed']}: {r['quantity']} MAE {r['mae']:.4f} 1/Å"),
            )
            figures = ("slope", "r2_origin", "r2", "mae", "n")
            print_summary(judged, by=("dataset", "n_learned", "quantity"), values=figures, title="Generated: medians")
            glass = [record for record in judged if record["quantity"] == "delta_q"]
            figures = ("both", "missed", "false", "neither")
            print_summary(glass, by=("dataset", "n_learned"), values=figures, title="Glass by Δq: medians")
            write_json(json_file, judged)
            return
        _refuse("this without --generated", where=where)
        records = peaks.run(datasets)
        print_records(records)
        write_json(json_file, records)
        if picture is not None:
            peaks.scatter_plot(datasets, picture)


@benchmark.command("curve")
def benchmark_curve(
    dataset: Dataset,
    variable: Variable = "intensity",
    where: Where = None,
    sizes: Annotated[str, typer.Option(help="Numbers of spectra to learn from.")] = "10,20,40,80,160",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    members: Annotated[int | None, typer.Option(help="Networks of the ensemble.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    published: Annotated[float | None, typer.Option(help="The paper's MSE at 40 spectra, to draw beside.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG of the curves.")] = None,
    json_file: Json = None,
) -> None:
    """Test MSE against the number of spectra, ours and the baselines, with the noise that no model gets below.

    Example: `glassmap benchmark curve zr-cu-al.nc --variable rdf --where "not replicate" --picture curve.png`
    """
    from glassmap.agent.models.config import PRESETS
    from glassmap.flows.benchmarks import curve

    with errors_in_words():
        changes = _given(members=members, steps=steps)
        records = curve.run(
            dataset,
            variable=variable,
            where=where,
            sizes=_numbers(sizes),
            seeds=range(seeds),
            config=PRESETS["default"].model_copy(update=changes),
            tell=lambda r: say(f"{r['n']} spectra, seed {r['seed']}: {r['model']} {r['mse']:.4g}"),
        )
        floor = curve.noise_floor(dataset, variable=variable)
        print_summary(records, by=("n", "model"), values=("mse",), title="Test MSE")
        if floor is not None:
            say(f"Noise of one simulation, MSE: {floor:.3g}")
        write_json(json_file, {"floor": floor, "records": records})
        if picture is not None:
            title = f"{dataset.stem}, {variable}: {seeds} random splits"
            curve.draw(records, picture, floor=floor, published=published, title=title)


@benchmark.command("noise")
def benchmark_noise(
    alloys: Annotated[list[str], typer.Argument(help="In at.%, of one system.")],
    potential: PotentialName = "zhou",
    sizes: Annotated[str, typer.Option(help="Numbers of atoms.")] = "500,1000,2000",
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds.")] = 2,
    folder: Annotated[Path, typer.Option(help="Results.")] = Path("simulations"),
    json_file: Json = None,
) -> None:
    """How far simulations of one alloy from different seeds are apart, and what they cost, against their atoms.

    Example: `glassmap benchmark noise Zr50Cu40Al10 Zr20Cu70Al10 --potential ZrCuAl2011.eam.alloy`
    """
    from glassmap.flows.benchmarks import noise
    from glassmap.simulation.lammps import available_cores

    with errors_in_words():
        records = noise.run(
            alloys,
            potential=potential,
            sizes=_numbers(sizes),
            seeds=range(seeds),
            folder=folder,
            workers=available_cores(),
            tell=say,
        )
        figures = ("mse", "mse_merged", "q1", "delta_q", "cpu_seconds")
        print_summary(records, by=("atoms",), values=figures, title="Between two seeds: medians")
        write_json(json_file, records)


def _given(**options: int | None) -> dict[str, Any]:
    """The options that were given; the others keep their defaults."""
    return {name: value for name, value in options.items() if value is not None}


def _refuse(what: str, **options: Any) -> None:
    """Refuse options that would be ignored."""
    from glassmap.agent.errors import GlassmapError

    if given := [f"--{name}" for name, value in options.items() if value]:
        raise GlassmapError(f"{what} takes no {', '.join(given)}. Leave it out.")


def _numbers(text: str) -> tuple[int, ...]:
    """`5,2` as numbers."""
    from glassmap.agent.errors import GlassmapError

    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise GlassmapError(f"Give whole numbers with commas between, such as 5,2; got {text!r}.") from error


def _run_and_draw(folder: Path, config: "CampaignConfig", json_file: Path | None = None) -> None:
    """Advance a campaign that the command line has set up, and show where it came to."""
    from glassmap.agent.config.campaign import FILE_NAME
    from glassmap.agent.store.campaign_store import CampaignStore
    from glassmap.flows.figures import draw_all
    from glassmap.flows.rounds.campaign import open_campaign
    from glassmap.flows.rounds.loop import advance

    with progress() as report, open_campaign(folder, config=config, report=report) as campaign:
        config.to_toml(folder / FILE_NAME)
        reached = advance(campaign)
    with CampaignStore.read_only(folder) as store:
        print_learning_curve(store.curve(), store.coverage())
        print_status(reached.state, reached.reason)
        for picture in draw_all(store):
            say(f"Picture: {picture}")
    write_json(json_file, reached._asdict())


def _replay_config(
    folder: Path, dataset: Path, *, hold_out: str = "random", where: str | None = None, **settings: Any
) -> "CampaignConfig":
    """The replay of a data set over the whole 1 at.% grid of its elements."""
    from glassmap.agent.config.campaign import CampaignConfig
    from glassmap.agent.data.dataset import read_dataset

    backend = {"kind": "replay", "dataset": dataset.resolve(), "hold_out": hold_out, "where": where}
    spectra = read_dataset(dataset)
    for note in spectra.notes:
        say(f"Note: {note}")
    space = {"elements": spectra.elements}
    return CampaignConfig.of(
        {"name": folder.resolve().name, "space": space, "backend": backend, **settings}, source="settings"
    )


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
    folder: Path, system: str, q_range: tuple[float, float] | None, columns: str, wavelength: float | None, *, seed: int
) -> "CampaignConfig":
    """A campaign in a laboratory, results dropped into the campaign's folder `drop`."""
    from glassmap.agent.config.campaign import CampaignConfig
    from glassmap.agent.data.composition import elements_of
    from glassmap.agent.errors import CampaignError

    if q_range is None:
        raise CampaignError("Say the range in q that every scan covers, such as --range 1.5 4.5 (1/Å).")
    settings: dict[str, Any] = {
        "name": folder.resolve().name,
        "seed": seed,
        "space": {"elements": elements_of(system)},
        "spectrum": {"low": q_range[0], "high": q_range[1], "points": LAB_POINTS},
        "backend": {"kind": "lab", "columns": columns} | ({"wavelength": wavelength} if wavelength else {}),
    }
    return CampaignConfig.of(settings, source="settings")


if __name__ == "__main__":
    app()
