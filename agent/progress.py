"""How long work tells how far it is: one kind of callback, wherever it is passed on."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Report(Protocol):
    """A callback that is told how far a stage is; a terminal draws it, anything else may ignore it."""

    def __call__(self, stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        """Take note that `done` of `total` steps of a stage are done.

        Args:
            stage: What is at work, such as `train`.
            done: Steps, alloys or simulations that are done; 0 as it begins.
            total: All of them.
            text: A few words beside, such as the error so far.
            round_: The round of the campaign, where it is known to who tells.
        """
        ...


def ignore(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
    """Report to nobody."""
