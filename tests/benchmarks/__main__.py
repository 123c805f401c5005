"""`python -m tests.benchmarks NAME`: how good and how fast the parts are, side by side with what else there is."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from glassmap.agent.peaks.figures import DELTA_Q, FIGURES
from glassmap.agent.peaks.measures import MEASURES, MSE
from glassmap.flows.cli.options import (
    Dataset,
    Datasets,
    PotentialName,
    Preset,
    Variable,
    Where,
    given,
    numbers,
    refuse,
)
from glassmap.flows.cli.terminal import errors_in_words, print_records, print_summary, say

NAMES = tuple(figure.name for figure in FIGURES)
MEASURE_NAMES = tuple(measure.name for measure in MEASURES)

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)


Json = Annotated[Path | None, typer.Option("--json", help="Also write plain records to this file.")]


class TestSet(StrEnum):
    """What a benchmark tests on."""

    RANDOM = "random"
    PLANNED = "planned"
    WAFER = "wafer"
    EDGE = "edge"
    P1 = "p1"
    P2 = "p2"
    P3 = "p3"


def write_json(path: Path | None, content: object) -> None:
    """Write plain records, where a file was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")


@app.command("harmed")
def benchmark_harmed(
    count: Annotated[int, typer.Option("--files", help="How many, over all formats.")] = 10_000,
    json_file: Json = None,
) -> None:
    """What becomes of harmed files of every format: how many are read or refused, and how long one takes at most.

    *Unforeseen* are those refused in a program's words. One that takes 2 s, much memory or another file ends it.

    Example: `python -m tests.benchmarks harmed --files 10000`
    """
    from tests.support import harmed_files

    with errors_in_words():
        records = harmed_files.run(count)
        print_records(records)
        write_json(json_file, records)


@app.command("growth")
def benchmark_growth(
    sizes: Annotated[str, typer.Option(help="Numbers of measurements.")] = "0,100,1000,10000,100000",
    json_file: Json = None,
) -> None:
    """What a campaign's store takes for status, planning and the ledger, from its first to its 100,000th measurement.

    Example: `python -m tests.benchmarks growth --sizes 0,1000,100000`
    """
    from tests.benchmarks import growth

    with errors_in_words():
        records = growth.run(sizes=numbers(sizes), on_record=lambda r: say(f"{r['measurements']}: {r['plan']:.2f} s"))
        print_records(records)
        write_json(json_file, records)


@app.command("drop")
def benchmark_drop(
    sizes: Annotated[str, typer.Option(help="Numbers of scans.")] = "200,2000",
    json_file: Json = None,
) -> None:
    """What a laboratory waits for that drops a wafer's scans and their table, and a look at scans that wait.

    Example: `python -m tests.benchmarks drop --sizes 2000 --json records.json`
    """
    from tests.benchmarks import drop

    with errors_in_words():
        records = drop.run(sizes=numbers(sizes), on_record=lambda r: say(f"{r['scans']}: {r['taken']:.1f} s"))
        print_records(records)
        write_json(json_file, records)


@app.command("commands")
def benchmark_commands(
    runs: Annotated[int, typer.Option(min=1, help="Of each command.")] = 5,
    json_file: Json = None,
) -> None:
    """What a person waits for at the command line: seconds and peak memory of every command that computes nothing.

    Example: `python -m tests.benchmarks commands --json records.json`
    """
    from tests.benchmarks import commands

    with errors_in_words():
        records = commands.run(runs=runs)
        print_records(records)
        write_json(json_file, records)


@app.command("screening")
def benchmark_screening(
    dataset: Dataset,
    sizes: Annotated[str, typer.Option(help="Numbers of spectra to learn from.")] = "50,100",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    json_file: Json = None,
) -> None:
    """What screening finds of the samples that a data set's authors left out (`cleaned`), and what that is worth.

    Example: `python -m tests.benchmarks screening co-ti-zr.nc --seeds 5`
    """
    from tests.benchmarks import screening

    with errors_in_words():
        records = screening.run(
            dataset,
            sizes=numbers(sizes),
            seeds=range(seeds),
            on_record=lambda r: say(
                f"@ {r['n']} seed {r['seed']}: {r['found']} of {r['bad']} found, {r['flagged']} flagged"
            ),
        )
        figures = [name for name in records[0] if name not in ("dataset", "n", "seed")]
        print_summary(records, by=("dataset", "n"), values=figures, title="Medians")
        write_json(json_file, records)


