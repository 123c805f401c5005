"""What every table of a campaign file has in common."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

# Every number of a campaign file has a most, far beyond what anybody needs, so that a slip of the pen is named at once.
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(gt=0, le=1_000_000)]
Workers = Annotated[int, Field(gt=0, le=10_000)]
Hours = Annotated[float, Field(gt=0, le=1_000_000)]  # 114 years


class Settings(BaseModel):
    """A table of settings: frozen, and unknown keys are refused.

    The string below a setting is what it means, with its unit: `glassmap init` writes it beside the setting, and
    docs/campaign-file.md has it in its tables. One line each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    free: ClassVar[tuple[str, ...]] = ()  # what may change between two rounds: results don't depend on it

    def resolved(self, folder: Path) -> "Settings":
        """Return the table with its paths taken from the campaign file's folder."""

        def absolute(path: Path) -> Path:
            return (folder / path.expanduser()).resolve()

        changes: dict[str, Any] = {}
        for name, value in self:
            match value:
                case Path():
                    changes[name] = absolute(value)
                case (Path(), *_):
                    changes[name] = tuple(map(absolute, value))
                case _:
                    pass
        return self.model_copy(update=changes)
