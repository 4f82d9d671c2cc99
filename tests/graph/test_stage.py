import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_lab.graph.stage import Stage

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def stage(params, inputs=None, **changed) -> Stage:
    return Stage(
        **{"name": "n", "builder": "m:f", "version": 1, "params": params, "inputs": inputs or {}}
        | changed
    )


def test_the_key_is_pinned():
    """Golden: an accidental change of how keys are made would orphan every user's cache."""
    leaf = stage({"lr": 1e-5, "betas": [0.9, 0.999], "stop": None}, {"of": stage({"seed": 0})})
    assert leaf.key == "6b6b1512cb0d69ea98aae8bd9102bc3a6f72ffab54df0ca9819467395cc4706f"


@given(st.dictionaries(st.text(max_size=3), PLAIN, min_size=2, max_size=4))
def test_the_order_of_parameters_does_not_matter(params):
    assert stage(params).key == stage(dict(reversed(params.items()))).key


@given(PLAIN, PLAIN)
def test_every_leaf_matters(one, other):
    same = repr(one) == repr(other)
    if not same and one != other:
        assert stage({"a": {"b": [one]}}).key != stage({"a": {"b": [other]}}).key


def test_true_is_not_one_and_text_is_not_a_number():
    assert len({stage({"x": value}).key for value in (1, True, "1", 1.5, None)}) == 5


@pytest.mark.parametrize("changed", [{"name": "o"}, {"builder": "m:g"}, {"version": 2}])
def test_name_builder_and_version_matter(changed):
    assert stage({}, **changed).key != stage({}).key


def test_inputs_matter_by_content_and_by_role():
    one, other = stage({"x": 1}), stage({"x": 2})
    keys = {stage({}, inputs).key for inputs in ({}, {"a": one}, {"a": other}, {"b": one})}
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, r"n\.lr=nan: .*finite"),
        ({1: 2}, r"n\.lr: key 1 .*string"),
        ([object], r"n\.lr\[0\]=.*: .*plain JSON.* type"),
    ],
)
def test_only_plain_data_is_hashed(value, message):
    with pytest.raises(ValueError, match=message):
        stage({"lr": value})


def test_walk_gives_inputs_first_and_each_stage_once():
    base = stage({"x": 0})
    left, right = stage({"x": 1}, {"of": base}), stage({"x": 2}, {"of": base})
    leaf = stage({}, {"l": left, "r": right})
    order = [found.key for found in leaf.walk()]
    assert order == [base.key, left.key, right.key, leaf.key]