@app.command("known")
def benchmark_known(
    datasets: Datasets,
    sizes: Annotated[str, typer.Option(help="Numbers of spectra to learn from.")] = "40,100",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    part: Annotated[list[str] | None, typer.Option(help="Such as half, hole, disc, wafer, p1; see there.")] = None,
    networks: Annotated[bool, typer.Option(help="With networks; without them a case takes seconds.")] = True,
    where: Where = None,
    variable: Variable = "intensity",
    picture: Annotated[Path | None, typer.Option(help="PNG of actual against expected errors.")] = None,
    json_file: Json = None,
) -> None:
    """What is called known or extrapolated, by the expected error and by distance, against what the errors are.

    Example: `python -m tests.benchmarks known co-v-zr.nc --no-networks --json records.json`
    """
    from tests.benchmarks import known

    with errors_in_words():
        records = known.run(
            datasets,
            sizes=numbers(sizes),
            parts=tuple(part or known.PARTS),
            seeds=range(seeds),
            networks=networks,
            where=where,
            variable=variable,
            on_record=lambda r: say(
                f"{r['dataset']} {r['part']} @ {r['n']} seed {r['seed']}: {r['rule']}: {r['share']:.2f}"
            ),
        )
        values = [name for name, value in records[0].items() if isinstance(value, float)]
        print_summary(records, by=("dataset", "part", "rule"), values=values, title="Medians")
        if picture:
            known.draw(records, picture)
        write_json(json_file, records)


