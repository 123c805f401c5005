"""A laboratory's campaign, which waits."""

from tests.docs import places
from tests.docs.blocks import Page

PAGE = Page(lambda folder: places.waiting_lab(folder / "campaigns" / "lab"))
