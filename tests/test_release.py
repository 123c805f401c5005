"""What a release promises beside its code: licences, the recipe for conda, whom to cite."""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FREE = re.compile(r"\b(MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla|Public Domain|0BSD)\b")
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|General Public)\b")
OTHER_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # on conda-forge


def licence(name: str) -> str:
    """What a distribution says of its licence."""
    told = distribution(name).metadata
    classes = [one for one in told.get_all("Classifier") or [] if one.startswith("License")]
    expression, text = ("; ".join(told.get_all(name) or []) for name in ("License-Expression", "License"))
    return expression or "; ".join(classes) or text


def brought_by(requirements: list[str]) -> set[str]:
    """All distributions that some requirements bring, by their names."""
    found, waiting = set[str](), [Requirement(line) for line in requirements]
    while waiting:
        one = waiting.pop()
        extras = one.extras or {""}
        if one.name.lower() in found or (one.marker and not any(one.marker.evaluate({"extra": e}) for e in extras)):
            continue
        found.add(one.name.lower())
        for line in distribution(one.name).requires or []:
            needed = Requirement(line)
            if not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return found


def test_nothing_of_the_core_is_copyleft():
    names = brought_by(PROJECT["dependencies"])
    assert len(names) > 40 and {"torch", "sympy", "httpx", "certifi"} <= names
    for name in names:
        is_of_cuda = name.startswith("nvidia-")  # NVIDIA's own, which torch brings where it is built for its GPUs
        assert is_of_cuda or (FREE.search(licence(name)) and not COPYLEFT.search(licence(name))), (
            f"{name}: {licence(name)}"
        )


def test_the_page_of_licences_lists_every_library_that_is_asked_for():
    page = (ROOT / "docs" / "licences.md").read_text()
    listed = {(name, part.strip("`")) for name, part in re.findall(r"^\| (\S+) \| (\S+) \| \S", page, re.MULTILINE)}
    parts = {"core": PROJECT["dependencies"]} | PROJECT["optional-dependencies"]
    asked = {(Requirement(line).name, part) for part, lines in parts.items() for line in lines}
    assert listed - {("library", "installed")} == {
        (name, part) for name, part in asked if part not in ("all", "dev", "docs")
    }


def test_the_recipe_for_conda_asks_for_what_the_core_asks_for():
    text = re.sub(r"{[{%].*?[%}]}", "", (ROOT / "conda" / "meta.yaml").read_text())
    recipe = yaml.safe_load(text)
    needed = [Requirement(line) for line in PROJECT["dependencies"]]
    names = {OTHER_NAMES.get(one.name, one.name): str(one.specifier) for one in needed}
    run = dict(line.split(" ", 1) for line in recipe["requirements"]["run"])
    assert run.pop("python") == PROJECT["requires-python"]
    assert {name: set(limits.split(",")) for name, limits in run.items()} == {
        name: set(limits.split(",")) for name, limits in names.items()
    }
    assert recipe["build"]["entry_points"] == [f"glassmap = {PROJECT['scripts']['glassmap']}"]


def test_whom_to_cite_is_said_as_citation_files_say_it():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version"} <= cited.keys()
    dois = [one["doi"] for one in cited["references"]]
    assert len(dois) == len(set(dois)) == 5 and all(re.fullmatch(r"10\.\d{4,}/\S+", doi) for doi in dois)
    assert all(one["authors"] and one["year"] > 2000 and one["title"] for one in cited["references"])
