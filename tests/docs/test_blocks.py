"""What stands in the code blocks of README and docs/ can be done as it stands."""

import importlib
import re
from pathlib import Path

import pytest

from glassmap.agent.config.space import SpaceConfig
from glassmap.agent.models.config import TrainingConfig
from tests.docs.blocks import PAGES, RUN, SHOWN, Page, Reader, blocks_of, check_settings, commands_in, parse
from tests.docs.not_run import NOT_RUN

PREPARED = {path.stem: path for path in (Path(__file__).parent / "pages").glob("*.py")}
WITH_BLOCKS = [name for name, path in PAGES.items() if any(b.language in RUN for b in blocks_of(path.read_text()))]


def module_of(name: str) -> str:
    """The file that prepares a page: own-scans.md has own_scans.py in tests/docs/pages."""
    return Path(name).stem.lower().replace("-", "_")


def page_of(name: str) -> Page:
    """What a page needs; one that isn't prepared finds what is usual."""
    module = module_of(name)
    return importlib.import_module(f"tests.docs.pages.{module}").PAGE if module in PREPARED else Page()


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever settings say, two networks learn for five steps, beside ten trees, and a grid has steps of 2 at.%."""
    monkeypatch.setattr("glassmap.agent.models.extra_trees.TREES", 10)
    on, build = TrainingConfig.on, SpaceConfig.build
    monkeypatch.setattr(
        TrainingConfig, "on", lambda self, *, gpu: on(self, gpu=gpu).model_copy(update={"members": 2, "steps": 5})
    )
    monkeypatch.setattr(
        SpaceConfig, "build", lambda self: build(self.model_copy(update={"step_at_pct": max(2, self.step_at_pct)}))
    )


@pytest.mark.usefixtures("in_a_hurry", "pictures_unseen")
@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_what_a_page_says_can_be_done(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Reader(name, page_of(name)).read()


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_what_it_is(name: str):
    for block in blocks_of(PAGES[name].read_text()):
        assert block.language in (*RUN, *SHOWN), f"{name}, line {block.line}: a fence of {RUN} or {SHOWN}"


@pytest.mark.parametrize("module", PREPARED)
def test_what_is_prepared_is_a_page(module: str):
    assert module in map(module_of, WITH_BLOCKS)


def test_what_is_not_run_stands_on_a_page():
    lines = [
        line
        for path in PAGES.values()
        for block in blocks_of(path.read_text())
        for line in [block.text, *(commands_in(block.text) if block.language == "console" else ())]
    ]
    unused = [begin for begin in NOT_RUN if not any(re.match(rf"{re.escape(begin)}(?!\w)", line) for line in lines)]
    assert not unused


def test_a_wrong_block_is_told_with_its_place():
    told = r"page.md, line 3: .*no campaign takes(.|\n)*unknown setting 'planning.bach'"
    with pytest.raises(AssertionError, match=told):
        check_settings({"planning": {"bach": 3}}, "page.md, line 3")
    with pytest.raises(AssertionError, match="line 3: glassmap run campaigns/mine --rounda 3: No such option"):
        parse(["run", "campaigns/mine", "--rounda", "3"], "page.md, line 3")


def test_blocks_and_their_commands_are_found():
    page = "Words\n\n```console\nls\n```\n\n    indented\n"
    assert blocks_of(page) == [("console", "ls\n", 4), ("", "indented\n", 7)]
    shell = "a \\\n  b\ncat > x <<END\n1\nEND\nc"
    assert [*commands_in(shell)] == ["a b", "cat > x <<END\n1\nEND", "c"]
