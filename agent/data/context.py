"""The context: process variables of samples (rate, power, wafer), as a campaign holds them and as models learn them.

Composition alone doesn't decide what a film is. What a campaign names under `[space] context` is an input of every
model beside the composition, and held at a value for what is planned and mapped.

Letters: n samples, c columns of numbers that a context is encoded as.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from glassmap.agent.errors import DatasetError, ModelError
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import Compositions, EncodedContext, ModelInputs, PerSample, Rows

WAFER = "wafer"  # the column, or fact, that says which wafer a sample lies on

Value = float | str  # a number, or a label
Held = Mapping[str, Value]  # a value of each variable, by name
Columns = Mapping[str, np.ndarray]  # of n samples, by variable: numbers, or labels as text; empty without a context


class Context(NamedTuple):
    """What is known of the process of the samples that a model learns from."""

    columns: Columns
    held: Held
    """At which spectra are predicted of compositions alone."""


def read_value(said: object, name: str, held: Value) -> Value | None:
    """Return what a data set, a table or a program says of a sample as the context takes it; None where it says none.

    Args:
        said: A cell; empty, NaN and None say nothing.
        name: Of the variable.
        held: The campaign's own value: a number has cells read as numbers, a label as labels.

    Raises:
        DatasetError: If a number is expected and something else is there.
    """
    text = "" if said is None or said != said else str(said).strip()
    if not text:
        return None
    if isinstance(held, str):
        return label_of(said)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DatasetError(
            f"{name} must be a number, as the campaign is held at {name} = {held:g}; got {text[:40]!r}. Correct it, or "
            f'hold the campaign at a label (`context = {{{name} = "…"}}`).'
        )
    return number


def label_of(said: object) -> str:
    """Return a label, the same whether a file holds it as a number or as text: 20230115 and `20230115.0` alike.

    Text is taken for a number where a program would write that number so; `007`, `1.10` and `1e3` stay as they are.
    """
    text = str(said).strip()
    if isinstance(said, bool | np.bool_):
        return text.lower()
    try:
        number = float(text)
    except ValueError:
        return visible(text)
    if not math.isfinite(number) or not (isinstance(said, float | np.floating) or repr(number) == text):
        return visible(text)
    return str(int(number)) if number.is_integer() else repr(number)


def columns_of(values: Sequence[Held], held: Held) -> Columns:
    """Return the values of n samples, each of which has all variables of `held`, as a column a variable."""
    return {
        name: np.array([one[name] for one in values], dtype=str if isinstance(like, str) else np.float64)
        for name, like in held.items()
    }


def rows_of(columns: Columns, rows: Rows | Sequence[int]) -> Columns:
    """Return the values of some of the samples, in that order."""
    return {name: values[np.asarray(rows, dtype=np.intp)] for name, values in columns.items()}


def held_for(held: Held, n: int) -> Columns:
    """Return columns in which n samples all have the held values."""
    return columns_of([held] * n, held)


def is_held(values: Held, held: Held) -> bool:
    """Return whether a sample was made as the campaign asks for: labels alike, numbers to within 5 %."""
    return all(
        values[name] == value or (isinstance(value, float) and abs(float(values[name]) - value) <= 0.05 * abs(value))
        for name, value in held.items()
    )


def say_unlearned(learned: Sequence[Held], held: Held) -> str:
    """Return in sentences where models are held at what they learned nothing of; empty where that is nowhere.

    A number may lie a tenth of the range beyond it, or as near to a measured one as `is_held` asks.

    Args:
        learned: The values of each spectrum learned from; of none nothing is said.
        held: The values at which plans and maps are held.
    """
    words: list[str] = []
    for name, value in held.items() if learned else ():
        there = {one[name] for one in learned}
        if isinstance(value, str):
            if value not in there:
                words.append(
                    f"Nothing was learned at {name} = {value} yet, only at {', '.join(sorted(map(str, there)))}: what "
                    "is planned and mapped there is extrapolated."
                )
            continue
        low, high = min(map(float, there)), max(map(float, there))
        margin = max(0.1 * (high - low), 0.05 * abs(value))
        if not low - margin <= value <= high + margin:
            said = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            words.append(
                f"{name} = {value:g} is outside what was learned, {said}: what is planned and mapped there is "
                "extrapolated."
            )
    return " ".join(words)


def say_held(held: Held) -> str:
    """Return the values in words, such as `deposition_rate = high, power = 100`; empty without a context."""
    return ", ".join(f"{name} = {value if isinstance(value, str) else f'{value:g}'}" for name, value in held.items())


class Variable(NamedTuple):
    """How one variable becomes numbers: so that two usual samples that differ are about 1 apart."""

    name: str
    labels: tuple[str, ...] | None
    """Those learned from; None of a variable of numbers."""
    middle: float = 0.0
    """Of the numbers learned from, their mean."""
    width: float = 1.0
    """Two standard deviations of those: a number that is one of two values then counts as a label does.

    Source: Gelman, *Stat. Med.* 27, 2865 (2008).
    """

    @classmethod
    def learned_from(cls, name: str, values: np.ndarray) -> "Variable":
        """Return how the values that a model learns from are encoded."""
        if values.dtype.kind == "U":
            return cls(name, tuple(np.unique(values).tolist()))
        numbers: PerSample = values
        middle = float(numbers.mean())
        return cls(name, None, middle, 2 * float(numbers.std()) or abs(middle) or 1.0)

    def encode(self, values: np.ndarray) -> EncodedContext:
        """Return a column a label, √½ where it is the sample's, or one of numbers.

        A label that was not learned from is the centre of the others: as near to each.
        """
        if self.labels is None:
            return ((values - self.middle) / self.width)[:, None].astype(np.float64)
        known = values[:, None] == np.array(self.labels)
        return np.where(known.any(1, keepdims=True), known, 1 / len(self.labels)) * math.sqrt(0.5)


@dataclass(frozen=True)
class Encoding:
    """How the context of samples becomes columns of numbers beside their compositions, and where it is held."""

    variables: tuple[Variable, ...]
    held: Held

    @classmethod
    def learned_from(cls, context: Context) -> "Encoding":
        """Return the encoding of what a model learns from.

        A label that predictions are held at may come with a later spectrum: until then it is the centre of the others,
        and `say_unlearned` says so.

        Raises:
            ModelError: If a variable is missing or unknown.
        """
        variables = tuple(Variable.learned_from(name, values) for name, values in context.columns.items())
        return cls(variables, context.held).held_at(context.held)

    def held_at(self, held: Held) -> "Encoding":
        """Return the same, with predictions of compositions alone held at other values.

        Raises:
            ModelError: If a variable is missing or unknown, or nothing that was learned from has a label that isn't
                the one of before.
        """
        names = [variable.name for variable in self.variables]
        if sorted(held) != sorted(names):
            given = ", ".join(held) or "none"
            raise ModelError(f"The model learned from {', '.join(names)}; hold it at a value of each, got {given}.")
        for name, labels, *_ in self.variables:
            if labels is not None and held[name] not in (*labels, self.held.get(name)):
                raise ModelError(
                    f"Nothing that the model learned from has {name} = {held[name]}, at which the map is to be held: "
                    f"there are {', '.join(labels)}. Measure some alloys at {held[name]}, or hold it at another value."
                )
        return Encoding(self.variables, {name: held[name] for name in names})

    @property
    def width(self) -> int:
        """The number of columns, c."""
        return sum(1 if labels is None else len(labels) for _, labels, *_ in self.variables)

    def encode(self, columns: Columns) -> EncodedContext:
        """Return the columns of numbers of n samples, `(n, c)`."""
        return np.concatenate([variable.encode(columns[variable.name]) for variable in self.variables], axis=1)

    def beside(self, compositions: Compositions, columns: Columns | None = None) -> ModelInputs:
        """Return compositions with the encoded context behind their shares, `(n, e + c)`.

        Args:
            compositions: Atomic fractions `(n, e)`.
            columns: The values of each; by default the held ones.
        """
        columns = held_for(self.held, len(compositions)) if columns is None else columns
        return np.concatenate([compositions, self.encode(columns)], axis=1)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` needs, in JSON types."""
        return {"variables": [variable._asdict() for variable in self.variables], "held": dict(self.held)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Encoding":
        """Return an encoding that a checkpoint kept.

        Raises:
            KeyError: If something is missing.
        """
        variables = (
            Variable(one["name"], one["labels"] and tuple(one["labels"]), one["middle"], one["width"])
            for one in facts["variables"]
        )
        return cls(tuple(variables), facts["held"])
