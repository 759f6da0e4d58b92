"""Tenant documents for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path


def sample(tenant: str = "acme", **more: Any) -> dict[str, Any]:
    """The smallest tenant that can log in, with names made of its id."""
    return {
        "id": tenant,
        "name": tenant.capitalize(),
        "hosts": [f"{tenant}.example.com"],
        "email_domains": [f"{tenant}.test"],
        "allowed_groups": ["app-users"],
        "client_id": f"client{tenant}",
        "client_secret": f"secret of {tenant}",
        "providers": [
            {
                "name": f"{tenant}-okta",
                "kind": "okta",
                "issuer": f"https://{tenant}.okta.example.com",
            }
        ],
        **more,
    }


def write(folder: Path, document: dict[str, Any], *, name: str | None = None) -> Path:
    """As ``ID.yaml``, replaced in one step as deployment tools do."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name or document['id']}.yaml"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(yaml.safe_dump(document), encoding="utf-8")
    temporary.replace(path)
    return path
