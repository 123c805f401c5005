"""Process variables: how they are read, encoded and held."""

import json
import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from glassmap.agent.data.context import (
    Context,
    Encoding,
    columns_of,
    read_value,
    rows_of,
    say_held,
    say_unlearned,
)
from glassmap.agent.errors import DatasetError, ModelError

HELD = {"rate": "high", "power": 100.0}
VALUES = [{"rate": rate, "power": power} for rate in ("high", "low") for power in (80.0, 100.0, 120.0)]


def encoding() -> Encoding:
    return Encoding.learned_from(Context(columns_of(VALUES, HELD), HELD))


def test_samples_that_differ_in_one_variable_are_about_one_apart():
    labels = Encoding.learned_from(Context({"rate": np.array(["a", "b", "c"])}, {"rate": "a"}))
    np.testing.assert_allclose(pdist(labels.encode({"rate": np.array(["a", "b", "c"])})), 1)
    numbers = Encoding.learned_from(Context({"power": np.array([80.0, 80.0, 120.0, 120.0])}, {"power": 80.0}))
    np.testing.assert_allclose(pdist(numbers.encode({"power": np.array([80.0, 120.0])})), 1)


def test_a_label_that_was_not_learned_from_is_as_near_to_each_of_the_others():
    labels = Encoding.learned_from(Context({"wafer": np.array(["1", "2", "3"])}, {"wafer": "1"}))
    told = labels.encode({"wafer": np.array(["1", "2", "3", "4"])})
    assert len(set(np.linalg.norm(told[:3] - told[3], axis=1).round(12))) == 1
    alone = Encoding.learned_from(Context({"wafer": np.array(["1", "1"])}, {"wafer": "4"}))
    np.testing.assert_array_equal(*alone.encode({"wafer": np.array(["1", "4"])}))


def test_an_encoding_comes_back_from_a_checkpoint_as_it_was():
    again = Encoding.from_json(json.loads(json.dumps(encoding().to_json())))
    assert again == encoding()
    columns = columns_of(VALUES, HELD)
    np.testing.assert_array_equal(again.encode(columns), encoding().encode(columns))
    assert again.width == again.encode(columns).shape[1] == 3


def test_compositions_alone_are_held_at_the_campaigns_values():
    alone = encoding().beside(np.full((2, 3), 1 / 3))
    same = encoding().beside(np.full((2, 3), 1 / 3), columns_of([HELD, HELD], HELD))
    np.testing.assert_array_equal(alone, same)
    low = encoding().held_at({"rate": "low", "power": 100.0}).beside(np.full((2, 3), 1 / 3))
    assert np.abs(low - alone).max() > 0.5


def test_a_value_is_read_as_the_campaign_holds_it():
    assert read_value(" high ", "rate", "low") == "high"
    assert read_value(np.float64(3), "wafer", "1") == "3", "a label is a label, though a file calls it a number"
    assert read_value(np.True_, "cleaned", "true") == "true"
    for said, label in (
        (20230115.0, "20230115"),
        ("20230116", "20230116"),
        ("20230116.0", "20230116"),
        (np.float32(0.1), "0.1"),
        ("0.1", "0.1"),
        (np.int64(2**60 + 1), str(2**60 + 1)),
        ("007", "007"),
        ("1.10", "1.10"),
    ):
        assert read_value(said, "batch", "1") == label, "as a number in a data set, so as text in a table"
    assert read_value("120", "power", 100.0) == 120.0
    assert [read_value(said, "power", 100.0) for said in (None, "", "  ", math.nan)] == [None] * 4
    with pytest.raises(DatasetError, match=r"power must be a number, as .* power = 100; got 'much'"):
        read_value("much", "power", 100.0)


def test_rows_are_taken_in_their_order():
    taken = rows_of(columns_of(VALUES, HELD), [5, 0])
    assert taken["rate"].tolist() == ["low", "high"]
    assert taken["power"].tolist() == [120.0, 80.0]


def test_values_are_said_in_words():
    assert say_held(HELD) == "rate = high, power = 100"
    assert say_held({}) == ""


def test_where_a_campaign_is_held_at_what_was_never_measured_is_said():
    assert say_unlearned(VALUES, HELD) == say_unlearned(VALUES, HELD | {"power": 124}) == say_unlearned([], HELD) == ""
    assert say_unlearned(VALUES, HELD | {"power": 500.0}) == (
        "power = 500 is outside what was learned, 80 to 120: what is planned and mapped there is extrapolated."
    )
    said = say_unlearned(VALUES, {"rate": "medium", "power": 100.0})
    assert said.startswith("Nothing was learned at rate = medium yet, only at high, low: ")
    nearly = [{"power": 99.0}, {"power": 99.1}]
    assert say_unlearned(nearly, {"power": 100.0}) == "", "what was made as it was asked for is no other value"


def test_a_label_that_comes_later_is_held_at_and_any_other_refused():
    waits = Encoding.learned_from(Context(columns_of(VALUES, HELD), HELD | {"rate": "medium"}))
    assert waits.held_at(waits.held) == waits
    with pytest.raises(ModelError, match="has rate = slow"):
        waits.held_at(HELD | {"rate": "slow"})


def test_what_nothing_was_learned_of_is_refused_in_words():
    with pytest.raises(ModelError, match=r"has rate = medium, .* there are high, low"):
        encoding().held_at({"rate": "medium", "power": 100.0})
    with pytest.raises(ModelError, match="learned from rate, power; hold it at a value of each, got rate"):
        encoding().held_at({"rate": "high"})
