"""One plain page layout for all servers of the demo: no script, no outside resource, everything
escaped.
"""

from __future__ import annotations

from typing import Any

import jinja2
from aiohttp import web

_LAYOUT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>
:root { color-scheme: light dark; --line: #8885; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: {{ width }}; margin: 3rem auto; padding: 0 1rem; }
label, input, button { display: block; font: inherit; } input { width: 100%; box-sizing: border-box; padding: .4rem; margin-bottom: .8rem; }
button { padding: .4rem 1rem; cursor: pointer; } .row button, .row form { display: inline-block; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
code, pre { font: 14px ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; } .alert { border-left: 4px solid #c33; padding-left: .8rem; }
.brand { color: #777; margin: 0; } nav a { margin-right: 1rem; }
</style></head><body><p class="brand">{{ brand }}</p><h1>{{ title }}</h1>
{% block body %}{% endblock %}
</body></html>"""  # noqa: E501 - one text, as it is

_environment = jinja2.Environment(
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    loader=jinja2.DictLoader({"layout": _LAYOUT}),
    trim_blocks=True,
)


class Template:
    """A page body in Jinja, put into the common layout."""

    def __init__(self, body: str, *, width: str = "26rem") -> None:
        self._template = _environment.from_string(
            "{% extends 'layout' %}{% block body %}" + body + "{% endblock %}",
            globals={"width": width},
        )

    def respond(self, *, title: str, brand: str, status: int = 200, **values: Any) -> web.Response:
        """Render with escaped values; never stored by a cache."""
        text = self._template.render(title=title, brand=brand, **values)
        return web.Response(
            text=text,
            status=status,
            content_type="text/html",
            headers={"Cache-Control": "no-store"},
        )
