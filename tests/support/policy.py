"""A world whose tenant acme has rules of every kind, and next rules that differ from them."""

from __future__ import annotations

from typing import Any

import yaml

from demo.world import MACHINE_CLIENT, World

OWN_CLIENT = "acmedemo0000000000000000"
RULES: list[dict[str, Any]] = [
    {"path": "/public/**", "allow": "public"},
    {"path": "/admin/**", "groups": ["admins"]},
    {"path": "/api/**", "bearer": {"clients": [MACHINE_CLIENT], "scopes": ["acme/read"]}},
    {
        "path": "/machines/**",
        "bearer": {"clients": [MACHINE_CLIENT], "scopes": ["acme/read"]},
        "browser_sessions": False,
    },
    {"path": "/people/**", "bearer": {"clients": [OWN_CLIENT]}, "groups": "any"},
    {"path": "/grouped/**", "bearer": {"clients": [OWN_CLIENT]}},
    {"path": "/closing/**", "bearer": {"clients": [MACHINE_CLIENT]}},
    {"path": "/dav/**", "app_passwords": True},
    {"path": "/dav-or-token/**", "app_passwords": True, "bearer": {"clients": [MACHINE_CLIENT]}},
    {
        "path": "/bot/**",
        "bearer": {"clients": [MACHINE_CLIENT, OWN_CLIENT]},
        "groups": "any",
        "identity": {"remote-user": "deploy-bot", "X-Auth-Request-Groups": "ci, readers"},
    },
]
RULES_NEXT: list[dict[str, Any]] = [
    {"path": "/public/**", "groups": ["admins"]},
    {"path": "/api/**", "bearer": {"clients": [MACHINE_CLIENT], "scopes": ["acme/write"]}},
    {"path": "/closing/**", "allow": "deny"},
    {"path": "/opening/**", "allow": "public"},
    {"path": "/machines/**", "groups": ["app-users"]},
    {"path": "/becoming/**", "bearer": {"clients": [MACHINE_CLIENT], "scopes": ["acme/read"]}},
    *(
        rule
        for rule in RULES
        if rule["path"] in {"/admin/**", "/people/**", "/grouped/**", "/dav/**", "/dav-or-token/**"}
    ),
]


class PolicyWorld(World):
    """Acme as in ``config/``, with these rules."""

    def _write_config(self) -> None:
        super()._write_config()
        path = self.directory / "config" / "tenants" / "acme.yaml"
        document = yaml.safe_load(path.read_text("utf-8"))
        path.write_text(
            yaml.safe_dump({**document, "rules": RULES, "shadow_rules": RULES_NEXT}), "utf-8"
        )
