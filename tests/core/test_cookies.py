"""Our cookie among the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.cookies import names_below, own_values, pairs_below, without

NAME = "__Host-gw"


def test_every_cookie_line_and_every_pair_counts() -> None:
    assert own_values(["a=1; __Host-gw=stale", "__Host-gw=good;b=2"], NAME) == ("stale", "good")


def test_a_value_keeps_its_equals_signs_and_quotes() -> None:
    assert own_values(['__Host-gw="a=b="'], NAME) == ('"a=b="',)


def test_names_compare_exactly() -> None:
    assert own_values(["__host-gw=x; __Host-gw2=y; __Host-gw; X__Host-gw=z"], NAME) == ()


@pytest.mark.parametrize("space", ["\u00a0", "\u2000", "\u3000", "\x85", "\x0b", "\x0c", "\x1c"])
def test_a_name_that_only_looks_like_ours_is_not_ours(space: str) -> None:
    """A sibling host may set it for the whole domain, which no browser allows for a real
    ``__Host-`` name.
    """
    line = f"a=1; {space}{NAME}=planted; {NAME}{space}=planted; {space}{NAME}-acme=planted"
    assert own_values([line], NAME) == ()
    assert names_below([line], f"{NAME}-") == ()
    assert pairs_below([line], f"{NAME}-") == ()


def test_space_and_tab_around_a_name_are_nothing() -> None:
    assert own_values([f" {NAME}\t=\tgood ;"], NAME) == ("good",)


def test_companions_are_found_by_how_their_names_begin_in_the_order_they_were_sent() -> None:
    lines = ["a=1; __Host-gw-b= 2 ; __Host-gw-c", "__Host-gw-a=3=; __Host-gw-b=4; __Host-gw=5"]
    found = (("__Host-gw-b", "2"), ("__Host-gw-a", "3="), ("__Host-gw-b", "4"))
    assert pairs_below(lines, f"{NAME}-") == found
    assert names_below(lines, f"{NAME}-") == ("__Host-gw-b", "__Host-gw-a")


def test_proxies_that_join_lines_with_a_comma_spoil_the_value_rather_than_choose_one() -> None:
    assert own_values(["a=1; __Host-gw=x,__Host-gw=evil; b=2"], NAME) == ("x,__Host-gw=evil",)


def test_the_application_gets_everything_but_ours() -> None:
    lines = ["a=1;  __Host-gw=x ;b = 2", "__Host-gw-login=y", "c"]
    assert without(lines, NAME) == "a=1; b = 2; c"


def test_companions_are_ours_whatever_the_session_cookie_is_called() -> None:
    assert (
        without(["__Host-gw-login=x; __Host-acme=y; __Host-acme-z=1; __Host-gwx=2"], "__Host-acme")
        == "__Host-gwx=2"
    )


def test_nothing_but_ours_leaves_nothing() -> None:
    assert without(["__Host-gw=x"], NAME) == ""
    assert without([], NAME) == ""


def test_undecodable_pairs_are_left_out() -> None:
    assert without(["a=1; b=\udcff; c=ü"], NAME) == "a=1; c=ü"


lines_of_anything = st.lists(
    st.text(alphabet=st.one_of(st.sampled_from(";= _-Hostgw\t"), st.characters())), max_size=4
)


@given(lines_of_anything, st.text(alphabet="abc123", max_size=8))
def test_what_the_application_gets_never_holds_ours(noise: list[str], value: str) -> None:
    rest = without([*noise, f"x=1; {NAME}={value}"], NAME)
    assert own_values([rest], NAME) == ()
    assert without([rest], NAME) == rest


@given(lines_of_anything, st.text(alphabet="abc123", max_size=8))
def test_noise_never_hides_ours(noise: list[str], value: str) -> None:
    assert own_values([*noise, f"{NAME}={value}"], NAME)[-1] == value


def test_what_looks_like_ours_behind_a_comma_is_not_read_and_not_handed_on() -> None:
    lines = [f"a=1,{NAME}=x; b=2, {NAME}-login = y ,z", f"{NAME}=x,c=3"]
    assert own_values(lines, NAME) == ("x,c=3",)
    assert without(lines, NAME) == "a=1; b=2,z"
