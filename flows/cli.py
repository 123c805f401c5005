"""`glassmap …`: each command opens the store or a data set, calls one function and prints."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.terminal import (
    errors_in_words,
    print_learning_curve,
    print_records,
    print_status,
    print_summary,
    progress,
    say,
    write_json,
)

if TYPE_CHECKING:
    from agent.campaign import CampaignConfig

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)
benchmark = typer.Typer(
    no_args_is_help=True, help="Measure how good the parts are, side by side with what else there is."
)
app.add_typer(benchmark, name="benchmark")

Json = Annotated[Path | None, typer.Option("--json", help="Also write plain records to this file.")]
Folder = Annotated[Path, typer.Argument(help="The campaign's folder.")]
Dataset = Annotated[Path, typer.Argument(help="A data set, one NetCDF file; `glassmap import` makes one.")]
Datasets = Annotated[list[Path], typer.Argument(help="Data sets, NetCDF files.")]
Where = Annotated[str | None, typer.Option(help="Only the samples for which this holds, e.g. `cleaned`.")]
Preset = Annotated[Literal["default", "paper"], typer.Option(help="Network and losses: ours, or as published.")]


class Split(StrEnum):
    """What a model is judged by."""

    RANDOM = "random"
    WAFER = "wafer"


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
    from agent.campaign import FILE_NAME, CampaignConfig
    from agent.store import CampaignStore
    from flows.report import draw_all
    from flows.stages import advance, open_campaign

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
            model={"preset": preset} | {k: v for k, v in (("members", members), ("steps", steps)) if v is not None},
            stop={"max_rounds": rounds},
        )
        path = folder / FILE_NAME
        if path.exists():
            earlier = CampaignConfig.from_toml(path)
            config.check_continues(earlier.model_dump(mode="json"))
            config = config.model_copy(update={"stop": earlier.stop.model_copy(update={"max_rounds": rounds})})
        with progress() as report, open_campaign(folder, config=config, report=report) as campaign:
            config.to_toml(path)
            reached = advance(campaign)
        with CampaignStore.read_only(folder) as store:
            print_learning_curve(store.curve(), store.coverage())
            print_status(reached.state, reached.reason)
            for picture in draw_all(store):
                say(f"Picture: {picture}")
        write_json(json_file, reached._asdict())


@app.command()
def init(
    folder: Folder,
    dataset: Annotated[Path, typer.Option(help="Replay this data set.")],
    seed: Annotated[int, typer.Option(help="Same seed, same campaign.")] = 0,
) -> None:
    """Write a campaign file, every setting spelled out, to be edited before `glassmap run`.

    Example: `glassmap init campaigns/co-v-zr --dataset co-v-zr.nc`
    """
    from agent.campaign import FILE_NAME
    from agent.errors import CampaignError

    with errors_in_words():
        if (folder / FILE_NAME).exists():
            raise CampaignError(f"{folder / FILE_NAME} is there already. Edit it, or choose another folder.")
        _replay_config(folder, dataset, seed=seed).to_toml(folder / FILE_NAME)
        say(f"Wrote {folder / FILE_NAME}. Next: glassmap run {folder}")


@app.command()
def run(folder: Folder) -> None:
    """Advance a campaign until it stops or waits; under Prefect where PREFECT_API_URL is set.

    Example: `glassmap run campaigns/co-v-zr`
    """
    with errors_in_words():
        if os.environ.get("PREFECT_API_URL"):
            from flows.campaign import run_campaign

            reached = run_campaign(folder)
        else:
            from flows.stages import advance, open_campaign

            with progress() as report, open_campaign(folder, report=report) as campaign:
                reached = advance(campaign)
        print_status(reached.state, reached.reason)


@app.command()
def status(folder: Folder, json_file: Json = None) -> None:
    """Say where a campaign stands; reads only.

    Example: `glassmap status campaigns/co-v-zr`
    """
    from agent.store import CampaignStore

    with errors_in_words(), CampaignStore.read_only(folder) as store:
        reached = store.status()
        print_status(reached.state, reached.reason)
        if curve := store.curve():
            print_learning_curve(curve, store.coverage())
        write_json(json_file, reached._asdict())


@app.command("map")
def map_(folder: Folder) -> None:
    """Draw the last Δq map of a ternary campaign and say where the file of all alloys is.

    Example: `glassmap map campaigns/co-v-zr`
    """
    from agent.store import CampaignStore
    from flows.report import draw_map, last_map

    with errors_in_words(), CampaignStore.read_only(folder) as store:
        say(f"Every alloy: {last_map(store)}")
        if picture := draw_map(store):
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
    from agent.store import CampaignStore
    from flows.report import generate_alloy

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
    from agent.dataset import write_dataset
    from agent.scans import read_scans

    with errors_in_words():
        spectra = read_scans(folder, compositions=compositions, axis=axis, wavelength=wavelength, unit=unit)
        write_dataset(spectra, output)
        for note in spectra.notes:
            say(f"Note: {note}")
        say(f"Wrote {len(spectra)} spectra of {'-'.join(spectra.elements)} to {output}")


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="A data set of measured spectra.")] = None,
    folder: Annotated[Path, typer.Option(help="Campaign folder.")] = Path("campaigns/demo"),
) -> None:
    """The main job from beginning to end: replay a data set, map it, draw it.

    Example: `glassmap demo --data co-v-zr.nc`
    """
    from agent.errors import DatasetError

    with errors_in_words():
        if data is None or not data.exists():
            raise DatasetError(
                f"The demo needs a data set of measured spectra, got {data or 'none'}. "
                "Name one: `make demo DATA=path/to/data.nc`."
            )
        replay(data, folder=folder)


# --- benchmarks


@benchmark.command("spectra")
def benchmark_spectra(
    datasets: Datasets,
    n: Annotated[int | None, typer.Option(min=1, help="Spectra to learn from; the paper's number by default.")] = None,
    split: Annotated[list[Split], typer.Option(help="What to hold out.")] = list(Split),  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    where: Where = None,
    members: Annotated[int | None, typer.Option(help="Networks of the ensemble.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    published: Annotated[bool, typer.Option(help="Also the published network: takes a GPU to be quick.")] = False,
    json_file: Json = None,
) -> None:
    """Ours, the baselines and the published network on the same splits and seeds.

    Example: `glassmap benchmark spectra co-v-zr.nc --seeds 5 --split random --json records.json`
    """
    from agent.training import PRESETS
    from flows.benchmarks import spectra

    with errors_in_words():
        changes = {k: v for k, v in (("members", members), ("steps", steps)) if v is not None}
        records = spectra.run(
            datasets,
            n=n,
            splits=split,
            seeds=range(seeds),
            where=where,
            config=PRESETS["default"].model_copy(update=changes),
            published=published,
            tell=lambda r: say(f"{r['dataset']} {r['split']} @ {r['n']} seed {r['seed']}: {r['model']} {r['mse']:.2f}"),
        )
        print_summary(records, by=("dataset", "split", "n", "model"), values=("mse",), title="Test MSE")
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
    from flows.benchmarks import planning

    with errors_in_words():
        records = planning.run(batch=batch, seeds=range(seeds))
        figures = ("mean", "worst", "separation", "seconds", "peak_mib")
        print_summary(records, by=("elements", "batch", "method"), values=figures, title="Medians (at.%, s, MiB)")
        write_json(json_file, records)


@benchmark.command("peaks")
def benchmark_peaks(
    datasets: Datasets,
    picture: Annotated[Path | None, typer.Option(help="PNG of the scatter plots.")] = None,
    json_file: Json = None,
) -> None:
    """The batched peak finder against the fit, and the fit against the values published with the data.

    Example: `glassmap benchmark peaks co-v-zr.nc --picture peaks.png`
    """
    from flows.benchmarks import peaks

    with errors_in_words():
        records = peaks.run(datasets)
        print_records(records)
        write_json(json_file, records)
        if picture is not None:
            peaks.scatter_plot(datasets, picture)


def _replay_config(
    folder: Path, dataset: Path, *, hold_out: str = "random", where: str | None = None, **settings: Any
) -> "CampaignConfig":
    """The replay of a data set over the whole 1 at.% grid of its elements."""
    from agent.campaign import CampaignConfig
    from agent.dataset import read_dataset

    backend = {"kind": "replay", "dataset": dataset.resolve(), "hold_out": hold_out, "where": where}
    spectra = read_dataset(dataset)
    for note in spectra.notes:
        say(f"Note: {note}")
    space = {"elements": spectra.elements}
    return CampaignConfig.of(
        {"name": folder.resolve().name, "space": space, "backend": backend, **settings}, source="settings"
    )
