"""The hosted pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demo.html import Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

_LOGIN = Template("""
{% if wrong %}<p class="alert" role="alert">Incorrect username or password.</p>{% endif %}
{% for name, link in providers.items() %}<p><a href="{{ link }}">Continue with {{ name }}</a></p>{% endfor %}
{% if own_users %}
<form method="post" action="{{ action }}">
<input type="hidden" name="_csrf" value="{{ csrf }}">
<label>Username <input name="username" value="{{ hint }}" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button>
</form>{% endif %}
""")  # noqa: E501 - one text, as it is
_NEW_PASSWORD = Template("""
{% if problem %}<p class="alert" role="alert">{{ problem }}</p>{% endif %}
<form method="post" action="{{ action }}">
<input type="hidden" name="_csrf" value="{{ csrf }}">
<input type="hidden" name="token" value="{{ token }}">
{% if needs_code %}<label>Verification code <input name="code" required></label>{% endif %}
<label>New password <input name="password" type="password" autocomplete="new-password"></label>
<button>Change password</button>
</form>
""")
_ERROR = Template('<p class="alert" role="alert">{{ message }}</p>')

BRAND = "Demo Cognito"


def login(
    *, own_users: bool, providers: Mapping[str, str], action: str, csrf: str, hint: str, wrong: bool
) -> web.Response:
    """Provider chooser (name → link), own users' form, or both."""
    return _LOGIN.respond(
        title="Sign in",
        brand=BRAND,
        own_users=own_users,
        providers=providers,
        action=action,
        csrf=csrf,
        hint=hint,
        wrong=wrong,
    )


def new_password(
    *, action: str, csrf: str, token: str, needs_code: bool, problem: str
) -> web.Response:
    """What who was invited, or reset, sees after the password that they were given."""
    return _NEW_PASSWORD.respond(
        title="Change password",
        brand=BRAND,
        action=action,
        csrf=csrf,
        token=token,
        needs_code=needs_code,
        problem=problem,
    )


def error(message: str, *, status: int = 400) -> web.Response:
    """Cognito's own error page."""
    return _ERROR.respond(title="Something went wrong", brand=BRAND, status=status, message=message)
