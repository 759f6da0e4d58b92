"""Pictures of the documentation show the pages that the code makes."""

from __future__ import annotations

import re

import pytest
from jinja2 import DictLoader, Environment

from tests.pages.pictures import IMAGES, PICTURES, ROOT, Parts, content_of, made_of, recorded

PROSE = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])


def test_every_picture_that_is_shown_is_taken_and_none_is_left_over() -> None:
    shown = {
        name
        for page in PROSE
        for name in re.findall(r"images/([a-z0-9-]+)\.png", page.read_text("utf-8"))
    }
    assert shown == PICTURES.keys()
    assert {path.stem for path in IMAGES.iterdir()} == PICTURES.keys()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_of_the_page_that_the_code_makes(name: str) -> None:
    now = {"page": made_of(PICTURES[name]), "file": content_of(name)}
    assert recorded().get(name) == now, (
        f"docs/images/{name}.png is of another page than {PICTURES[name]} and its style sheet "
        "make now: run scripts/screenshots, and look at it"
    )


def test_a_page_is_made_of_what_it_uses_and_of_nothing_else() -> None:
    templates = {
        "page": "{% extends 'layout' %}{% from 'parts' import used %}{{ used() }}",
        "layout": "<p>{% include 'foot' %}</p>",
        "foot": "foot",
        "parts": (
            "{% from 'more' import far %}"
            "{% macro used() %}{{ helper() }}{% endmacro %}"
            "{% macro helper() %}{{ far() }}{% endmacro %}"
            "{% macro unused() %}unused{% endmacro %}"
        ),
        "more": "{% macro far() %}far{% endmacro %}",
    }

    def parts(**changes: str) -> list[str]:
        loader = DictLoader({**templates, **changes})
        return Parts(Environment(loader=loader, autoescape=True)).of("page")

    assert len(parts()) == 6
    assert parts(foot="other") != parts()
    assert parts(more="{% macro far() %}other{% endmacro %}") != parts()
    assert parts(parts=templates["parts"].replace(">unused<", "other")) == parts()
    assert parts(parts=templates["parts"].replace("}unused{", "}other{")) == parts()
