"""Names of bands: the same in pages, in the report and in print."""

from glassmap.agent.models.config import CONFIDENCE

BAND = f"{100 * CONFIDENCE:g} % of measured points are expected here"
EPISTEMIC = "± epistemic std, between base models"
TWO_EPISTEMIC = "± 2 epistemic std, between base models"
ALEATORIC = "± aleatoric std, over draws"
INTERVAL = f"{100 * CONFIDENCE:g} % interval of a new measurement"
EPISTEMIC_INTERVAL = f"{100 * CONFIDENCE:g} % interval by the epistemic std"  # of what is older than the other
