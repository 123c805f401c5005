"""What all commands share beyond what they do: `-h`, `--quiet`, and a line of help on their exit codes."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer

from glassmap.flows.cli.exit_codes import ExitCode, say_codes
from glassmap.flows.cli.terminal import saying_nothing

Function = TypeVar("Function", bound=Callable[..., None])
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


class Commands(typer.Typer):
    """Commands that are told of together; each is a function, which stays what it is when Python calls it."""

    def __init__(self) -> None:
        super().__init__(rich_markup_mode="markdown")

    def command(  # type: ignore[override]
        self, name: str | None = None, *, ends: tuple[ExitCode, ...] = (), **how: Any
    ) -> Callable[[Function], Function]:
        """Make a function a command.

        Args:
            name: Of the command; that of the function by default.
            ends: How it may end beside how all may, which its help says.
            how: As typer takes it.
        """
        register = super().command(name, epilog=say_codes(ends), **how)

        def add(function: Function) -> Function:
            register(_with_quiet(function))
            return function

        return add


def _with_quiet(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function that takes `quiet`, too; it prints nothing then, and nothing but records with `as_json`."""

    @wraps(function)
    def run(*, quiet: bool, **given: Any) -> None:
        with saying_nothing(quiet or bool(given.get("as_json"))):
            function(**given)

    signature = inspect.signature(function)
    own = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), own])  # type: ignore[attr-defined]
    run.__annotations__ = {**function.__annotations__, "quiet": Quiet}
    return run
