"""What we send is what AWS's model takes, and what we may do is what we do: no operation more, none
less.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
import yaml

from demo.cognito.pool import BrowserSession, User
from gateway.cognito.api import OPERATIONS, CognitoRejectedError
from gateway.cognito.own_users import OwnUsers, temporary_password
from gateway.cognito.sdk_model import with_new_operations
from gateway.cognito.users import CognitoUsers
from gateway.provisioning.runner import Done
from tests.provisioning.bench import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.cognito.pool import Pool

DEPLOY = Path(__file__).parents[2] / "deploy/aws"
_CLASSES = ((r"\p{L}\p{M}\p{S}\p{N}\p{P}", r"\S"), (r"\p{Z}", r"\s"))


def python_pattern(pattern: str) -> str:
    """AWS's patterns are Java's; the Unicode classes that occur are spelled as Python knows
    them.
    """
    for java, python in _CLASSES:
        pattern = pattern.replace(java, python)
    return pattern


def violations(shape: Any, value: Any, where: str = "") -> Iterator[str]:
    """Everything about ``value`` that the model's ``shape`` does not allow: members, types,
    lengths, ranges, patterns, enums.
    """
    meta = shape.metadata
    if shape.type_name == "structure":
        for name in set(value) - set(shape.members):
            yield f"{where}.{name}: not in the model"
        for name in set(shape.required_members) - set(value):
            yield f"{where}.{name}: required"
        for name, item in value.items():
            if name in shape.members:
                yield from violations(shape.members[name], item, f"{where}.{name}")
        return
    size = len(value) if isinstance(value, str | list | dict) else value
    if (
        isinstance(size, int)
        and not isinstance(value, bool)
        and not meta.get("min", size) <= size <= meta.get("max", size)
    ):
        yield f"{where}: {size} outside {meta.get('min')}..{meta.get('max')}"
    if shape.type_name == "list":
        for number, item in enumerate(value):
            yield from violations(shape.member, item, f"{where}.{number}")
    elif shape.type_name == "map":
        for name, item in value.items():
            yield from violations(shape.key, name, f"{where}.{name} (key)")
            yield from violations(shape.value, item, f"{where}.{name}")
    elif shape.type_name == "string":
        if not isinstance(value, str):
            yield f"{where}: not text"
        elif meta.get("pattern") and not re.fullmatch(python_pattern(meta["pattern"]), value):
            yield f"{where}: {value!r} does not match {meta['pattern']}"
        elif shape.enum and value not in shape.enum:
            yield f"{where}: {value!r} is not one of {shape.enum}"


async def everything(bench: Bench) -> None:
    """Lives of tenants in which every operation occurs."""
    bench.cloud.cognito.pool.behaviour.managed_login_version = 2
    bench.cloud.cognito.pool.session_tracking = True
    await bench.apply(
        "hooli", await bench.body("hooli", provider={"kind": "cognito"}, hosts=["hooli.localhost"])
    )
    assert isinstance(await bench.service.destroy("hooli", actor="test"), Done)
    del bench.cloud.cognito.pool.schema["custom:groups"]
    body = (await bench.body()).model_copy(update={"keep_secrets": True})
    assert isinstance(await bench.apply(body=body), Done)
    provider = body.all_providers[0].model_copy(
        update={"identifiers": ("initech.test",), "attributes": {"nickname": "nickname"}}
    )
    changed = body.model_copy(
        update={"provider": provider, "hosts": ("initech.localhost", "two.localhost")}
    )
    assert isinstance(await bench.apply(body=changed, update=True), Done)
    pool = bench.service.provisioning.pools.named("default")
    assert await pool.clients_named("nobody") == ()
    users = CognitoUsers(pool.api)
    person = User(
        "initech-okta_00u1",
        "sub-1",
        1.0,
        {"email": "peter@initech.test", "custom:groups": "[app-users, R%26D]"},
        provider="initech-okta",
    )
    bench.cloud.cognito.pool.users[person.username] = person
    began = BrowserSession(
        person.username, "initech-okta", 1, began=bench.cloud.cognito.pool.clock()
    )
    bench.cloud.cognito.pool.sessions["one"] = began
    assert await users.usernames("peter@initech.test") == ("initech-okta_00u1",)
    assert await users.remove_group("initech-okta_00u1", "R&D", url_decode_groups=True)
    assert person.attributes["custom:groups"] == "[app-users]"
    assert await users.sign_out("initech-okta_00u1")
    assert await users.disable("initech-okta_00u1")
    assert await users.enable("initech-okta_00u1")
    await members(pool)
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)


async def members(pool: Pool) -> None:
    """What is done to users of the pool."""
    own = OwnUsers(pool.api)
    settings = await pool.settings()
    await own.create_group("tenants/initech", description="")
    attributes = {"email": "own@initech.test", "email_verified": "true", "name": "Owen"}
    made = await own.create("owen", attributes, password=temporary_password(settings))
    assert made is not None
    await own.add_to_group("owen", "tenants/initech")
    await own.invite("owen")
    await own.set_temporary_password("owen", temporary_password(settings))
    assert await CognitoUsers(pool.api).groups_of("owen") == ("tenants/initech",)
    page = await own.in_group("tenants/initech", limit=20, token=None)
    assert page is not None
    assert [user.username for user in page.users] == ["owen"]
    with pytest.raises(CognitoRejectedError):
        await own.reset_password("owen")  # no password of their own yet
    await own.remove_from_group("owen", "tenants/initech")
    await own.delete("owen")


async def test_every_request_validates_under_awss_model_and_every_operation_is_used(
    tmp_path: Path,
) -> None:
    model = with_new_operations(botocore.session.get_session()).get_service_model("cognito-idp")
    async with Bench(tmp_path) as bench:
        await everything(bench)
        calls = bench.cloud.cognito.control.calls
        wrong = [
            f"{c.operation}{v}"
            for c in calls
            for v in violations(model.operation_model(c.operation).input_shape, c.request)
        ]
        assert wrong == []
        assert {c.operation for c in calls} == OPERATIONS


def test_the_judge_of_requests_knows_a_bad_one() -> None:
    model = with_new_operations(botocore.session.get_session()).get_service_model("cognito-idp")
    shape = model.operation_model("CreateIdentityProvider").input_shape
    bad: Mapping[str, Any] = {
        "UserPoolId": "nonsense",
        "ProviderName": "_ab",
        "ProviderType": "NEWS",
        "ProviderDetails": {},
        "More": 1,
    }
    found = "\n".join(violations(shape, bad))
    for expected in (
        ".More: not in the model",
        ".UserPoolId: 'nonsense' does not match",
        ".ProviderName: '_ab' does not match",
        ".ProviderType: 'NEWS' is not one of",
    ):
        assert expected in found


def policy_actions() -> set[str]:
    statements = json.loads((DEPLOY / "admin-role-policy.json").read_text("utf-8"))["Statement"]
    return {action for statement in statements for action in statement["Action"]}


def test_the_policy_lists_exactly_the_operations_that_can_be_called() -> None:
    wanted = {f"cognito-idp:{o}" for o in OPERATIONS}
    assert policy_actions() == wanted
    template = (DEPLOY / "pool.yaml").read_text("utf-8")
    assert set(re.findall(r"- (cognito-idp:\w+)", template)) == wanted
    terraform = (DEPLOY / "main.tf").read_text("utf-8")
    for statement in (0, 1):
        assert (
            f'jsondecode(file("${{path.module}}/admin-role-policy.json")).Statement[{statement}]'
            in terraform
        )


def test_the_policy_for_client_secrets_reads_and_nothing_else() -> None:
    policy = json.loads((DEPLOY / "client-secrets-policy.json").read_text("utf-8"))
    (statement,) = policy["Statement"]
    assert statement["Action"] == ["secretsmanager:GetSecretValue"]
    assert "*" not in statement["Resource"]
    template = (DEPLOY / "pool.yaml").read_text("utf-8")
    assert re.findall(r"- (secretsmanager:\w+)", template) == statement["Action"]
    assert "Resource: !Ref ClientSecretArns" in template
    terraform = (DEPLOY / "main.tf").read_text("utf-8")
    assert 'jsondecode(file("${path.module}/client-secrets-policy.json")).Statement[0]' in terraform


async def test_the_policy_is_enough_for_a_tenants_whole_life(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.cloud.cognito.control.allowed_operations = frozenset(
            a.removeprefix("cognito-idp:") for a in policy_actions()
        )
        await everything(bench)


async def test_what_is_not_in_the_table_cannot_be_called(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        with pytest.raises(ValueError, match="DeleteUserPool is not one of the operations"):
            await bench.service.provisioning.pools.named("default").api.call(
                "DeleteUserPool", idempotent=True
            )


async def test_a_missing_right_is_named(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.cloud.cognito.control.allowed_operations = frozenset({"DescribeUserPool"})
        with pytest.raises(
            CognitoRejectedError, match="not authorized to perform: cognito-idp:"
        ) as caught:
            await bench.service.propose("initech", await bench.body(), update=False)
        assert caught.value.code == "AccessDeniedException"


def _schema_of_cloudformation() -> dict[str, dict[str, Any]]:
    class Loader(yaml.SafeLoader):
        """Intrinsic functions as their text."""

    Loader.add_multi_constructor("!", lambda _loader, _suffix, node: str(node.value))
    document = yaml.load((DEPLOY / "pool.yaml").read_text("utf-8"), Loader=Loader)
    properties = document["Resources"]["Pool"]["Properties"]
    assert properties["UsernameConfiguration"] == {"CaseSensitive": True}
    return {f"custom:{a['Name']}": a for a in properties["Schema"]}


def test_the_templates_make_the_pool_that_preflight_wants() -> None:
    from gateway.cognito.desired import CUSTOM_ATTRIBUTES

    schema = _schema_of_cloudformation()
    assert set(schema) == set(CUSTOM_ATTRIBUTES)
    assert all(
        a["Mutable"] is True and a["StringAttributeConstraints"]["MaxLength"] == "2048"
        for a in schema.values()
    )
    terraform = (DEPLOY / "main.tf").read_text("utf-8")
    assert [
        f"custom:{n}"
        for n in re.findall(r'"(\w+)"', terraform.split("attributes = [")[1].split("]")[0])
    ] == list(CUSTOM_ATTRIBUTES)
    assert "case_sensitive = true" in terraform
    assert 'max_length = "2048"' in terraform


OF_THE_ADMIN_ROLE = [
    "boto3",
    "botocore",
    "aioboto3",
    "aiobotocore",
    "sqlalchemy",
    "alembic",
    "aiosqlite",
    "asyncpg",
    "greenlet",
    "lxml",
    "h2",
    "gateway.admin",
    "gateway.database",
    "gateway.doctor.run",
    "gateway.hooks",
    "gateway.ingress_config",
    "gateway.provisioning",
    "gateway.revocation",
]
"""Each is memory, rights or code that a process which meets browsers has no use for."""


def test_the_auth_role_loads_nothing_of_the_admin_roles() -> None:
    """All that `gateway serve --role auth` loads."""
    code = (
        "import sys, gateway.__main__, gateway.cli.serve, gateway.runtime.serve, uvloop; "
        f"print([m for m in {OF_THE_ADMIN_ROLE!r} if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=DEPLOY.parents[1],
    )
    assert found.stdout.strip() == "[]"


def test_loading_the_provisioning_code_loads_no_aws_sdk() -> None:
    code = (
        "import sys, gateway.provisioning.wiring, gateway.cli.provision; print('botocore' in "
        "sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=DEPLOY.parents[1],
    )
    assert found.stdout.strip() == "False"
