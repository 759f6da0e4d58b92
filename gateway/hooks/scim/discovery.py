"""SCIM discovery documents (RFC 7643 §5–§7): what this sink supports, and nothing more."""

from __future__ import annotations

from typing import Any

from gateway.hooks.scim.resources import GROUP_SCHEMA, USER_SCHEMA

LIST_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"
PATCH_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MAX_RESULTS = 200


def service_provider_config(base: str) -> dict[str, Any]:
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 1, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MAX_RESULTS},
        "changePassword": {"supported": False},
        "sort": {"supported": False},
        "etag": {"supported": False},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "Bearer token",
                "description": "The hook secret of this provider",
                "primary": True,
            }
        ],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": f"{base}/ServiceProviderConfig",
        },
    }


def resource_types(base: str) -> list[dict[str, Any]]:
    return [
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name,
            "name": name,
            "endpoint": f"/{name}s",
            "schema": schema,
            "description": description,
            "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{name}"},
        }
        for name, schema, description in (
            ("User", USER_SCHEMA, "People who may be deprovisioned"),
            ("Group", GROUP_SCHEMA, "Groups and their members"),
        )
    ]


def _attribute(
    name: str,
    kind: str = "string",
    *,
    many: bool = False,
    required: bool = False,
    unique: str = "none",
    sub: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    attribute: dict[str, Any] = {
        "name": name,
        "type": kind,
        "multiValued": many,
        "required": required,
        "mutability": "readWrite",
        "returned": "default",
        "description": name,
    }
    if kind in {"string", "reference"}:
        attribute |= {"caseExact": False, "uniqueness": unique}
    if sub is not None:
        attribute["subAttributes"] = sub
    return attribute


def schemas(base: str) -> list[dict[str, Any]]:
    user = [
        _attribute("userName", required=True, unique="server"),
        _attribute("displayName"),
        _attribute(
            "name",
            "complex",
            sub=[_attribute("formatted"), _attribute("familyName"), _attribute("givenName")],
        ),
        _attribute("active", "boolean"),
        _attribute(
            "emails",
            "complex",
            many=True,
            sub=[_attribute("value"), _attribute("type"), _attribute("primary", "boolean")],
        ),
    ]
    group = [
        _attribute("displayName", required=True),
        _attribute("members", "complex", many=True, sub=[_attribute("value")]),
    ]
    return [
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": schema,
            "name": name,
            "description": description,
            "attributes": attributes,
            "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{schema}"},
        }
        for schema, name, description, attributes in (
            (USER_SCHEMA, "User", "User Account", user),
            (GROUP_SCHEMA, "Group", "Group", group),
        )
    ]