@app.command("calibration")
def benchmark_calibration(
    datasets: Datasets,
    split: Annotated[list[str] | None, typer.Option(help="random, wafer or edge; all by default.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 10,
    checkpoints: Annotated[Path | None, typer.Option(help="Trained ensembles, as SET-SPLIT-SEED/done.json.")] = None,
    where: Where = None,
    variable: Variable = "intensity",
    picture: Annotated[Path | None, typer.Option(help="PNG of how often alloys were a glass against P(glass).")] = None,
    json_file: Json = None,
) -> None:
    """Whether Δq, q1, P(glass) and the band hold what was measured, by wafer and for glasses, beside controls.

    Example: `python -m tests.benchmarks calibration co-v-zr.nc --json records.json`
    """
    from tests.benchmarks import calibration

    with errors_in_words():
        records = calibration.run(
            datasets,
            splits=tuple(split or calibration.KINDS),
            seeds=range(seeds),
            checkpoints=checkpoints,
            where=where,
            variable=variable,
            on_record=lambda r: say(
                f"{r['dataset']} {r['split']} seed {r['seed']}: {r['figure']} by {r['way']}: {r['inside'] or 0:.2f}"
            ),
        )
        values = [name for name in ("crps", "inside", "brier", "ece", "width") if name in records[0]]
        print_summary(records, by=("dataset", "split", "figure", "way"), values=values, title="Medians")
        if picture:
            calibration.draw(records, picture)
        write_json(json_file, records)


@app.command("spectra")
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
    context: Annotated[str | None, typer.Option(help="Instead: with and without this process variable.")] = None,
    networks: Annotated[bool, typer.Option(help="With --context: the stack has them; without, a fit is quick.")] = True,
    json_file: Json = None,
) -> None:
    """Ours, the baselines and the published network on the same splits and seeds.

    Splits: random; planned (the same test set, half as many spectra, chosen by `plan_batch`); wafer (one held out);
    edge (learned from alloys with little of some element, tested on the others); p1, p2 and p3 (tested on alloys of all
    elements, learned from those that lack one, from others of all, from both). `--ablate` sees one half of each set
    only, so that what it finds best can be judged on the other. `--context deposition_rate` compares the stack by
    composition alone with one that is told that column, one fitted for each of its values, and one told random labels.

    Example: `python -m tests.benchmarks spectra co-v-zr.nc --seeds 5 --split random --json records.json`
    """
    from glassmap.agent.models.base_models import BASE_MODELS
    from glassmap.agent.models.config import PRESETS
    from tests.benchmarks import context as spectra_context
    from tests.benchmarks import spectra

    with errors_in_words():
        if ablate:
            refuse("--ablate", members=members, steps=steps, published=published, picture=picture)
            studied = spectra.ablate(
                datasets,
                n=n,
                seeds=range(100, 100 + seeds),
                where=where,
                variable=variable,
                on_record=lambda r: say(f"{r['dataset']} @ {r['n']} seed {r['seed']}: {r['change']} {r['mse']:.4g}"),
            )
            figures = [
                name for name in (*MEASURE_NAMES, "energy_score", "rank", "inside") if studied[0].get(name) is not None
            ]
            print_summary(studied, by=("dataset", "n", "change"), values=figures, title="Errors, medians")
            write_json(json_file, studied)
            return
        changes = given(members=members, steps=steps)
        if context is not None:
            refuse("--context", published=published, picture=picture)
            told = spectra_context.run(
                datasets,
                variable=context,
                n=n,
                splits=split,
                seeds=range(seeds),
                networks=networks,
                config=PRESETS["default"].model_copy(update=changes),
                where=where,
                on_record=lambda r: say(
                    f"{r['dataset']} {r['split']} @ {r['n']} seed {r['seed']}: {r['model']} {r['mse']:.4g}"
                ),
            )
            figures = [name for name in ("mse", *NAMES, "right") if told[0].get(name) is not None]
            print_summary(told, by=("dataset", "split", "n", "model"), values=figures, title=f"Told {context}, medians")
            write_json(json_file, told)
            return
        records = spectra.run(
            datasets,
            n=n,
            splits=split,
            seeds=range(seeds),
            where=where,
            variable=variable,
            config=PRESETS["default"].model_copy(update=changes),
            published=published,
            on_record=lambda r: say(
                f"{r['dataset']} {r['split']} @ {r['n']} seed {r['seed']}: {r['model']} {r['mse']:.4g}"
            ),
        )
        print_summary(records, by=("dataset", "split", "n", "model"), values=("mse",), title="Test MSE")
        others = [name for name in MEASURE_NAMES if name != MSE.name and records[0].get(name) is not None]
        print_summary(records, by=("dataset", "split", "n", "model"), values=others, title="By other measures, medians")
        ours = [record for record in records if record["model"] == "ensemble"]
        trust = ("oof_mse", "rank", "inside", "expected_mse", "expected_rank", "known")
        figures = [name for name in (*BASE_MODELS, *trust) if ours[0].get(name) is not None]
        print_summary(ours, by=("dataset", "split", "n"), values=figures, title="How far ours can be trusted, medians")
        noise = spectra.measure_noise(datasets, where=where, variable=variable)
        say("Noise: what samples of one alloy (1 at.%) differ by")
        print_records(noise)
        write_json(json_file, {"errors": records, "noise": noise})
        if picture is not None:
            spectra.draw(records, picture)


@app.command("generative")
def benchmark_generative(
    datasets: Datasets,
    n: Annotated[int | None, typer.Option(min=1, help="Spectra to learn from; the paper's number by default.")] = None,
    split: Annotated[TestSet, typer.Option(help="What to test on.")] = TestSet.RANDOM,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    where: Where = None,
    picture: Annotated[Path | None, typer.Option(help="PNG of draws beside measurements of one alloy.")] = None,
    json_file: Json = None,
) -> None:
    """How good draws of spectra are, ours and the controls': energy score, CRPS and intervals of Δq and q1, classifier.

    Of each alloy 50 spectra are drawn. *measured again* is what measurements of one alloy say of each other,
    where samples overlap: a yardstick. *again*: on alloys learned from, measured on another wafer.

    Example: `python -m tests.benchmarks generative co-v-zr.nc fe-ti-nb.nc --seeds 3 --json records.json`
    """
    from tests.benchmarks import generative

    with errors_in_words():
        examples: list[generative.Example] = []
        records = generative.run(
            datasets,
            n=n,
            split=split,
            seeds=range(seeds),
            where=where,
            on_record=lambda r: say(f"{r['dataset']} {r['split']} @ {r['n']} seed {r['seed']}: {r['model']}"),
            on_example=examples.append,
        )
        for title, names in generative.TABLES.items():
            rows = [{name: record.get(name) for name in ("dataset", "n", "model", *names)} for record in records]
            said = [{name: float("nan") if value is None else value for name, value in row.items()} for row in rows]
            print_summary(said, by=("dataset", "n", "model"), values=names, title=f"{title}, medians")
        write_json(json_file, records)
        if picture is not None and examples:
            generative.draw(examples, picture)


@app.command("speed")
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

    Example: `python -m tests.benchmarks speed --preset paper --points 3743 --device cuda`
    """
    from glassmap.agent.models.config import PRESETS
    from tests.benchmarks import speed

    with errors_in_words():
        records = speed.run(
            config=PRESETS[preset],
            samples=samples,
            points=points,
            members=numbers(members),
            elements=numbers(elements),
            longest_map=longest_map,
            device=device,
            on_record=lambda r: say(f"{r['what']}: {r['case']}"),
        )
        for what in dict.fromkeys(record["what"] for record in records):
            say(what)
            print_records(
                [{k: v for k, v in record.items() if k != "what"} for record in records if record["what"] == what]
            )
        write_json(json_file, records)


@app.command("counted")
def benchmark_counted(
    elements: Annotated[str, typer.Option(help="Of the systems to map.")] = "3,4,5",
    json_file: Json = None,
) -> None:
    """What training and maps would take on a GPU, from launches, bytes and arithmetic; none is needed.

    Example: `python -m tests.benchmarks counted --json records.json`
    """
    from tests.benchmarks import counted

    with errors_in_words():
        records = counted.run(
            elements=numbers(elements), on_record=lambda r: say(f"{r['preset']}, {r['points']} points")
        )
        print_records(records)
        write_json(json_file, records)


@app.command("runner")
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

    Example: `python -m tests.benchmarks runner --json records.json`
    """
    from glassmap.agent.models.config import PRESETS
    from tests.benchmarks import runner

    with errors_in_words():
        records = runner.run(
            config=PRESETS[preset].model_copy(update=given(members=members, steps=steps)),
            workers=numbers(workers),
            alloys=alloys,
            atoms=atoms,
            elements=elements,
            step_at_pct=step,
            on_record=lambda r: say(r["runner"]),
        )
        print_records(records)
        write_json(json_file, records)


@app.command("dashboard")
def benchmark_dashboard(
    refreshes: Annotated[int, typer.Option(min=4, help="Over which the server's memory is watched.")] = 1000,
    many: Annotated[bool, typer.Option(help="Instead: a campaign of very many measurements, and many people.")] = False,
    measurements: Annotated[int, typer.Option(min=1000, help="Of that campaign.")] = 100_000,
    writes: Annotated[int, typer.Option(min=3, help="Measurements that come in meanwhile.")] = 30,
    people: Annotated[int, typer.Option(min=1, help="Sessions at once.")] = 20,
    json_file: Json = None,
) -> None:
    """What people wait for at the dashboard, in Chromium, and what it costs the server and who writes.

    Example: `python -m tests.benchmarks dashboard --many --json records.json`
    """
    from tests.benchmarks import dashboard

    with errors_in_words():
        if many:
            records = dashboard.run_many(measurements=measurements, writes=writes, people=people, report=_report)
        else:
            records = dashboard.run(refreshes=refreshes, report=_report)
        print_records(records)
        write_json(json_file, records)


@app.command("planning")
def benchmark_planning(
    batch: Annotated[int, typer.Option(min=1, help="Alloys a batch.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    json_file: Json = None,
) -> None:
    """A first batch on the 1 at.% grids of three, four and five elements, by every method.

    Example: `python -m tests.benchmarks planning --json records.json`
    """
    from tests.benchmarks import planning

    with errors_in_words():
        records = planning.run(batch=batch, seeds=range(seeds))
        figures = ("mean", "worst", "separation", "seconds", "peak_mib")
        print_summary(records, by=("elements", "batch", "method"), values=figures, title="Medians (at.%, s, MiB)")
        write_json(json_file, records)


@app.command("plan-wafers")
def benchmark_plan_wafers(
    elements: Annotated[str, typer.Option(help="Numbers of elements, each with a gun.")] = "3,4,5",
    wafers: Annotated[str, typer.Option(help="How many wafers to begin.")] = "1,2,3",
    lying: Annotated[str, typer.Option(help="How many lie there besides.")] = "0,20",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    json_file: Json = None,
) -> None:
    """What planning the next wafers takes, and how near they come to the space beside wafers at random powers.

    Example: `python -m tests.benchmarks plan-wafers --json records.json`
    """
    from tests.benchmarks import plan_wafers

    with errors_in_words():
        records = plan_wafers.run(numbers(elements), numbers(wafers), numbers(lying), range(seeds))
        figures = ("mean", "random", "worst", "unreached", "seconds", "peak_mib")
        print_summary(records, by=("elements", "wafers", "lying"), values=figures, title="Medians (at.%, s, MiB)")
        write_json(json_file, records)


@app.command("wafers")
def benchmark_wafers(
    datasets: Datasets,
    where: Where = None,
    spectra: Annotated[int, typer.Option(min=10, help="To learn from, on however many wafers.")] = 60,
    draws: Annotated[int, typer.Option(min=1, help="Random orders of the wafers.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    picture: Annotated[Path | None, typer.Option(help="PNG of the curves.")] = None,
    json_file: Json = None,
) -> None:
    """Errors against the wafers measured: chosen as a campaign chooses them, at random, and the best that could be.

    Example: `python -m tests.benchmarks wafers fe-ti-nb.nc co-ti-zr.nc --where cleaned`
    """
    from tests.benchmarks import wafers

    with errors_in_words():
        records = wafers.run(
            datasets,
            where=where,
            spectra=spectra,
            draws=draws,
            seeds=range(seeds),
            on_record=lambda r: say(
                f"{r['dataset']} seed {r['seed']}, {r['wafers']} wafers: {r['chosen']:.3g}, at random {r['random']:.3g}"
            ),
        )
        figures = ("hours", "chosen", "random", "best", "worst", "all")
        print_summary(records, by=("dataset", "wafers"), values=figures, title="Medians")
        if picture is not None:
            wafers.draw(records, picture)
        write_json(json_file, records)


@app.command("wafer-costs")
def benchmark_wafer_costs(
    datasets: Datasets,
    where: Where = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of 20 spectra each.")] = 8,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    wafer_hours: Annotated[float, typer.Option(min=0, help="That a wafer costs.")] = 8.0,
    point_hours: Annotated[float, typer.Option(min=0, help="That a spectrum costs.")] = 0.05,
    picture: Annotated[Path | None, typer.Option(help="PNG of the curves.")] = None,
    json_file: Json = None,
) -> None:
    """Errors against hours: rounds planned by wafers under `[cost]`, beside rounds planned by alloys.

    Example: `python -m tests.benchmarks wafer-costs co-v-zr.nc --where cleaned`
    """
    from glassmap.agent.config.wafers import CostConfig
    from tests.benchmarks import wafer_costs

    with errors_in_words():
        records = wafer_costs.run(
            datasets,
            where=where,
            rounds=rounds,
            seeds=range(seeds),
            cost=CostConfig(wafer=wafer_hours, point=point_hours),
            on_record=lambda r: say(
                f"{r['dataset']} seed {r['seed']} by {r['unit']}s, {r['spectra']} spectra: {r['hours']:.3g} h, "
                f"MSE {r['mse']:.3g}"
            ),
        )
        by = ("dataset", "unit", "spectra")
        print_summary(records, by=by, values=("wafers", "hours", "mse"), title="Medians")
        if picture is not None:
            wafer_costs.draw(records, picture)
        write_json(json_file, records)


@app.command("sputtering")
def benchmark_sputtering(
    datasets: Datasets,
    picture: Annotated[Path | None, typer.Option(help="PNG of what the model says.")] = None,
    json_file: Json = None,
) -> None:
    """How well a chamber tells the compositions of measured wafers: alone, together, and by the others of a system.

    Example: `python -m tests.benchmarks sputtering co-v-zr.nc fe-ti-nb.nc co-ti-zr.nc`
    """
    from tests.benchmarks import sputtering

    with errors_in_words():
        records = sputtering.run(datasets, on_record=lambda r: say(f"{r['dataset']} {r['wafer']}: {r['own']:.2f} at.%"))
        print_records(records)
        if picture is not None:
            sputtering.draw(picture)
        write_json(json_file, records)


@app.command("peaks")
def benchmark_peaks(
    datasets: Datasets,
    picture: Annotated[Path | None, typer.Option(help="PNG of the scatter plots.")] = None,
    generated: Annotated[bool, typer.Option(help="Instead: of generated spectra against measured ones.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, of generated spectra.")] = 3,
    where: Where = None,
    json_file: Json = None,
) -> None:
    """The batched peak finder against the fit, and the fit against the values published with the data.

    Example: `python -m tests.benchmarks peaks co-v-zr.nc --picture peaks.png`
    """
    from tests.benchmarks import peaks

    with errors_in_words():
        if generated:
            judged = peaks.judge_generated(
                datasets,
                seeds=range(seeds),
                where=where,
                picture=picture,
                on_record=lambda r: say(f"{r['dataset']} seed {r['seed']}: {r['quantity']} MAE {r['mae']:.4f}"),
            )
            figures = ("slope", "r2_origin", "r2", "mae", "n")
            print_summary(judged, by=("dataset", "n_learned", "quantity"), values=figures, title="Generated: medians")
            glass = [record for record in judged if record["quantity"] == DELTA_Q.name]
            figures = ("both", "missed", "false", "neither")
            print_summary(glass, by=("dataset", "n_learned"), values=figures, title="Glass by Δq: medians")
            write_json(json_file, judged)
            return
        refuse("this without --generated", where=where)
        records = peaks.run(datasets)
        print_records(records)
        write_json(json_file, records)
        if picture is not None:
            peaks.scatter_plot(datasets, picture)


@app.command("explain")
def benchmark_explain(
    campaign: Annotated[Path, typer.Argument(help="Folder of a replay of the first set.")],
    datasets: Datasets,
    pictures: Annotated[Path, typer.Option(help="Folder for the PNG files.")],
    where: Where = None,
    json_file: Json = None,
) -> None:
    """The figures of the pages that explain (Δq, one round, what an ensemble says), and the numbers in them.

    Example: `python -m tests.benchmarks explain campaigns/co-v-zr co-v-zr.nc fe-ti-nb.nc --pictures pictures`
    """
    from tests.benchmarks import explain

    with errors_in_words():
        found = explain.run(campaign, datasets, where=where, pictures=pictures)
        for name in ("widths", "cost", "nearest"):
            print_records(found[name])
        write_json(json_file, found)


@app.command("widths")
def benchmark_widths(
    n: Annotated[int, typer.Option(min=1, help="Spectra a case.")] = 400,
    fitted: Annotated[int, typer.Option(min=0, help="As many of them also one by one, 10 ms each.")] = 40,
    picture: Annotated[Path | None, typer.Option(help="PNG of the errors of Δq.")] = None,
    before: Annotated[Path | None, typer.Option(help="Records of another version, to draw beside.")] = None,
    examples: Annotated[Path | None, typer.Option(help="PNG of a spectrum of each kind.")] = None,
    json_file: Json = None,
) -> None:
    """First peaks of made-up spectra, which are known: by width, profile, asymmetry, background, noise, lines.

    Example: `python -m tests.benchmarks widths --picture widths.png --json records.json`
    """
    from tests.benchmarks import widths

    with errors_in_words():
        records = widths.run(n=n, fitted=fitted)
        shown = ("family", "level", "way", "refused", "bias", "scatter", "worst", "share_worst", "covered")
        print_records([{name: record[name] for name in shown} for record in records])
        write_json(json_file, records)
        if picture is not None:
            widths.draw(records, picture, before=json.loads(before.read_text()) if before else ())
        if examples is not None:
            widths.draw_examples(examples)


@app.command("volumes")
def benchmark_volumes(
    datasets: Datasets,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of samples; thresholds were set on the first five.")] = 10,
    json_file: Json = None,
) -> None:
    """What the volume of atoms finds of faults put into good data sets, at which size, and how often it is wrong.

    Example: `python -m tests.benchmarks volumes co-v-zr.nc simulation/zr-cu-al.nc --json records.json`
    """
    from tests.benchmarks import volumes

    with errors_in_words():
        laws, records = volumes.laws(datasets), volumes.run(datasets, seeds=range(seeds))
        print_records(laws)
        print_records(volumes.over_sets(records))
        write_json(json_file, {"laws": laws, "faults": records})


@app.command("candidates")
def benchmark_candidates(
    datasets: Datasets,
    where: Where = None,
    seeds: Annotated[int, typer.Option(min=1, help="Draws; choices were made on the first five.")] = 10,
    checkpoints: Annotated[Path | None, typer.Option(help="Folder of trained ensembles, `SET-KIND-SEED`.")] = None,
    json_file: Json = None,
) -> None:
    """What comes of measuring candidates: centres of places, beside the widest or surest alloys one by one.

    Example: `python -m tests.benchmarks candidates co-v-zr.nc --seeds 2 --json records.json`
    """
    from tests.benchmarks import candidates

    with errors_in_words():
        records = candidates.run(datasets, seeds=range(seeds), where=where, checkpoints=checkpoints)
        print_records(candidates.over_draws(records))
        write_json(json_file, records)


@app.command("corrections")
def benchmark_corrections(
    dataset: Dataset,
    n: Annotated[int, typer.Option(min=1, help="Noises of each made-up peak.")] = 50,
    json_file: Json = None,
) -> None:
    """What a diffractometer does to first peaks, and what is left of it once corrected; factors on a simulated set.

    Example: `python -m tests.benchmarks corrections simulation/zr-cu-al.nc --json records.json`
    """
    from tests.benchmarks import corrections

    with errors_in_words():
        records = corrections.run(dataset, n=n)
        print_records(records)
        write_json(json_file, records)


@app.command("states")
def benchmark_states(
    datasets: Datasets,
    generated: Annotated[bool, typer.Option(help="Also: P(glass) of maps; a training a set and seed.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, of maps.")] = 5,
    json_file: Json = None,
) -> None:
    """Glass, crystal or both: what spectra are called against a hundred of each shared set labelled by eye.

    Example: `python -m tests.benchmarks states co-v-zr.nc fe-ti-nb.nc co-ti-zr.nc --json records.json`
    """
    from tests.benchmarks import states

    with errors_in_words():
        records = {"states": states.run(datasets), "learned": states.learn(datasets)}
        if generated:
            records["generated"] = states.judge_generated(datasets, seeds=range(seeds))
        for rows in records.values():
            print_records([{name: value for name, value in row.items() if name != "confusion"} for row in rows])
        write_json(json_file, records)


@app.command("enough")
def benchmark_enough(
    datasets: Datasets,
    where: Where = None,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of what is held out of each wafer.")] = 3,
    every: Annotated[int, typer.Option(min=1, help="Points after which the rule is asked.")] = 15,
    json_file: Json = None,
) -> None:
    """When enough of a wafer is measured: points saved, how often it was too early, seconds to know.

    Each wafer alone, as it was scanned, from coarse to fine, and as planned.

    Example: `python -m tests.benchmarks enough co-v-zr.nc fe-ti-nb.nc co-ti-zr.nc --where cleaned --json records.json`
    """
    from tests.benchmarks import enough

    with errors_in_words():
        records = enough.run(datasets, seeds=range(seeds), where=where, every=every)
        print_records(enough.over_wafers(records))
        write_json(json_file, records)


@app.command("curve")
def benchmark_curve(
    dataset: Dataset,
    variable: Variable = "intensity",
    where: Where = None,
    split: Annotated[list[TestSet], typer.Option(help="What to test on.")] = [TestSet.RANDOM],  # noqa: B006
    sizes: Annotated[str, typer.Option(help="Numbers of spectra to learn from.")] = "10,20,40,80,160",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    members: Annotated[int | None, typer.Option(help="Networks of the ensemble.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    published: Annotated[float | None, typer.Option(help="The paper's MSE at 40 spectra, to draw beside.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG of the curves.")] = None,
    json_file: Json = None,
) -> None:
    """Test MSE against the number of spectra, ours and the baselines, with the noise that no model gets below.

    Splits as of `spectra`; several give a panel each.

    Example: `python -m tests.benchmarks curve zr-cu-al.nc --variable rdf --where "not replicate" --picture curve.png`
    """
    from glassmap.agent.models.config import PRESETS
    from tests.benchmarks import curve

    with errors_in_words():
        changes = given(members=members, steps=steps)
        records = curve.run(
            dataset,
            variable=variable,
            where=where,
            splits=split,
            sizes=numbers(sizes),
            seeds=range(seeds),
            config=PRESETS["default"].model_copy(update=changes),
            on_record=lambda r: say(f"{r['split']}, {r['n']} spectra, seed {r['seed']}: {r['model']} {r['mse']:.4g}"),
        )
        floor = curve.noise_floor(dataset, variable=variable)
        print_summary(records, by=("split", "n", "model"), values=("mse",), title="Test MSE")
        if floor is not None:
            say(f"Noise of one simulation, MSE: {floor:.3g}")
        write_json(json_file, {"floor": floor, "records": records})
        if picture is not None:
            title = f"{dataset.stem}, {variable}: {seeds} splits"
            curve.draw(records, picture, floor=floor, published=published, title=title)


@app.command("acquisition")
def benchmark_acquisition(
    datasets: Datasets,
    where: Where = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds; the first half chooses.")] = 10,
    picture: Annotated[Path | None, typer.Option(help="PNG of the ratios.")] = None,
    json_file: Json = None,
) -> None:
    """What a batch should lean to: errors against spectra by every weighting, in paired replays; even is 1.

    Example: `python -m tests.benchmarks acquisition fe-ti-nb.nc co-ti-zr.nc --where cleaned`
    """
    from tests.benchmarks import acquisition

    with errors_in_words():
        records = acquisition.run(
            datasets,
            where=where,
            seeds=range(seeds),
            on_record=lambda r: say(f"{r['dataset']} seed {r['seed']}, {r['weights']} @ {r['n']}: MSE {r['mse']:.4g}"),
        )
        found = acquisition.summary(records)
        print_records(found)
        write_json(json_file, {"summary": found, "records": records})
        if picture is not None:
            acquisition.draw(records, picture)


@app.command("hold-out")
def benchmark_hold_out(
    datasets: Datasets,
    traces: Annotated[Path, typer.Option(help="Folder where replays are kept.")],
    where: Where = None,
    batch: Annotated[int, typer.Option(help="Alloys a round.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 4,
    json_file: Json = None,
) -> None:
    """What a laboratory gains and loses that holds nothing out: errors, what it is told of them, when it stops.

    Example: `python -m tests.benchmarks hold-out fe-ti-nb.nc co-ti-zr.nc --where cleaned --traces traces`
    """
    from tests.benchmarks import hold_out

    with errors_in_words():
        records = hold_out.run(datasets, traces, where=where, batch=batch, seeds=range(seeds), report=say)
        found = hold_out.summary(records)
        print_records(found)
        write_json(json_file, {"summary": found, "replays": records})


@app.command("stopping")
def benchmark_stopping(
    datasets: Datasets,
    replays: Annotated[int, typer.Option(min=1, help="How many campaigns are replayed.")] = 200,
    where: Where = None,
    traces: Annotated[Path, typer.Option(help="Folder that keeps the replays.")] = Path("campaigns/traces"),
    picture: Annotated[Path | None, typer.Option(help="PNG of the rules.")] = None,
    json_file: Json = None,
) -> None:
    """How often rules that end a campaign end it too soon, and how much too late, over replays that went on.

    Example: `python -m tests.benchmarks stopping co-v-zr.nc fe-ti-nb.nc co-ti-zr.nc --where cleaned --replays 441`
    """
    from tests.benchmarks import stopping

    with errors_in_words():
        records = stopping.run(datasets, traces, where=where, replays=replays, report=say)
        print_records([record for record in records if record["scenario"] in (stopping.ALL, stopping.HELD_WAFER)])
        write_json(json_file, records)
        if picture is not None:
            stopping.draw(records, picture)


@app.command("scaling")
def benchmark_scaling(
    datasets: Datasets,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    where: Where = None,
    json_file: Json = None,
) -> None:
    """What of a spectrum should become 100: errors by every rule, and how far it wanders, as counts get fewer.

    Example: `python -m tests.benchmarks scaling co-v-zr.nc fe-ti-nb.nc --seeds 4`
    """
    from tests.benchmarks import scaling

    with errors_in_words():
        records = scaling.run(
            datasets,
            seeds=range(seeds),
            where=where,
            on_record=lambda r: say(f"{r['dataset']} {r['counts']} {r['rule']} seed {r['seed']}: {r['left_over']:.3g}"),
        )
        figures = ("left_over", "by_factor", *scaling.FIGURES, "shift", "wander")
        print_summary(records, by=("dataset", "counts", "rule"), values=figures, title="Medians")
        write_json(json_file, records)


@app.command("noise")
def benchmark_noise(
    alloys: Annotated[list[str], typer.Argument(help="In at.%, of one system.")],
    potential: PotentialName = "zhou",
    sizes: Annotated[str, typer.Option(help="Numbers of atoms.")] = "500,1000,2000",
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds.")] = 2,
    folder: Annotated[Path, typer.Option(help="Results.")] = Path("simulations"),
    json_file: Json = None,
) -> None:
    """How far simulations of one alloy from different seeds are apart, and what they cost, against their atoms.

    Example: `python -m tests.benchmarks noise Zr50Cu40Al10 Zr20Cu70Al10 --potential ZrCuAl2011.eam.alloy`
    """
    from glassmap.simulation.lammps import available_cores
    from tests.benchmarks import noise

    with errors_in_words():
        records = noise.run(
            alloys,
            potential=potential,
            sizes=numbers(sizes),
            seeds=range(seeds),
            folder=folder,
            workers=available_cores(),
            report=_report,
        )
        figures = ("mse", "mse_merged", *NAMES, "cpu_seconds")
        print_summary(records, by=("atoms",), values=figures, title="Between two seeds: medians")
        write_json(json_file, records)


@app.command("crash")
def benchmark_crash(
    parts: Annotated[list[str] | None, typer.Argument(help="kill, power, full, harm, clocks, hostile; all.")] = None,
    most: Annotated[int | None, typer.Option(min=1, help="Trials of each kind; by default all of them.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trials at a time.")] = 2,
    json_file: Json = None,
) -> None:
    """What becomes of campaigns that are killed, cut off, harmed, out of room or time, or fed with strange files.

    Of each trial: the campaign *survived* (it came to the end that it would have had), or *said* what is the matter,
    in words, and what is lost; or something was *lost* without a word, or it *got stuck*, or ended in a *traceback*,
    or the harm was *unnoticed*. Power cuts and full disks need root, to mount.

    Example: `python -m tests.benchmarks crash kill harm --most 20`
    """
    from tests.benchmarks.crash import matrix
    from tests.benchmarks.crash.trials import summary

    with errors_in_words():
        trials = matrix.run(
            parts=tuple(parts or matrix.PARTS),
            most=most,
            workers=workers,
            on_trial=lambda t: say(f"{t.part}, {t.what}, {t.case}: {t.outcome}. {t.detail}".rstrip()),
        )
        rows = summary(trials)
        print_records(rows)
        told = [trial._asdict() for trial in trials if trial.detail]
        write_json(json_file, {"counts": rows, "told": told})


def _report(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
    """Show a line as each step of a benchmark begins or ends; it fulfils `glassmap.agent.progress.Report`."""
    say(f"{stage}: {done} of {total} {text}".rstrip())


if __name__ == "__main__":
    app()
