"""How composition tables are read; see `glassmap.agent.data.composition_table`."""

from typing import Literal

from pydantic import Field, model_validator

from glassmap.agent.config.settings import Settings


class TableConfig(Settings):
    """The columns of a table of compositions."""

    sample: str | None = Field(default=None, examples=["file"])
    """The column of sample names; by default the first, called file, sample or id."""
    columns: dict[str, str] = Field(default={}, examples=[{"Zr": "Zr L"}])
    """The column of each element, such as {Zr = "Zr L"}; by default those such as `Zr (at.%)`."""
    unit: Literal["at.%", "wt.%"] | None = Field(default=None, examples=["at.%"])
    """The unit of the columns, where they don't say it."""
    others: Literal["refuse", "leave out"] = "refuse"
    """What becomes of other elements' shares, such as oxygen's; left out, the rest is closed to 100."""

    @model_validator(mode="after")
    def _columns_have_a_unit(self) -> "TableConfig":
        if self.columns and self.unit is None:
            raise ValueError("columns need a unit, 'at.%' or 'wt.%'; units are never guessed")
        return self
