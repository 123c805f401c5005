"""What the front page promises is what the results say."""

from tests.docs.blocks import PAGES


def test_the_table_of_accuracy_is_that_of_the_results():
    results = PAGES["results.md"].read_text().split("## In one table")[1].split("\n- ")[0]
    rows = [line for line in results.splitlines() if line.startswith("|")]
    assert len(rows) == 7, "a head, a rule, and five lines"
    assert "\n".join(rows) in PAGES["README.md"].read_text()
