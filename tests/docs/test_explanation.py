"""The pages that explain say what is so: the paper's steps, the first table of the results, the words, the store."""

import ast
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median

import pytest

from glassmap.agent.store.schema import migrate

ROOT = Path(__file__).parents[2]
DOCS, RECORDS = ROOT / "docs", ROOT / "docs" / "records"
SETS = (("co-v-zr", None), ("fe-ti-nb", None), ("co-ti-zr", "cleaned"))


def rows_below(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    section = (DOCS / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[2:]]


def defined_in(path: Path) -> Iterator[str]:
    """Yield what a file defines at its top level, and the methods of its classes as `Class.method`."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef))
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_the_papers_21_steps_stand_in_order():
    assert [row[0] for row in rows_below("method.md", "The paper, step by step")] == [str(n) for n in range(1, 22)]


@pytest.mark.parametrize("row", rows_below("method.md", "The paper, step by step"), ids=lambda row: row[0])
def test_each_step_names_a_function_that_is_there_and_what_differs(row: list[str]):
    _, step, here, differs = row
    places = re.findall(r"`([\w/-]+\.py)` `([\w.]+)`", here)
    assert places and re.search(r"\*\(.+\)\*$", step) and differs
    for path, name in places:
        assert name in defined_in(ROOT / path), f"{path} has no {name}"


def of_random_draws(model: str, measure: str) -> list[float]:
    """Return the median of a baseline, or of `ensemble` as it is now, on each set, over the draws that both have."""
    ours = [one for one in read("generative-means") if (one["settings"], one["model"]) == ("default", "ensemble")]
    found = []
    for name, where in SETS:
        of_set = [one for one in ours if (one["dataset"], one["where"]) == (name, where)]
        seeds = {one["seed"] for one in of_set}
        if model != "ensemble":
            drawn = read("spectra-20-cleaned" if where else "spectra-20")["errors"]
            of_set = [one for one in drawn if (one["dataset"], one["model"]) == (name, model) and one["seed"] in seeds]
        found.append(median(one[measure] for one in of_set))
    return found


def brier(way: str) -> list[float]:
    """Return the mean Brier score of P(glass) over the random draws of Co-V-Zr and Co-Ti-Zr."""
    drawn = [one for one in read("calibration") if (one["split"], one["figure"]) == ("random", "delta_q")]
    return [
        fmean(one["brier"] for one in drawn if (one["dataset"], one["way"]) == (name, way))
        for name, _ in (SETS[0], SETS[2])
    ]


def read(name: str):
    return json.loads((RECORDS / f"{name}.json").read_text())


def numbers(cell: str) -> list[float]:
    return [float(one) for one in re.findall(r"\d+(?:\.\d+)?", cell)]


def test_the_first_table_of_the_results_has_five_lines_and_the_numbers_of_the_records():
    mse, delta_q, p_glass, stop, cost = rows_below("results.md", "In one table")
    models = ("ensemble", "nearest", "pca-gp")
    for row, measure, digits in ((mse, "mse", 1), (delta_q, "delta_q", 3)):
        for cell, model in zip(row[1:4], models, strict=True):
            assert numbers(cell) == [round(value, digits) for value in of_random_draws(model, measure)], model
    by_nearest = {one["dataset"]: one["brier"] for one in read("explain")["nearest"]}
    expected = brier("ensemble"), [by_nearest["co-v-zr"], by_nearest["co-ti-zr"]], brier("gp on the figure")
    assert [numbers(cell) for cell in p_glass[1:4]] == [[round(value, 3) for value in values] for values in expected]
    reasons = [read(f"replay-{name}")["reason"] for name in ("co-v-zr", "fe-ti-nb", "co-ti-zr-cleaned")]
    assert numbers(stop[1]) == [float(re.findall(r"after (\d+) spectra", reason)[0]) for reason in reasons]
    seconds = {one["model"]: (one["fit"], one["map"]) for one in read("explain")["cost"]}
    for cell, model in zip(cost[1:4], models, strict=True):
        assert numbers(cell) == pytest.approx(seconds[model], abs=0.5), model


# The field's words, as code, pages and messages have them; a new one is explained too
WORDS = """
    composition, at.%, target composition, measured composition, context, simplex grid, rank, spectrum,
    two_theta, q, q₁, Δq, crystalline share, RDF g(r), S(q), quench rate, wafer, acquisition, batch, round,
    campaign, backend, learning curve, held out, base model, member, ensemble, stacking weights, prediction,
    draw, one sample, epistemic std, aleatoric std, band, calibration, checkpoint, coverage, flagged,
    quarantine, ledger, failed, abandoned, rejected, requested, retracted, known, extrapolated, spread,
    left out, P(glass), candidate, converged, threshold, MSE, map, note
"""
ENTRY = re.compile(r"^\*\*(.+?)\*\*(?: \(`.+?`\))?: .*\]\(.+\)\.$", re.MULTILINE)


def test_every_word_has_a_sentence_and_a_link_in_the_order_of_the_alphabet():
    page = (DOCS / "glossary.md").read_text()
    entries = [line for line in page.splitlines() if line.startswith("**")]
    words = ENTRY.findall(page)
    assert len(words) == len(entries), [line for line in entries if not ENTRY.match(line)]
    assert {word.strip() for word in WORDS.split(",")} <= set(words)
    keys = [word.lower().replace("δ", "delta").replace("₁", "1") for word in words]
    assert keys == sorted(keys)


def test_the_page_of_the_store_has_every_table_and_column_and_no_other():
    store = sqlite3.connect(":memory:", isolation_level=None)
    migrate(store)
    tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    there = {table: {row[1] for row in store.execute(f"PRAGMA table_xinfo({table})")} for table in tables}
    store.close()
    told: dict[str, set[str]] = {}
    for section in re.split(r"^#### ", (DOCS / "store.md").read_text(), flags=re.MULTILINE)[1:]:
        name, rows = section.splitlines()[0].strip("`"), re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        told[name] = {column for row in rows for column in re.findall(r"`(\w+)`", row)}
    assert told == there


def test_the_readme_repeats_the_first_table_of_the_results_as_it_stands():
    rows = {row[0]: row for row in rows_below("results.md", "In one table")}
    readme = (ROOT / "README.md").read_text().splitlines()
    repeated = [[cell.strip() for cell in line.split("|")[1:-1]] for line in readme if line.startswith("| ")]
    assert all(row == rows[row[0]] for row in repeated if row[0] in rows)
