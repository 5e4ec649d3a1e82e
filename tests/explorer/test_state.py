import dataclasses

import pytest
from hypothesis import given, settings, strategies as st

from penchant.explorer import PRESETS, State
from penchant.explorer._serve import read_visit
from penchant.explorer._state import KINDS, MOST_POINTS, Number

ALL = [state for p in PRESETS.values() for state in (p.state, p.other)]


@pytest.mark.parametrize("state", ALL, ids=range(len(ALL)))
def test_an_address_says_the_whole_state(state):
    assert State.from_query(state.query()) == state


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-1000, 1000), st.floats(-1000, 1000), st.sampled_from([1, -1])
        ),
        min_size=1,
        max_size=9,
    ),
    st.floats(0, 1),
    st.integers(10, 100_000),
    st.booleans(),
)
def test_numbers_come_back_to_the_last_bit(points, eps, steps, bias):
    state = State(points=tuple(points), eps=eps, steps=steps, bias=bias)
    assert State.from_query(state.query()) == state


def test_every_field_has_a_kind_and_a_default_of_that_kind():
    assert [f.name for f in dataclasses.fields(State)] == list(KINDS)
    for name, kind in KINDS.items():
        assert kind.holds(getattr(State(), name))


JUNK = {
    "b1=abc": "b1 must be a number from 0 to 0.9999; the address has 'abc'.",
    "b1=nan": "b1 must be a number from 0 to 0.9999; got nan.",
    "steps=1e5": "steps must be a whole number",
    "steps=99999999999": "from 10 to 100000",
    "rule=<script>": "rule must be one of adam",
    "view=landscape&rule=lion": "with view landscape",
    "colour=red": "colour",
    "points=1_2": "points x_y_label",
    "points=1_2_3": "label 1 or -1",
    "points=inf_0_1": "from -1000 to 1000",
    "points=" + "~".join(["0_0_1"] * (MOST_POINTS + 1)): f"1 to {MOST_POINTS} points",
    "x=" + "9" * 9000: "at most 8000 characters",
    "bias=yes": "bias must be 0 or 1; the address has 'yes'.",
    "preset=none": "preset must stand alone, and be one of batch-size-one",
    "preset=kink&b1=0": "preset must stand alone",
    "b1": "the address has ''",
    "%ff%00=%1b": "part of the address",
}


@pytest.mark.parametrize("query", JUNK, ids=range(len(JUNK)))
def test_junk_gets_a_sentence(query):
    state, preset, note = read_visit(query, State())
    assert (state, preset) == (State(), "")
    assert JUNK[query] in note
    assert len(note) < 600
    assert note.isprintable()


def test_a_preset_has_an_address():
    assert read_visit("preset=kink", State()) == (PRESETS["kink"].state, "kink", "")
    assert read_visit("", State(rule="gd")) == (State(rule="gd"), "", "")


@pytest.mark.parametrize(
    "name", [n for n, kind in KINDS.items() if isinstance(kind, Number)]
)
def test_bounds_hold_anywhere(name):
    kind = KINDS[name]
    for value in (kind.least, kind.most):
        state = State(**{name: int(value) if kind.whole else value})
        assert State.from_query(state.query()) == state
    for value in (int(kind.least) - 1, int(kind.most) + 1):
        with pytest.raises(ValueError, match=f"{name} must be {kind.wanted}"):
            State(**{name: value})


def test_a_rule_takes_its_own_options_only():
    assert dict(State(rule="gd").options) == {}
    assert dict(State(rule="momentum", b1=0.5).options) == {"momentum": 0.5}
    assert dict(State(rule="rmsprop").options) == {"b2": 0.95, "eps": 0.0}
