"""``deploy/aws`` in two languages: each agrees with AWS, and CloudFormation with Terraform.

cfn-lint holds the templates to AWS's resource schemas and IAM's list of actions. For Terraform,
``tests/data/terraform/aws.json`` has the arguments of the types that are used, from the provider;
``!`` marks a required one. Both run in ``.venv-deploy`` (``scripts/venv deploy``).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from botocore.session import get_session

from gateway.cognito import sdk_model
from tests.packaging.test_aws import ROLES, container, task

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
AWS = ROOT / "deploy" / "aws"
TOOLS = ROOT / ".venv-deploy" / "bin"
MODULES = {"pool": AWS / "main.tf", "ecs": AWS / "ecs" / "main.tf"}
TEMPLATES = {"pool": AWS / "pool.yaml", "ecs": AWS / "ecs" / "stack.yaml"}
ACTION = re.compile(r"\b[a-z0-9-]+:[A-Z][A-Za-z]+\b")
META: Final = {"for_each", "count", "lifecycle", "depends_on", "provider", "content"}
PROVIDERS: Final = {
    **json.loads((ROOT / "tests" / "data" / "terraform" / "aws.json").read_text("utf-8"))["types"],
    "random_password": {"arguments": {"length!": 0, "special": 0}, "attributes": ["result"]},
}
needs_tools = pytest.mark.skipif(
    not (TOOLS / "cfn-lint").exists(), reason="scripts/venv deploy has not been run"
)


# --- Terraform ------------------------------------------------------------------------------------


def unquoted(value: Any) -> Any:
    if isinstance(value, dict):
        return {k.strip('"'): unquoted(v) for k, v in value.items() if not k.startswith("__")}
    return [unquoted(entry) for entry in value] if isinstance(value, list) else value


@cache
def modules() -> dict[str, dict[str, Any]]:
    """Each module as a tree; expressions stay text."""
    code = "import hcl2, json, sys; print(json.dumps([hcl2.load(open(p)) for p in sys.argv[1:]]))"
    paths = [str(path) for path in MODULES.values()]
    said = subprocess.run(
        [str(TOOLS / "python"), "-I", "-c", code, *paths],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(zip(MODULES, map(unquoted, json.loads(said.stdout)), strict=True))


def declared(module: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """``TYPE.NAME`` → body."""
    return {
        f"{type_}.{name}": body
        for block in module.get(kind, [])
        for type_, named in block.items()
        for name, body in named.items()
    }


def expressions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for entry in value.values():
            yield from expressions(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from expressions(entry)
    elif isinstance(value, str) and "${" in value:
        yield value


REFERENCE: Final = re.compile(
    r"(?<![\w.])(?P<data>data\.)?(?P<type>var|local|(?:aws|random)_\w+)\.(?P<name>\w+)"
    r"(?:\[[^\]]*\])?(?:\.(?P<attribute>\w+))?"
)


@needs_tools
@pytest.mark.parametrize("name", MODULES)
def test_terraform_refers_to_what_is_declared_and_to_attributes_that_exist(name: str) -> None:
    module = modules()[name]
    resources, data = declared(module, "resource"), declared(module, "data")
    known = {
        "var": {v for block in module["variable"] for v in block},
        "local": {local for block in module["locals"] for local in block},
    }
    seen: dict[str, set[str]] = {"var": set(), "local": set()}
    wrong = []
    for expression in expressions({k: v for k, v in module.items() if k != "variable"}):
        for found in REFERENCE.finditer(expression):
            type_, target = found["type"], found["name"]
            if type_ in known:
                seen[type_].add(target)
                if target not in known[type_]:
                    wrong.append(found[0])
                continue
            declarations = data if found["data"] else resources
            provided = PROVIDERS[f"data.{type_}" if found["data"] else type_]
            attributes = {a.rstrip("!") for a in provided["arguments"]} | {*provided["attributes"]}
            is_there = found["attribute"] is None or found["attribute"] in attributes
            if f"{type_}.{target}" not in declarations or not is_there:
                wrong.append(found[0])
    assert not wrong
    assert seen == known, "declared and not used"


def checked(where: str, body: dict[str, Any], arguments: dict[str, Any]) -> Iterator[str]:
    blocks = {**body}
    for dynamic in blocks.pop("dynamic", []):
        for name, block in dynamic.items():
            blocks[name] = block["content"]
    names = {argument.rstrip("!"): argument for argument in arguments}
    yield from (f"{where}.{name}: unknown" for name in blocks.keys() - names.keys() - META)
    yield from (
        f"{where}.{name}: missing"
        for name, argument in names.items()
        if argument.endswith("!") and name not in blocks
    )
    for name, value in blocks.items():
        inner = arguments.get(names.get(name, ""))
        if inner and isinstance(value, list):
            for entry in value:
                if isinstance(entry, dict):
                    yield from checked(f"{where}.{name}", entry, inner)


@needs_tools
@pytest.mark.parametrize("name", MODULES)
def test_terraform_gives_the_provider_what_it_requires_and_nothing_else(name: str) -> None:
    module = modules()[name]
    wrong = [
        problem
        for kind, prefix in (("resource", ""), ("data", "data."))
        for where, body in declared(module, kind).items()
        for problem in checked(
            where, body, PROVIDERS[prefix + where.partition(".")[0]]["arguments"]
        )
    ]
    assert not wrong


def test_terraform_is_written_as_terraform_writes_it() -> None:
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("terraform is not installed")
    quiet = {"CHECKPOINT_DISABLE": "1", "HOME": str(AWS)}
    for path in MODULES.values():
        said = subprocess.run(
            [terraform, "fmt", "-check", "-diff", "-"],
            input=path.read_bytes(),
            env=quiet,
            check=False,
            capture_output=True,
        )
        assert said.returncode == 0, said.stdout.decode() + said.stderr.decode()


# --- CloudFormation -------------------------------------------------------------------------------


class Loader(yaml.SafeLoader):
    """Short forms of functions as their long ones."""


def _function(loader: Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    if isinstance(node, yaml.MappingNode):
        return {name: loader.construct_mapping(node, deep=True)}
    return {name: node.value}


Loader.add_multi_constructor("!", _function)


@cache
def template(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(TEMPLATES[name].read_text("utf-8"), Loader=Loader)
    return document


@needs_tools
def test_cloudformation_is_what_aws_takes() -> None:
    said = subprocess.run(
        [str(TOOLS / "cfn-lint"), "--format", "json", "--regions", "eu-north-1", "--"]
        + [str(path) for path in TEMPLATES.values()],
        check=False,
        capture_output=True,
        text=True,
    )
    found = json.loads(said.stdout)
    # Operations that the AWS library gets from the gateway are too new for the list of actions too.
    (extras,) = sdk_model.FOLDER.rglob("*.json")
    newer = {name.lower() for name in json.loads(extras.read_text("utf-8"))["merge"]["operations"]}
    unknown = [match for match in found if match["Rule"]["Id"] == "W3037"]
    assert {match["Message"].split("'")[1] for match in unknown} <= newer
    assert [match for match in found if match not in unknown] == []
    assert len(TEMPLATES["ecs"].read_bytes()) < 51_200, "what is sent without a bucket"


SAME: Final = {
    "EFSVolumeConfiguration": "efsVolumeConfiguration",
    "FilesystemId": "fileSystemId",
    "IAM": "iam",
}
OWN: Final = {"awslogs-group", "awslogs-region", "awslogs-stream-prefix", "max-buffer-size", "mode"}
"""Options of the log driver, as they are.
"""
WORDS: Final = {
    "AWS::AccountId": "ACCOUNT",
    "AWS::Region": "REGION",
    "ImageVersion": "VERSION",
    "Shared": "FILE_SYSTEM",
    "SharedAccess": "ACCESS_POINT",
    "Log": "/cognito-gateway",
    **{
        resource: f"arn:aws:secretsmanager:REGION:ACCOUNT:secret:cognito-gateway/{name}"
        for resource, name in (
            ("IngressKey", "ingress_key"),
            ("RedisUrl", "redis_url"),
            ("DatabaseUrl", "database_url"),
        )
    },
    **{
        f"{resource}.Arn": f"arn:aws:iam::ACCOUNT:role/cognito-gateway-{name}"
        for resource, name in (
            ("AuthRole", "auth"),
            ("AdminRole", "admin"),
            ("AuthExecutionRole", "auth-execution"),
            ("AdminExecutionRole", "admin-execution"),
        )
    },
}


def registered(value: Any) -> Any:
    """A property as ``aws ecs register-task-definition`` takes it, without conditions."""
    if isinstance(value, list):
        return [registered(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"Fn::If"}:
        return registered(value["Fn::If"][2])
    if value.keys() <= {"Ref", "Fn::GetAtt"}:
        return WORDS[next(iter(value.values()))]
    if value.keys() == {"Fn::Sub"}:
        return re.sub(r"\$\{([^}]+)\}", lambda m: WORDS[m[1]], value["Fn::Sub"])
    return {
        name if name in OWN else SAME.get(name, name[0].lower() + name[1:]): registered(inner)
        for name, inner in value.items()
    }


@pytest.mark.parametrize("role", ROLES)
def test_cloudformation_registers_the_same_tasks(role: str) -> None:
    stack = template("ecs")["Resources"]
    assert registered(stack[f"{role.title()}Task"]["Properties"]) == task(role)


def test_cloudformation_writes_the_same_files() -> None:
    (files,) = template("ecs")["Resources"]["FilesTask"]["Properties"]["ContainerDefinitions"]
    assert files["EntryPoint"] == ["python", "-c", (AWS / "ecs" / "files.py").read_text("utf-8")]
    assert textwrap.dedent(files["EntryPoint"][2]) == files["EntryPoint"][2]


def reached(group: str) -> set[tuple[int, str]]:
    rules = template("ecs")["Resources"][group]["Properties"]["SecurityGroupIngress"]
    assert all(rule["FromPort"] == rule["ToPort"] for rule in rules)
    return {(rule["FromPort"], rule["SourceSecurityGroupId"]["Ref"]) for rule in rules}


@needs_tools
def test_cloudformation_opens_the_same_ports_to_the_same_groups() -> None:
    ports = modules()["ecs"]["locals"][0]["ports"]
    allowed = {
        role: {
            (int(port), source[6:-1].title().replace("_", "").removesuffix("Id") + "Id")
            for port, source in entries.items()
        }
        for role, entries in ports.items()
    }
    assert reached("BalancerGroup") == allowed["auth"] | allowed["admin"]
    for role in ROLES:
        numbers = {port["containerPort"] for port in container(role)["portMappings"]}
        assert reached(f"{role.title()}Group") == {
            *((number, "BalancerGroup") for number in numbers),
            (8082, "OperatorSecurityGroupId"),
        }
    both = {"AuthGroup", "AdminGroup"}
    assert reached("RedisGroup") == {(6379, group) for group in both}
    assert reached("SharedGroup") == {(2049, group) for group in both}
    assert reached("DatabaseGroup") == {(5432, "AdminGroup")}
    balanced = {
        (entry["ContainerPort"], role)
        for role in ROLES
        for entry in template("ecs")["Resources"][f"{role.title()}Service"]["Properties"][
            "LoadBalancers"
        ]
    }
    terraform = modules()["ecs"]["locals"][0]["balanced"]
    assert balanced == {(int(port), role.strip('"')) for port, role in terraform.items()}


def policies() -> dict[str, dict[str, set[str]]]:
    """Role → name of a policy → its actions."""
    found: dict[str, dict[str, set[str]]] = {}
    for name, resource in template("ecs")["Resources"].items():
        if name.startswith("Fn::ForEach"):
            continue
        if resource.get("Type") == "AWS::IAM::Role":
            for policy in resource["Properties"].get("Policies", []):
                actions = [s["Action"] for s in policy["PolicyDocument"]["Statement"]]
                found.setdefault(name, {})[policy["PolicyName"]] = set(
                    ACTION.findall(json.dumps(actions))
                )
        if resource.get("Type") == "AWS::IAM::RolePolicy":
            entry = resource["Properties"]
            actions = [s["Action"] for s in entry["PolicyDocument"]["Statement"]]
            found.setdefault(entry["RoleName"]["Ref"], {})[entry["PolicyName"]] = set(
                ACTION.findall(json.dumps(actions))
            )
    return found


@needs_tools
def test_both_languages_give_the_same_rights() -> None:
    ours = policies()
    by_name: dict[str, set[str]] = {}
    for named in ours.values():
        for name, actions in named.items():
            by_name.setdefault(name, set()).update(actions)
    theirs = {
        body["name"].strip('"'): set(ACTION.findall(re.sub(r'"[^"]*" *=', "", body["policy"])))
        for where, body in declared(modules()["ecs"], "resource").items()
        if where.startswith("aws_iam_role_policy.")
    }
    assert theirs.pop("cognito") == set(), "from the file of the policy"
    assert template("ecs")["Resources"]["AdminRole"]["Properties"]["ManagedPolicyArns"] == [
        {"Ref": "AdminPolicyArn"}
    ]
    assert by_name == theirs
    assert ours["AuthRole"] == {
        "shared": {"elasticfilesystem:ClientMount"},
        "key-ring": {"kms:Decrypt"},
    }
    assert ours["AdminRole"]["key-ring"] == {"kms:Decrypt", "kms:GenerateDataKey"}
    secrets = {
        name: {
            entry["Ref"]
            for entry in template("ecs")["Resources"][name]["Properties"]["Policies"][0][
                "PolicyDocument"
            ]["Statement"][0]["Resource"]
        }
        for name in ("AuthExecutionRole", "AdminExecutionRole")
    }
    assert secrets["AdminExecutionRole"] - secrets["AuthExecutionRole"] == {"DatabaseUrl"}


def test_actions_that_the_pages_name_are_given_by_a_policy_or_are_the_operators() -> None:
    given = {
        action
        for path in (*AWS.glob("*.json"), *MODULES.values())
        for action in ACTION.findall(path.read_text("utf-8"))
    }
    services = {"cognito-idp", "kms", "s3", "events", "ecs", "elasticfilesystem", "secretsmanager"}
    named = {
        action
        for path in (*(ROOT / "docs" / "operator").glob("*.md"), AWS / "README.md")
        for action in ACTION.findall(path.read_text("utf-8"))
        if action.partition(":")[0] in services
    }
    # Of the audit export, and of whoever runs commands in a task.
    others = {"s3:PutObject", "events:PutEvents", "ecs:ExecuteCommand"}
    assert named - given == others
    for action in others:
        service, _, operation = action.partition(":")
        assert operation in get_session().get_service_model(service).operation_names
