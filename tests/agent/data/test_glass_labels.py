"""Tables that say of alloys or samples whether they are a glass."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.glass_labels import GlassLabels, read_labels
from glassmap.agent.errors import DatasetError

SYSTEM = ("Co", "V", "Zr")


def labels_of(folder: Path, text: str) -> GlassLabels:
    path = folder / "labels.csv"
    path.write_text(text)
    return read_labels(path, SYSTEM)


def test_alloys_are_read_in_any_order_of_elements_and_those_of_other_systems_are_left_out(tmp_path: Path):
    found = labels_of(tmp_path, "alloy,glass,method\nZr30Co30V40,true,DSC\nCo90Zr10,no,XRD\nZr50Cu50,yes,\nV50Zr50,,\n")
    np.testing.assert_allclose(found.compositions, [[0.3, 0.4, 0.3], [0.9, 0, 0.1]])
    assert (found.is_glass.tolist(), found.samples, found.others) == ([True, False], ("", ""), 1)


def test_samples_are_named_or_their_shares_given(tmp_path: Path):
    found = labels_of(tmp_path, "sample,glass\nr001-01,1\nr001-02,0\n")
    assert found.samples == ("r001-01", "r001-02") and np.isnan(found.compositions).all()
    found = labels_of(tmp_path, "Zr (at.%),Co (at.%),glass,V (at.%)\n30,30,True,40\n")
    np.testing.assert_allclose(found.compositions, [[0.3, 0.4, 0.3]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alloy,glas\nCo50V50,true\n", "has a column `glass` of true and false; got the columns"),
        ("alloy,glass\nCo50V50,perhaps\n", "row 1: a label is true or false, .* got 'perhaps'"),
        ("alloy,glass\nCo50V50,true\nV50Co50,false\n", "Co50V50 is said both to be a glass and to be none"),
        ("sample,glass\na,true\na,false\n", "a is said both to be a glass and to be none"),
        ("remark,glass\nx,true\ny,false\n", "says what it speaks of, by a column `sample`"),
        ("Co,V,Zr,glass\n10,20,70,true\n", "unit of the column 'Co' must be"),
    ],
)
def test_a_table_that_says_nothing_or_two_things_is_refused(tmp_path: Path, text: str, said: str):
    with pytest.raises(DatasetError, match=said):
        labels_of(tmp_path, text)


def test_two_samples_of_one_alloy_may_differ(tmp_path: Path):
    assert len(labels_of(tmp_path, "sample,alloy,glass\na,Co50V50,true\nb,Co50V50,false\n").is_glass) == 2
