import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imer_ray.stages.graph import Stage

LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
TREES = st.dictionaries(
    st.text(min_size=1), st.recursive(LEAVES, lambda t: st.lists(t) | st.dictionaries(st.text(), t), max_leaves=4)
)


def stage(config=None, **changes):
    return Stage(**{"name": "s", "function": "m:f", "config": config or {}, "data": "d", **changes})


def turned(tree):
    """The same tree with every mapping's entries in the opposite order."""
    if isinstance(tree, dict):
        return {k: turned(v) for k, v in reversed(tree.items())}
    return [turned(v) for v in tree] if isinstance(tree, list) else tree


@settings(max_examples=40, deadline=None)
@given(TREES)
def test_order_of_entries_does_not_change_the_key(config):
    assert stage(config).key == stage(turned(config)).key


@settings(max_examples=40, deadline=None)
@given(TREES, TREES)
def test_keys_are_equal_exactly_if_configurations_are(one, other):
    # JSON text tells 1, 1.0 and True apart, as the stage functions may.
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (stage(one).key == stage(other).key) == same


@settings(max_examples=40, deadline=None)
@given(TREES, TREES)
def test_where_things_lie_and_a_names_argument_do_not_change_the_key(config, location):
    assert stage(config).key == stage(config, location=location, name="s[other]", function="m.moved:g").key


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "t"},
        {"function": "other.m:f"},
        {"version": 2},
        {"data": "e"},
        {"inputs": {"a": stage()}},
        {"inputs": {"b": stage()}},
        {"inputs": {"a": stage({"x": 1})}},
        {"inputs": {"a": stage(data="e")}},
    ],
)
def test_everything_else_changes_the_key(changes):
    others = [stage(), stage(inputs={"c": stage()})]
    assert stage(**changes).key not in {other.key for other in others}


def test_a_configuration_that_json_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = stage({"x": float("nan")}).key


def test_settings_lay_locations_over_the_slice_and_leave_it_alone():
    config = {"data": {"name": "mosi", "path": None}, "seed": 1}
    before = copy.deepcopy(config)
    told = stage(config, location={"data": {"path": "/here"}, "extra": 2}).settings
    assert told == {"data": {"name": "mosi", "path": "/here"}, "seed": 1, "extra": 2}
    assert config == before


def test_in_order_gives_each_stage_once_after_its_inputs():
    a = stage({"x": 1}, name="a")
    b, c = (stage({"x": n}, name=name, inputs={"a": a}) for n, name in ((2, "b"), (3, "c")))
    d = stage({"x": 4}, name="d", inputs={"b": b, "c": c, "a": a})
    assert [s.name for s in d.in_order()] == ["a", "b", "c", "d"]


def test_rungs_reach_all_inputs_and_change_no_key():
    a = stage({"x": 1}, name="a")
    b = stage({"x": 2}, name="b", inputs={"a": a}, version=3, location={"path": "/here"})
    watched = b.with_rungs((3, 9))
    assert [s.rungs for s in watched.in_order()] == [(3, 9), (3, 9)]
    assert [s.key for s in watched.in_order()] == [a.key, b.key]
    assert watched.with_rungs(()) == b
