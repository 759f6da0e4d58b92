from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.pages.render import HERE
from gateway.pages.theme import AA, DARK_BACKGROUND, LIGHT_BACKGROUND, contrast, palette

colours = st.integers(0, 0xFFFFFF).map(lambda n: f"#{n:06x}")


@given(colours)
def test_whatever_colour_a_tenant_has_its_pages_can_be_read(colour: str) -> None:
    made = palette(colour)
    assert contrast(made.accent, made.on_accent) >= AA
    assert contrast(made.light, LIGHT_BACKGROUND) >= AA
    assert contrast(made.dark, DARK_BACKGROUND) >= AA


@given(colours, colours)
def test_contrast_is_symmetric_and_within_one_and_twentyone(one: str, other: str) -> None:
    assert contrast(one, other) == contrast(other, one)
    assert 1 <= contrast(one, other) <= 21


def test_black_on_white_is_the_most_there_is() -> None:
    assert contrast("#000000", "#ffffff") == 21


def test_a_readable_colour_stays_as_it_is() -> None:
    assert palette("#0b5fff").light == "#0b5fff"


def test_the_backgrounds_are_those_of_the_style_sheet() -> None:
    style = (HERE / "static" / "pages.css").read_text()
    assert f"--canvas: {LIGHT_BACKGROUND}" in style
    assert f"--card: {DARK_BACKGROUND}" in style
