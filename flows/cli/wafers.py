"""The commands about wafers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glassmap.flows.cli.commands import Commands
from glassmap.flows.cli.options import Folder, Json
from glassmap.flows.cli.terminal import errors_in_words, print_json, print_records, say, write_csv

if TYPE_CHECKING:
    from glassmap.agent.planning.wafers import Choice
    from glassmap.flows.wafers_ahead import Ahead

wafers = Commands()


@wafers.command("plan-wafers", rich_help_panel="People and laboratories")
def plan_wafers(
    folder: Folder,
    n: Annotated[int, typer.Option("--n", min=1, max=20, help="How many wafers to begin.")] = 1,
    points: Annotated[int | None, typer.Option(min=1, help="Of each; by default as many as a batch has.")] = None,
    weights: Annotated[str | None, typer.Option(help="As planning.weights; by default the campaign's.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV of the points to measure.")] = None,
    as_json: Json = False,
) -> None:
    """Show which wafers to measure or to make next, at which powers, what that brings and costs; records nothing.

    Example: `glassmap plan-wafers campaigns/lab --n 2`
    """
    from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
    from glassmap.flows.wafers_ahead import look_ahead

    with errors_in_words():
        found = look_ahead(folder, n=n, points=points, weights=weights)
        elements = CampaignConfig.from_toml(folder / FILE_NAME).space.elements
        _print(found, elements)
        write_csv(output, _points(found, elements))
        print_json(as_json, _to_json(found, elements))


@wafers.command("calibrate", rich_help_panel="People and laboratories")
def calibrate(folder: Folder, as_json: Json = False) -> None:
    """Say what the wafers that were made tell of the chamber: rates, exponents, and how far compositions are missed.

    Those are the wafers under `[[wafer.made]]` of the campaign file, and those that the campaign planned and has a
    composition table of. Nothing is recorded: whoever plans wafers calibrates by the same.

    Example: `glassmap calibrate campaigns/lab`
    """
    from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
    from glassmap.agent.errors import CampaignError
    from glassmap.agent.planning.sputtering import FIGURES, points_of
    from glassmap.agent.store.campaign_store import CampaignStore
    from glassmap.agent.store.connection import FILE_NAME as STORE
    from glassmap.flows.rounds.chamber import calibration_of

    with errors_in_words():
        config = CampaignConfig.from_toml(folder / FILE_NAME)
        if (folder / STORE).exists():
            with CampaignStore.read_only(folder) as store:
                found = calibration_of(config, store)
        else:
            found = calibration_of(config)
        if config.wafer is None or found is None:
            lacks = "no chamber" if config.wafer is None else "no wafer that was made"
            raise CampaignError(
                f"The campaign file describes {lacks}. Describe the guns under [[wafer.guns]], and wafers with their "
                "powers and composition tables under [[wafer.made]]."
            )
        print_records(
            [
                {"gun": gun.name, **{name: _figure(getattr(gun, name), errors[name]) for name in FIGURES}}
                for gun, errors in zip(found.chamber.guns, found.errors, strict=True)
            ]
        )
        say("Of rate, exponent and distance ± is a share of them.")
        of_wafers = zip(found.wafers, found.rms_by_wafer, found.turns, strict=True)
        print_records(
            [
                {"wafer": name, "missed by, at.%": round(rms, 2), "turned by, degrees": round(turn, 1)}
                for name, rms, turn in of_wafers
            ]
        )
        limits = [gun.powers for gun in found.chamber.guns]
        used = [limit if one is None else one for one, limit in zip(found.powers_used, limits, strict=True)]
        points = points_of(config.wafer.diameter, config.wafer.edge, config.wafer.pitch)
        expected = {"used": found.expected_at_most(used, *points), "allowed": found.expected_at_most(limits, *points)}
        say(
            f"Compositions are missed by {found.rms_at_pct:.2f} at.% (root mean square), at most by "
            f"{found.worst_at_pct:.1f}. Those of another wafer are expected to err by up to {expected['used']:.2f} at "
            f"powers that were used, by up to {expected['allowed']:.2f} at all that are allowed, as long as it isn't "
            "laid down turned."
        )
        for note in found.notes:
            say(note)
        figures = [
            {name: {"value": getattr(gun, name), "error": errors[name]} for name in FIGURES} | {"gun": gun.name}
            for gun, errors in zip(found.chamber.guns, found.errors, strict=True)
        ]
        print_json(
            as_json,
            {
                "guns": figures,
                "wafers": list(found.wafers),
                "turns": list(found.turns),
                "rms_at_pct": found.rms_at_pct,
                "worst_at_pct": found.worst_at_pct,
                "rms_by_wafer": list(found.rms_by_wafer),
                "expected_at_pct": expected,
                "is_absolute": found.is_absolute,
                "notes": list(found.notes),
            },
        )


def _figure(value: float, error: float) -> str:
    """Return a gun's figure with its error; one that wasn't fitted has none."""
    return f"{value:.4g} ± {error:.2g}" if error else f"{value:.4g}, as given"


def _print(found: "Ahead", elements: tuple[str, ...]) -> None:
    """Say what is chosen, beside every alternative."""
    from glassmap.agent.data.composition import label

    plan = found.next.plan
    chosen = [id(one.option) for one in plan.chosen]
    rows = [
        {
            "": "→" if id(one.option) in chosen else "",
            "wafer": _name(one),
            "points": len(one.rows),
            "mean distance then, at.%": round(plan.before.mean - one.gain, 2),
            "hours": round(one.hours, 2),
            **({"gain an hour, at.%": round(one.rate, 3)} if found.n_known else {}),
        }
        for one in plan.alternatives
    ]
    print_records(rows)
    for recipe in found.next.recipes.values():
        say(f"{recipe.name} is made with {recipe.say()}.")
        for warning in found.next.warnings[recipe.name]:
            say(f"{recipe.name}: {warning}")
    if plan.begin and plan.go_on in plan.chosen:
        begin = ", ".join(_name(one) for one in plan.begin)
        say(f"To go on with what was begun brings more an hour than to begin {begin}.")
    elif plan.go_on is not None and any(plan.go_on.rate > one.rate for one in plan.begin):
        say("To go on with what was begun takes more off the mean distance an hour, but less off its square.")
    now = f"mean distance {plan.before.mean:.2f} at.%, worst {plan.before.worst:.1f}" if found.n_known else "nothing"
    then = f"mean distance {plan.after.mean:.2f} at.%, worst {plan.after.worst:.1f}"
    weighted = "" if found.weights == "even" else f" Means are weighted by {found.weights}."
    say(f"Covered now: {now}. Then: {then}, for {plan.hours:.3g} h.{weighted}")
    out = found.unreached
    if out.share > 0:
        say(
            f"No wafer comes near {100 * out.share:.0f} % of the space; farthest from all is "
            f"{label(out.farthest, elements)}, {out.at_pct:.0f} at.% away."
        )


def _name(one: "Choice") -> str:
    names = ", ".join(one.option.samples.wafer_names) or "without a wafer"
    return f"{names} (begun)" if one.option.is_begun else f"{names} (to be made)" if _is_made(one) else names


def _is_made(one: "Choice") -> bool:
    return one.option.powers is not None


def _points(found: "Ahead", elements: tuple[str, ...]) -> list[dict[str, Any]]:
    """The points of what is chosen, a row each."""
    return [
        {
            "sample": name,
            "wafer": wafer,
            "x (mm)": None if x != x else round(float(x), 3),
            "y (mm)": None if y != y else round(float(y), 3),
            **{f"{e} (at.%)": round(100 * float(share), 3) for e, share in zip(elements, shares, strict=True)},
        }
        for one in found.next.plan.chosen
        for name, wafer, shares, x, y in zip(
            one.samples.names, one.samples.wafers, one.samples.compositions, one.samples.x, one.samples.y, strict=True
        )
    ]


def _to_json(found: "Ahead", elements: tuple[str, ...]) -> dict[str, Any]:
    plan, out = found.next.plan, found.unreached

    def of(one: "Choice") -> dict[str, Any]:
        return {
            "wafers": list(one.option.samples.wafer_names),
            "is_begun": one.option.is_begun,
            "is_to_be_made": _is_made(one),
            "points": list(one.samples.names),
            "gain_at_pct": one.gain,
            "hours": one.hours,
        }

    return {
        "chosen": [of(one) for one in plan.chosen],
        "begin": [of(one) for one in plan.begin],
        "alternatives": [of(one) for one in plan.alternatives],
        "recipes": [
            {"wafer": r.name, "powers": dict(r.powers), "minutes": r.minutes} for r in found.next.recipes.values()
        ],
        "warnings": [f"{name}: {said}" for name, some in found.next.warnings.items() for said in some],
        "before": {"mean_at_pct": plan.before.mean, "worst_at_pct": plan.before.worst} if found.n_known else None,
        "after": {"mean_at_pct": plan.after.mean, "worst_at_pct": plan.after.worst},
        "hours": plan.hours,
        "unreached": {
            "share": out.share,
            "farthest": dict(zip(elements, out.farthest.tolist(), strict=True)),
            "at_pct": out.at_pct,
        },
        "points": _points(found, elements),
    }
