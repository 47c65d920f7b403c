"""Specs: one textual form, read without running anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqstate.core.spec import Spec, parse, parse_pair

names = st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True).filter(
    lambda name: (
        name not in {"in", "is", "if", "or", "as", "and", "not", "for", "def", "del", "try", "pass"}
        and not __import__("keyword").iskeyword(name)
    )
)
values = st.one_of(
    st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8), st.tuples(st.integers(), st.integers()),
)  # fmt: skip


@given(name=names, options=st.dictionaries(names, values, max_size=4))
def test_what_is_written_is_read_again(name, options):
    spec = Spec(name, options)
    assert parse(str(spec)) == spec
    assert hash(parse(str(spec))) == hash(spec)


@given(st.text(max_size=30))
def test_any_text_is_a_spec_or_a_value_error_of_one_line(text):
    try:
        parse(text)
    except ValueError as error:
        assert "\n" not in repr(str(error))


def test_nested_parts_need_no_quotes():
    spec = parse("attention(energy=multi_hamming(groups=4), heads=2, positions=rotary)")
    assert spec.options == {"energy": "multi_hamming(groups=4)", "heads": 2, "positions": "rotary"}


def test_a_pair_has_a_state_and_maybe_an_energy():
    assert parse_pair("lstm(width=64) + inner") == (Spec("lstm", {"width": 64}), Spec("inner"))
    assert parse_pair("ngram(order=3)") == (Spec("ngram", {"order": 3}), None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lstm(",
        "lstm(64)",
        "lstm(width=open('x'))",
        "1 + 2",
        "lstm(width=1, width=2)",
        "a + b + c * 2",
    ],
)
def test_what_is_no_spec_is_refused(text):
    with pytest.raises(ValueError, match="cannot read|by name|twice"):
        parse_pair(text)
