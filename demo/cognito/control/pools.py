"""The pool itself: description, schema, domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.cognito.attributes import MAX_LENGTH, SchemaAttribute
from demo.cognito.control.errors import invalid
from demo.cognito.control.state import ACCOUNT_ID, ControlState
from demo.cognito.passwords import POLICY

if TYPE_CHECKING:
    from collections.abc import Mapping


def describe_user_pool(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    return {
        "UserPool": {
            "Id": pool.pool_id,
            "Name": state.pool_name,
            "Arn": f"arn:aws:cognito-idp:{pool.region}:{ACCOUNT_ID}:userpool/{pool.pool_id}",
            "CreationDate": pool.created,
            "LastModifiedDate": pool.created,
            "SchemaAttributes": [_described(attribute) for attribute in pool.schema.values()],
            "UsernameConfiguration": {"CaseSensitive": pool.case_sensitive},
            "EstimatedNumberOfUsers": len(pool.users),
            "MfaConfiguration": "OFF",
            "DeletionProtection": "ACTIVE",
            "Domain": state.domain_prefix,
            "UserPoolTier": pool.behaviour.tier,
            "AdminCreateUserConfig": {"AllowAdminCreateUserOnly": True},
            "Policies": {"PasswordPolicy": POLICY},
            **pool.settings,
        }
    }


def _described(attribute: SchemaAttribute) -> dict[str, Any]:
    described: dict[str, Any] = {
        "Name": attribute.name,
        "AttributeDataType": attribute.data_type,
        "DeveloperOnlyAttribute": False,
        "Mutable": attribute.mutable,
        "Required": attribute.required,
    }
    if attribute.data_type == "String":
        described["StringAttributeConstraints"] = {
            "MinLength": str(attribute.min_length),
            "MaxLength": str(attribute.max_length),
        }
    elif attribute.data_type == "Number":
        described["NumberAttributeConstraints"] = {"MinValue": "0"}
    return described


def add_custom_attributes(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """All or none are added; nothing ever takes an attribute away again."""
    pool = state.pool_of(request)
    added: dict[str, SchemaAttribute] = {}
    for given in request["CustomAttributes"]:
        attribute = _declared(given)
        if attribute.name in pool.schema or attribute.name in added:
            raise invalid(
                f"{attribute.name}: Existing attribute already has name {attribute.name}."
            )
        added[attribute.name] = attribute
    custom = sum(attribute.is_custom for attribute in pool.schema.values())
    if custom + len(added) > state.quotas.custom_attributes:
        # The model gives this operation no LimitExceededException.
        raise invalid(
            f"A user pool has at most {state.quotas.custom_attributes} custom attributes."
        )
    pool.schema.update(added)
    return {}


def _declared(given: Mapping[str, Any]) -> SchemaAttribute:
    if "Name" not in given:
        raise invalid("Attribute name is required.")
    if given.get("Required"):
        raise invalid("Required custom attributes are not supported currently.")
    prefix = "dev:" if given.get("DeveloperOnlyAttribute") else "custom:"
    constraints = given.get("StringAttributeConstraints") or {}
    try:
        bounds = int(constraints.get("MinLength", 0)), int(constraints.get("MaxLength", MAX_LENGTH))
    except ValueError as malformed:
        raise invalid(f"{given['Name']}: length constraints must be numbers.") from malformed
    if not 0 <= bounds[0] <= bounds[1] <= MAX_LENGTH:
        raise invalid(f"{given['Name']}: length constraints must lie within 0 and {MAX_LENGTH}.")
    return SchemaAttribute(
        prefix + given["Name"],
        given.get("AttributeDataType", "String"),
        # The API's default is an attribute that no later sign-in can change.
        mutable=bool(given.get("Mutable", False)),
        min_length=bounds[0],
        max_length=bounds[1],
    )


def describe_user_pool_domain(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """An unknown domain is an empty description, not an error."""
    if request["Domain"] != state.domain_prefix:
        return {"DomainDescription": {}}
    return {
        "DomainDescription": {
            "UserPoolId": state.pool.pool_id,
            "AWSAccountId": ACCOUNT_ID,
            "Domain": state.domain_prefix,
            "Status": "ACTIVE",
            "Version": "20260101000000",
            "ManagedLoginVersion": state.pool.behaviour.managed_login_version,
        }
    }
