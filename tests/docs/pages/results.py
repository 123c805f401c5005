"""What was measured, on data that are no part of the repository."""

from tests.docs.blocks import Page

PAGE = Page(record="hours, on measured data; the page is a record")
