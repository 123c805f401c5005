"""What a person wishes of a candidate beside being a glass; filters what is listed, and nothing that is learned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from glassmap.agent.config.messages import explain
from glassmap.agent.config.settings import Settings
from glassmap.agent.config.space import AtPct
from glassmap.agent.config.toml_file import read_toml
from glassmap.agent.data.composition import SYMBOLS
from glassmap.agent.errors import CampaignError
from glassmap.agent.maps.prices import PRICES_PER_KG
from glassmap.agent.maps.wish import Wish, has_density

PerKg = Annotated[float, Field(ge=0, le=1e9)]
Density = Annotated[float, Field(ge=0, le=30)]  # g/cm3; osmium has 22.6

Range = tuple[float, float]


class WishConfig(Settings):
    """The limits of `glassmap.agent.maps.wish.Wish`."""

    bounds_at_pct: dict[str, tuple[AtPct, AtPct]] = Field(default={}, examples=[{"Co": [10, 60]}])
    """Lowest and highest share of an element in a candidate, at.%, such as {Co = [10, 60]}."""
    max_cost_per_kg: PerKg | None = Field(default=None, examples=[50.0])
    """Most that the raw elements of a candidate may cost, US dollars a kilogram."""
    density: tuple[Density, Density] | None = Field(default=None, examples=[[5.0, 8.0]])
    """Lowest and highest density of a candidate, g/cm³, by Vegard's rule."""
    prices: dict[str, PerKg] = Field(default={}, examples=[{"Co": 30.0}])
    """Prices of elements, US dollars a kilogram, in place of the listed ones of 2020, such as {Co = 30.0}."""

    @field_validator("density")
    @classmethod
    def _rises(cls, value: Range | None) -> Range | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"a range must be [lowest, highest], got {list(value)}; swap them")
        return value

    @field_validator("bounds_at_pct")
    @classmethod
    def _rise(cls, value: dict[str, Range]) -> dict[str, Range]:
        for one in value.values():
            cls._rises(one)
        return value

    @field_validator("prices")
    @classmethod
    def _are_of_elements(cls, value: dict[str, float]) -> dict[str, float]:
        if strangers := [name for name in value if name not in SYMBOLS]:
            raise ValueError(f"{strangers[0]!r} is no chemical symbol; write it as in {{ Co = 30.0 }}")
        return value

    def check(self, elements: Sequence[str]) -> None:
        """Refuse limits that say nothing of a campaign's alloys.

        Raises:
            ValueError: If an element that is bounded is none of theirs, or a price or density that a limit needs isn't
                known.
        """
        if strangers := [name for name in self.bounds_at_pct if name not in elements]:
            raise ValueError(f"wish.bounds_at_pct names {strangers[0]!r}, which is not among {list(elements)}")
        unpriced = [name for name in elements if name not in PRICES_PER_KG and name not in self.prices]
        if self.max_cost_per_kg is not None and unpriced:
            raise ValueError(f"wish.max_cost_per_kg needs the price of {unpriced[0]}; say it under [wish.prices]")
        if self.density is not None and not has_density(elements):
            raise ValueError(f"wish.density needs the densities of all of {list(elements)}; take it out")

    def build(self) -> Wish:
        """Return the wish itself."""
        return Wish(**self.model_dump())


def read_wish(folder: Path, recorded: Mapping[str, Any]) -> Wish:
    """Return what is wished for now: as the campaign file says it, or where there is none as the store does.

    So a wish that was just written holds at once, without a round in between.

    Args:
        folder: Of the campaign.
        recorded: The settings that its store holds.

    Raises:
        CampaignError: If the table in the file is wrong.
    """
    path, elements = folder / "campaign.toml", recorded["space"]["elements"]
    settings: Mapping[str, Any] = read_toml(path) if path.exists() else recorded
    table: dict[str, Any] = settings.get("wish", {})  # came later
    try:
        wish = WishConfig.model_validate(table)
        wish.check(elements)
    except ValidationError as error:
        raise CampaignError(f"{path}, [wish]: {explain(error, table, WishConfig)}.") from error
    except ValueError as error:
        raise CampaignError(f"{path}: {error}.") from error
    return wish.build()
