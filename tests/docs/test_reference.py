"""The pages that are made of the code are what the code says now."""

import pytest

from glassmap.agent.config.campaign import CampaignConfig
from tests.docs.blocks import PAGES, script

MADE = script("make_reference").PAGES


@pytest.mark.parametrize("name", MADE)
def test_a_page_that_is_made_of_the_code_is_current(name: str):
    assert PAGES[name].read_text() == MADE[name](), f"docs/{name} is stale: run `make reference`"


def test_every_setting_stands_on_its_page_with_unit_range_default_and_whether_it_may_change():
    page = PAGES["campaign-file.md"].read_text()
    assert all(f"## [{name}]" in page or f"| `{name}` |" in page for name in CampaignConfig.model_fields)
    assert "| From the gun to the centre of the wafer, mm. | a number above 0 to 10\u202f000 | required | yes |" in page
    assert " at.%; 100 must be a multiple of it. | a whole number from 1 to 100 | `1` | yes |" in page
    assert "| `members` | Networks of the ensemble. | a whole number from 1 to 1\u202f000 | `5` | no |" in page
    words = page.split("| ")
    assert not [word for word in words if word.startswith(("None", "typing", "<class"))]


def test_every_command_stands_on_its_page_as_it_is_typed():
    page = PAGES["commands.md"].read_text()
    assert "| `--json` |" in page and "| `--quiet`, `-q` |" in page and " | 2 numbers |" in page
    assert page.count("```console") == page.count("### glassmap ") == page.count("Exit codes: ")
