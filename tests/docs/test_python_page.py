"""The page about the Python API speaks of every public name."""

import pytest

import glassmap
from tests.docs.blocks import PAGES

PAGE = PAGES["python.md"].read_text()


@pytest.mark.parametrize("name", glassmap.__all__)
def test_every_public_name_is_used_on_the_page_and_says_what_it_is(name: str):
    assert f"`{name}`" in PAGE.split("\n## ")[0]
    assert f"glassmap.{name}" in PAGE or name == "SpectraSet"
    assert name == "__version__" or getattr(glassmap, name).__doc__
