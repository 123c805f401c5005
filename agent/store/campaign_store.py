"""The campaign's memory: one SQLite file a campaign folder, and the files that are too big for it.

Every stage records what it did and that it is done in one transaction, so a campaign that is cut anywhere goes on
where it was.
"""

from glassmap.agent.store.files import Files
from glassmap.agent.store.log import AuditLog
from glassmap.agent.store.status import CampaignStatus


class CampaignStore(CampaignStatus, Files, AuditLog):
    """Rows in, rows out; decides nothing. Each base holds the tables of one idea."""
