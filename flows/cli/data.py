"""The commands about data sets: made of a folder of scans or by simulation, and what can be learned from one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from glassmap.flows.cli.commands import Commands
from glassmap.flows.cli.options import (
    Atoms,
    Command,
    Dataset,
    Folder,
    Json,
    PotentialName,
    Protocol,
    ScanRange,
    Split,
    Variable,
    Where,
    columns_of,
    given,
    numbers,
    refuse,
)
from glassmap.flows.cli.terminal import (
    errors_in_words,
    look_and_say,
    print_costs,
    print_json,
    print_ranking,
    print_simulation,
    progress,
    say,
)

if TYPE_CHECKING:
    from glassmap.agent.data.dataset import SpectraSet

DRAWN = 10  # scans in the picture that an import draws
SHOWN = 10  # of the scans to look at, on the terminal

data = Commands()


@data.command("import")
def import_(
    source: Annotated[
        Path, typer.Argument(help="Folder of scans, or one file of many; or what `glassmap export` wrote.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="NetCDF file to write.")],
    compositions: Annotated[
        Path | None,
        typer.Option(help="Table (CSV, Excel, ODS): a row a scan, a column an element, such as `Co (at.%)`."),
    ] = None,
    axis: Annotated[
        Literal["q", "two_theta", "r"] | None,
        typer.Option(help="What the first column of a text is, where its header doesn't say it; no default."),
    ] = None,
    wavelength: Annotated[
        float | None, typer.Option(help="In Å, of scans over two_theta whose files don't say it.")
    ] = None,
    sample_column: Annotated[
        str | None, typer.Option(help="Of the table, that names the scans; the first, `file`, `sample` or `id`.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(help="ELEMENT=COLUMN of the table, such as Zr='Zr norm'; once for each element."),
    ] = None,
    unit: Annotated[
        Literal["at.%", "wt.%"] | None, typer.Option(help="Of the shares, where the column names don't say it.")
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(help="Such as Co,V,Zr: close their shares to 100, and leave out those of O, C, N and the like."),
    ] = None,
    scan_range: ScanRange = None,
    skip_unmatched: Annotated[
        bool, typer.Option("--skip-unmatched", help="Leave out scans without a row and rows without a scan.")
    ] = False,
) -> None:
    """Make a data set of scans and a composition table, or of what `glassmap export` wrote.

    It reads what a lab's drop folder reads; docs/formats.md lists the formats. Each scan of a file finds its row by its
    name, or by x and y in mm. At the end stands what was seen: number, axis, wavelength, scans with a first peak, those
    to look at, the range that is taken, and a picture of ten beside the output.

    Example: `glassmap import scans --compositions table.csv -o co-ti-zr.nc`
    """
    from glassmap.agent.data.dataset import write_dataset
    from glassmap.agent.data.exported import read_exported
    from glassmap.agent.data.mixture import mixture_of
    from glassmap.agent.data.scan_files import SUFFIXES
    from glassmap.agent.data.scan_folder import read_scan_folder
    from glassmap.agent.errors import DatasetError

    with errors_in_words():
        if source.is_file() and source.suffix.lower() not in SUFFIXES:
            refuse(
                "An export",
                compositions=compositions,
                axis=axis,
                wavelength=wavelength,
                **{"sample-column": sample_column, "skip-unmatched": skip_unmatched},
                columns=columns,
                unit=unit,
                over=over,
                range=scan_range,
            )
            spectra = read_exported(source)
        elif compositions is None:
            raise DatasetError(
                f"{source} holds scans or is missing; name the table of their compositions with --compositions "
                "TABLE.csv."
            )
        else:
            spectra = read_scan_folder(
                source,
                compositions=compositions,
                axis=axis,
                wavelength=wavelength,
                sample=sample_column,
                columns=columns_of(columns),
                unit=unit,
                over=[element.strip() for element in over.split(",")] if over else None,
                skip_unmatched=skip_unmatched,
            )
            spectra = _look_at_import(spectra, output, asked=scan_range)
        write_dataset(spectra, output)
        if (mixture := mixture_of(spectra.prepared())) is not None:
            say(mixture.say())
        for note in spectra.notes:
            say(f"Note: {note}")
        say(f"Wrote {len(spectra)} spectra of {'-'.join(spectra.elements)} to {output}")


def _look_at_import(spectra: "SpectraSet", output: Path, *, asked: tuple[float, float] | None) -> "SpectraSet":
    """Say what scans look like, draw ten of them beside the output, and return them over the range that is taken."""
    import numpy as np

    from glassmap.agent.data.composition import label
    from glassmap.agent.data.outliers import screen_set
    from glassmap.agent.peaks.first_look import cut, describe
    from glassmap.dashboard.plots.scans import draw_scans

    say(describe(spectra))
    look = look_and_say(spectra, asked=asked)
    taken = cut(spectra, look)
    flagged = screen_set(taken)
    for name, reason in list(flagged.items())[:SHOWN]:
        say(f"To look at: {name}: {reason}")
    if len(flagged) > SHOWN:
        say(f"To look at: {len(flagged) - SHOWN} more.")
    picture = output.with_name(f"{output.stem}-spectra.png")
    rows = np.unique(np.linspace(0, len(spectra) - 1, DRAWN).round().astype(int))
    scans = [
        (f"{spectra.ids[row]}\n{label(spectra.compositions[row], spectra.elements)}", spectra.intensities[row])
        for row in rows
    ]
    draw_scans(spectra.axis_name, spectra.axis, scans, picture, taken=(look.taken.low, look.taken.high))
    say(f"Picture of {len(scans)} of them: {picture}")
    return taken


@data.command()
def export(
    folder: Folder,
    output: Annotated[
        list[Path], typer.Option("-o", "--output", help="File; .nc, .parquet or .json says the format. Several: each.")
    ],
) -> None:
    """Write all measurements, decisions and the log to one file that pandas and xarray read; reads only.

    Example: `glassmap export campaigns/co-v-zr -o co-v-zr-measured.nc`
    """
    from glassmap.flows.campaign import Campaign

    with errors_in_words():
        for file in output:
            say(f"Wrote {Campaign(folder).export(file)} measurements to {file}")


@data.command()
def compare(
    dataset: Dataset,
    sizes: Annotated[str, typer.Option(help="Numbers of spectra to learn from.")] = "20,40,80,160",
    seeds: Annotated[int, typer.Option(min=1, help="Number of splits.")] = 3,
    split: Annotated[Split, typer.Option(help="What is held out to test on.")] = Split.RANDOM,
    where: Where = None,
    variable: Variable = "intensity",
    members: Annotated[int | None, typer.Option(min=1, help="Networks of the ensemble.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG of every model's error against spectra.")] = None,
    as_json: Json = False,
) -> None:
    """Say which model is best on your data, ours beside simple ones, and how many spectra would do.

    All learn from the same spectra and are tested on the same 30 % of the others, or on a wafer that none has seen.
    Two controls stand beside: the mean spectrum, and our ensemble without its networks. Some minutes on two cores.

    Example: `glassmap compare co-v-zr.nc --picture comparison.png`
    """
    from glassmap.agent.models.config import PRESETS
    from glassmap.flows.compare import (
        OURS,
        Judged,
        compare_models,
        mse_by_size,
        rank_models,
        read_prepared,
        say_what_holds,
    )

    with errors_in_words():
        config = PRESETS["default"].model_copy(update=given(members=members, steps=steps))
        spectra = read_prepared(dataset, variable=variable, where=where)
        judged = list[Judged]()
        with progress() as report:
            for one in compare_models(
                spectra, sizes=numbers(sizes), seeds=range(seeds), kind=split, config=config, report=report
            ):
                judged.append(one)
                if one.model == OURS:  # the last of a split
                    all_of_it = (f"{j.model} {j.mse:.3g}" for j in judged if (j.n, j.seed) == (one.n, one.seed))
                    say(f"{one.n} spectra, split {one.seed + 1} of {seeds}: {', '.join(all_of_it)}")
        print_ranking(rank_models(judged), title=f"{dataset.stem}: test MSE by spectra learned from, {split} splits")
        sentences = say_what_holds(judged)
        for sentence in sentences:
            say(sentence)
        if split == "random" and len(set(spectra.coordinates.get("wafer", ()))) > 1:
            say("Neighbours on a wafer are near-copies, which flatters all; `--split wafer` holds a whole wafer out.")
        records = [{"n": one.n, "seed": one.seed, "model": one.model, **one.errors} for one in judged]
        print_json(as_json, {"dataset": dataset.stem, "split": split, "errors": records, "sentences": sentences})
        if picture is not None:
            from glassmap.dashboard.plots.for_print import draw_model_curves, save

            save(draw_model_curves({f"{dataset.stem}: {seeds} {split} splits": mse_by_size(judged)}), picture)
            say(f"Picture: {picture}")


@data.command()
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
    as_json: Json = False,
) -> None:
    """Melt, quench and diffract one alloy: its figures, g(r) and S(q) with the fitted peak.

    Example: `glassmap simulate Zr50Cu40Al10 --potential ZrCuAl2011.eam.alloy`
    """
    from dataclasses import replace

    from glassmap.agent.data.composition import elements_of, parse_composition
    from glassmap.agent.errors import SimulationError
    from glassmap.simulation.cost import estimate_costs
    from glassmap.simulation.lammps import available_cores, find_lammps, generous_timeout
    from glassmap.simulation.lammps import simulate as run_simulation
    from glassmap.simulation.melt_quench import PRESETS, Simulation
    from glassmap.simulation.potential import load_potential

    with errors_in_words():
        elements = elements_of(alloy)
        composition = parse_composition(alloy, elements)
        source, lammps = load_potential(potential, elements), find_lammps(command)
        for note in source.notes:
            say(f"Note: {source.name}: {note}")
        if estimate:
            if atoms is not None:
                raise SimulationError(f"An estimate is for several sizes at once; leave out --atoms {atoms}.")
            costs = estimate_costs(composition, elements, source, lammps=lammps)
            print_costs(costs, alloy, cores=cores or available_cores())
            print_json(as_json, [cost._asdict() for cost in costs])
            return
        protocol = replace(PRESETS[preset], seed=seed, **given(atoms=atoms))
        alloy_run = Simulation.of(composition, elements, protocol, source)
        with progress() as report:
            structure = run_simulation(
                alloy_run,
                folder,
                lammps=lammps,
                timeout=generous_timeout(protocol),
                report=report,
            )
        from glassmap.flows.backends.simulation import facts_of  # loads torch, which a typo needn't wait for
        from glassmap.flows.figures import draw_simulation

        facts = {"alloy": structure.label, "atoms": sum(structure.counts), **facts_of(structure, source)}
        print_simulation(facts)
        say(f"Picture: {draw_simulation(structure, source, folder / f'{alloy_run.key}.png')}")
        print_json(as_json, facts)


@data.command()
def sweep(
    system: Annotated[str, typer.Argument(help="Such as Zr-Cu-Al.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="NetCDF file; what it holds already is kept.")],
    steps: Annotated[str, typer.Option(help="Of the grids in at.%, one after another.")] = "5",
    repeats: Annotated[int, typer.Option(min=0, help="Alloys simulated twice, for the noise.")] = 0,
    faces: Annotated[bool, typer.Option("--faces", help="Also those of the first grid that lack one element.")] = False,
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
        protocol = replace(PRESETS[preset], seed=seed, **given(atoms=atoms))
        source = load_potential(potential, elements)
        for note in source.notes:
            say(f"Note: {source.name}: {note}")
        plan = Sweep(elements, source, protocol, numbers(steps), repeats, faces)
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
