"""The code blocks of a page, and somebody who does what they say."""

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import typer
from markdown_it import MarkdownIt

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.config.toml_file import edited
from glassmap.agent.errors import CampaignError
from glassmap.flows.cli.app import app
from tests.docs.not_run import NOT_RUN
from tests.docs.places import usual
from tests.support.command_line import glassmap

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # of typer's own click, or of the one that is installed

ROOT = Path(__file__).parents[2]
PAGES = {path.name: path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
RUN, SHOWN = ("console", "python", "toml"), ("text", "csv", "json", "bibtex", "ini")
TOOLS = ("cat", "cd", "chmod", "cp", "head", "ls", "mkdir", "mv", "rm", "tar")  # that a page may use beside glassmap
PIPES = ("|", ">", "||", "&&")  # what a command of glassmap may be followed by; on the right stands another program
FINE = (0, 4)  # exit codes: done, or done what could be done and now waits for a person
ALLOYS = (["Co", "V", "Zr"], ["Zr", "Cu", "Al"], ["Zr", "Cu", "Ni", "Al"])  # systems that parts of files speak of
KINDS: dict[str, dict[str, Any]] = {
    "replay": {"dataset": "data.nc"},
    "simulation": {"potential": "zhou"},
    "lab": {"columns": "q"},
}


def script(name: str) -> ModuleType:
    """Load a script of docs/, which is no package."""
    spec = spec_from_file_location(f"glassmap_docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Block(NamedTuple):
    """A code block."""

    language: str
    """What the fence says; empty of an indented block."""
    text: str
    line: int
    """Of the page, from 1 on, where its text begins."""


@cache
def blocks_of(text: str) -> list[Block]:
    """The blocks of a page, in order."""
    return [
        Block(token.info.strip(), token.content, (token.map or [0])[0] + (2 if token.type == "fence" else 1))
        for token in MarkdownIt("commonmark").parse(text)
        if token.type in ("fence", "code_block")
    ]


@dataclass
class Page:
    """What a page needs so that somebody can do what it says."""

    prepare: Callable[[Path], None] = usual
    """Fills the empty folder that the reader begins in."""
    after: Sequence[tuple[str, Callable[[Path], object]]] = field(default_factory=list)
    """What people, diffractometers and the like do after a command, in order, each once: how the command begins, what
    they do. A page that runs a command twice names what comes between."""
    edits: Mapping[str, str] = field(default_factory=dict)
    """TOML blocks that go into a campaign's file: how the block begins, the campaign's folder. Others are checked."""
    names: Mapping[str, Any] = field(default_factory=dict)
    """What Python blocks take for granted, such as a function that measures."""
    record: str = ""
    """Why nothing of the page is run: it is a record of what was measured. Its commands are parsed."""
    exits: Mapping[str, int] = field(default_factory=dict)
    """Exit codes of commands that are to end with another than 0 or 4: how the command begins, the code."""
    check: Callable[["Reader"], None] = lambda reader: None
    """Looks at what came of it."""
    restore: Callable[[], None] = lambda: None
    """Undoes what the page did to this process, whether it could be read to its end or not."""


class Printed(NamedTuple):
    """What a command printed."""

    command: str
    output: str


class Reader:
    """Somebody who does what a page says, block by block, each from the folder where the process is."""

    def __init__(self, name: str, page: Page) -> None:
        self.name, self.page, self.folder = name, page, Path.cwd()
        self.names: dict[str, Any] = {"__name__": "__main__", **page.names}
        """Of the Python blocks, which share them."""
        self.printed: list[Printed] = []
        self._to_come = list(page.after)
        self._settings: dict[str, Any] = {}  # of the TOML blocks so far

    def read(self) -> None:
        """Prepare, do all blocks in order, and look what came of it."""
        try:
            self._do_all()
        finally:
            self.page.restore()

    def _do_all(self) -> None:
        self.page.prepare(self.folder)
        for block in blocks_of(PAGES[self.name].read_text()):
            where = f"{self.name}, line {block.line}"
            os.chdir(self.folder)
            match block.language:
                case "console":
                    for command in commands_in(block.text):
                        self._type(command, where)
                case "python" if not self._reason_not_to_run(block.text):
                    code = compile("\n" * (block.line - 1) + block.text, self.name, "exec")
                    exec(code, self.names)
                case "toml":
                    self._edit(block.text, where)
                case _:
                    pass
        os.chdir(self.folder)
        assert not self._to_come, f"{self.name} never came to {[begin for begin, _ in self._to_come]}"
        self.page.check(self)

    def _type(self, command: str, where: str) -> None:
        """Type a command of a terminal; if it can't be run here, only look whether there is such a command."""
        words = shlex.split(command, comments=True)
        if not words:
            return
        if self._reason_not_to_run(command):
            if words[0] == "glassmap":
                parse(words[1:], where)
        elif words[0] == "glassmap":
            self._run(command, where)
        elif words[0] == "cd":
            os.chdir(words[1])
        else:
            assert words[0] in TOOLS, f"{where}: {command!r} isn't run; name it in not_run.py, with the reason"
            subprocess.run(["bash", "-c", command], check=True)
        if self._to_come and command.startswith(self._to_come[0][0]):
            self._to_come.pop(0)[1](self.folder)

    def _run(self, command: str, where: str) -> None:
        """Run a command of glassmap in this process; what it prints may go to a file or another program."""
        lexer = shlex.shlex(command, posix=True, punctuation_chars="|>&")
        lexer.whitespace_split = True
        words = list(lexer)[1:]
        pipe = next((word for word in words if word in PIPES), None)
        if pipe is not None:
            words = words[: words.index(pipe)]
        result = glassmap(*[name for word in words for name in matching(word)])
        code = next((code for begin, code in self.page.exits.items() if command.startswith(begin)), None)
        fine = FINE if code is None else (code,)
        assert result.exit_code in fine, f"{where}: {command} ended with {result.exit_code}:\n{result.output}"
        self.printed.append(Printed(command, result.output))
        if pipe is not None:
            first = "cat" if pipe in ("|", ">") else f"(exit {result.exit_code})"
            rest = command[command.index(pipe) :]
            subprocess.run(["bash", "-c", f"{first} {rest}"], input=result.stdout, text=True, check=True)

    def _edit(self, text: str, where: str) -> None:
        """Put settings into a campaign's file, or look whether they could stand in one."""
        settings = tomllib.loads(text)
        folder = next((folder for begin, folder in self.page.edits.items() if text.startswith(begin)), None)
        if folder is not None:
            edit(Path(folder), settings)
        else:
            check_settings(settings, where, others=self._settings)
        self._settings = merged(self._settings, settings)

    def _reason_not_to_run(self, text: str) -> str | None:
        return self.page.record or reason_not_to_run(text)


def edit(folder: Path, settings: Mapping[str, Any]) -> None:
    """Put settings into a campaign's file, as a person would."""
    path = folder / FILE_NAME
    places = {(table, name): value for table, values in settings.items() for name, value in values.items()}
    path.write_text(edited(path.read_text(), places))
    CampaignConfig.from_toml(path)


def commands_in(text: str) -> Iterator[str]:
    """The commands of a block, each with its continued lines, the text that it is given, or its loop."""
    lines = iter(text.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command = command[:-1] + next(lines).lstrip()
        if here := re.search(r"<<\s*'?(\w+)'?", command):
            while not command.endswith(f"\n{here[1]}"):
                command += "\n" + next(lines)
        while command.startswith("for ") and not command.endswith("done"):
            command += "\n" + next(lines)
        yield command


def matching(word: str) -> list[str]:
    """What a shell makes of a word: the paths that it matches, or the word."""
    return sorted(map(str, Path().glob(word))) if "*" in word and not Path(word).is_absolute() else [word]


def reason_not_to_run(text: str) -> str | None:
    """Why a command or a block isn't run by a test; None where it is."""
    return next((reason for begin, reason in NOT_RUN.items() if re.match(rf"{re.escape(begin)}(?!\w)", text)), None)


def parse(words: list[str], where: str) -> None:
    """Look whether a command has these arguments and options."""
    group = typer.main.get_command(app)
    try:
        with group.make_context("glassmap", list(words)) as context:
            rest = [*context._protected_args, *context.args]
            _, command, rest = group.resolve_command(context, rest)  # type: ignore[attr-defined]
            command.make_context(command.name, rest, parent=context)
    except USAGE_ERROR as error:
        raise AssertionError(f"{where}: glassmap {' '.join(words)}: {error}") from error


def check_settings(settings: Mapping[str, Any], where: str, *, others: Mapping[str, Any] = {}) -> None:
    """Look whether settings could stand in the campaign file of some system and backend, or beside others."""
    refused = list[str]()
    for elements, (kind, backend), beside in product(ALLOYS, KINDS.items(), ({}, others)):
        base = {
            "name": "page",
            "space": {"elements": elements},
            "spectrum": {"low": 1.5, "high": 4.5, "points": 100},
            "backend": {"kind": kind, **backend},
        }
        whole = merged(merged(base, beside), settings)
        if whole["backend"]["kind"] == kind:
            try:
                CampaignConfig.of(whole, source="page")
            except CampaignError as error:
                refused.append(str(error))
            else:
                return
    raise AssertionError(f"{where}: no campaign takes these settings:\n" + "\n".join(dict.fromkeys(refused)))


def merged(settings: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with others in their place, table by table."""
    tables = {
        name: merged(settings[name], value)
        for name, value in more.items()
        if isinstance(value, Mapping) and isinstance(settings.get(name), Mapping)
    }
    return {**settings, **more, **tables}
