"""The commands about wafers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glassmap.flows.cli.options import Folder, Json
from glassmap.flows.cli.terminal import errors_in_words, print_records, say, write_csv, write_json

if TYPE_CHECKING:
    from glassmap.agent.planning.wafers import Choice
    from glassmap.flows.wafers_ahead import Ahead

wafers = typer.Typer(rich_markup_mode="markdown")


@wafers.command("plan-wafers", rich_help_panel="People and laboratories")
def plan_wafers(
    folder: Folder,
    n: Annotated[int, typer.Option("--n", min=1, max=20, help="How many wafers to begin.")] = 1,
    points: Annotated[int | None, typer.Option(min=1, help="Of each; by default as many as a batch has.")] = None,
    weights: Annotated[str | None, typer.Option(help="As planning.weights; by default the campaign's.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV of the points to measure.")] = None,
    json_file: Json = None,
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
        write_json(json_file, _to_json(found, elements))


def _print(found: "Ahead", elements: tuple[str, ...]) -> None:
    """Say what is chosen, beside every alternative."""
    from glassmap.agent.data.composition import label
    from glassmap.flows.rounds.wafers import say_recipe

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
        say(f"{recipe.name} is made with {say_recipe(recipe)}.")
    if plan.begin and plan.go_on in plan.chosen:
        begin = ", ".join(_name(one) for one in plan.begin)
        say(f"To go on with what was begun brings more an hour than to begin {begin}.")
    now = f"mean distance {plan.before.mean:.2f} at.%, worst {plan.before.worst:.1f}" if found.n_known else "nothing"
    then = f"mean distance {plan.after.mean:.2f} at.%, worst {plan.after.worst:.1f}"
    say(f"Covered now: {now}. Then: {then}, for {plan.hours:.3g} h.")
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
