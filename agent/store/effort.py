"""What a campaign by wafers has used up: wafers, spectra and hours, by round."""

from glassmap.agent.config.wafers import CostConfig
from glassmap.agent.planning.convergence import Effort
from glassmap.agent.store.settings import Settings


class Efforts(Settings):
    """What the measurements say of their wafers, counted without reading their spectra."""

    def efforts(self) -> dict[int, Effort]:
        """Return what was used up by the end of each round; empty where no spectrum says which wafer it lies on.

        A wafer costs what it does once, in the first round in which a spectrum of it came; hours are by `[cost]` as it
        is now.
        """
        rows = [
            *self._rows(
                """SELECT wafer, round, COUNT(*) AS spectra FROM spectra WHERE wafer > ''
                GROUP BY wafer, round ORDER BY round"""
            )
        ]
        if not rows:  # of a campaign that has not begun there are no settings either
            return {}
        cost = CostConfig.model_validate(self.config.get("cost", {}))
        wafers, spectra, found = set[str](), 0, dict[int, Effort]()
        for row in rows:
            wafers.add(row["wafer"])
            spectra += row["spectra"]
            found[row["round"]] = Effort(len(wafers), spectra, cost.of(len(wafers), spectra))
        return found

    def effort(self) -> Effort | None:
        """Return what is used up by now; None where no spectrum says which wafer it lies on."""
        return max(self.efforts().values(), default=None)
