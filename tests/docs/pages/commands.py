"""An example of each command."""

from tests.docs.blocks import Page

PAGE = Page(record="every command has an example; those of other pages are run")
