"""A world whose tenant acme has users of the pool, and rules that take their passwords."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import yaml

from demo.cognito.pool import Group
from demo.world import World

if TYPE_CHECKING:
    from demo.cognito.pool import User

CLIENT = "acmepasswords00000000000"
PASSWORD = "Passw0rd-of-the-pool"
RULES: list[dict[str, Any]] = [
    {"path": "/dav/**", "basic": "cognito", "app_passwords": True},
    {"path": "/echo/**", "basic": "cognito"},
    {"path": "/admins/**", "basic": "cognito", "groups": ["admins"]},
    {"path": "/open/**", "allow": "public"},
]


def basic(name: str, password: str = PASSWORD) -> dict[str, str]:
    """As a program sends it."""
    text = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}", "Sec-Fetch-Mode": "", "Sec-Fetch-Dest": ""}


class PasswordWorld(World):
    """Acme as in ``config/``, with a provider of kind ``cognito`` and an app client for
    passwords.
    """

    def _write_config(self) -> None:
        super()._write_config()
        path = self.directory / "config" / "tenants" / "acme.yaml"
        document = yaml.safe_load(path.read_text("utf-8"))
        client = self.cloud.add_client(
            "acme-passwords",
            providers=[],
            callback_urls=[],
            logout_urls=[],
            client_id=CLIENT,
            AllowedOAuthFlowsUserPoolClient=False,
            AllowedOAuthFlows=[],
            AllowedOAuthScopes=[],
            ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"],
        )
        secret = self.directory / "secrets" / "PASSWORD_CLIENT"
        secret.write_text(client.secret or "", "utf-8")
        users = {
            "name": "acme-cognito",
            "kind": "cognito",
            "members_only": True,
            "domains": ["people.acme.test", *document["email_domains"]],
        }
        for provider in document["providers"]:
            provider["domains"] = list(document["email_domains"])
        path.write_text(
            yaml.safe_dump(
                {
                    **document,
                    "email_domains": [*document["email_domains"], "people.acme.test"],
                    "providers": [*document["providers"], users],
                    "allowed_groups": "any",
                    "rules": [*RULES, *document["rules"]],
                    "shadow_rules": [],
                    "password_client": {
                        "client_id": CLIENT,
                        "client_secret": f"file:{secret}",
                    },
                }
            ),
            "utf-8",
        )

    def add_member(self, name: str, *groups: str, password: str = PASSWORD) -> User:
        """A user of the pool who is acme's."""
        pool = self.cloud.cognito.pool
        user = pool.add_user(
            name,
            password=password,
            email=f"{name}@people.acme.test",
            email_verified="true",
            name=name.title(),
        )
        names = ["tenants/acme", *(f"tenants/acme/{group}" for group in groups)]
        for group in names:
            pool.groups.setdefault(group, Group(group, "", 1.0))
        user.groups = names
        return user
