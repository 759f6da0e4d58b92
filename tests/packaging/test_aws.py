"""What ``deploy/aws`` runs on ECS, held to AWS's own model of a task definition and to the
gateway's configuration.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.session import get_session
from botocore.validate import ParamValidator

from gateway.cli import COMMANDS
from gateway.config.model import Config, load_config
from tests.docs.reference import keys, variable
from tests.packaging.test_image import environment, stage

AWS = Path(__file__).parents[2] / "deploy" / "aws"
TERRAFORM = (AWS / "ecs" / "main.tf").read_text("utf-8")
ROLES = ("auth", "admin")


def task(role: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((AWS / f"task-{role}.json").read_text("utf-8"))
    return document


def container(role: str) -> dict[str, Any]:
    (only,) = task(role)["containerDefinitions"]
    assert isinstance(only, dict)
    return only


def named(entries: list[dict[str, str]], value: str) -> dict[str, str]:
    return {entry["name"]: entry[value] for entry in entries}


def test_task_definitions_are_what_aws_registers() -> None:
    shape = get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition")
    for role in ROLES:
        report = ParamValidator().validate(task(role), shape.input_shape)
        assert not report.has_errors(), report.generate_report()
        assert (task(role)["networkMode"], task(role)["requiresCompatibilities"]) == (
            "awsvpc",
            ["FARGATE"],
        )


@pytest.mark.parametrize("role", ROLES)
def test_a_task_runs_the_image_as_it_is_meant(role: str) -> None:
    runs = container(role)
    image = dict(stage(1))
    assert runs["command"] == ["serve", "--role", role]
    assert runs["user"] == image["USER"] and runs["readonlyRootFilesystem"]
    assert runs["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
    _, *probe = runs["healthCheck"]["command"]
    assert json.loads(image["HEALTHCHECK"].partition("CMD ")[2]) == probe
    assert probe[1] in COMMANDS
    mounts = {mount["containerPath"]: mount for mount in runs["mountPoints"]}
    assert mounts.keys() == {image["VOLUME"], str(Path(environment()["GATEWAY_CONFIG"]).parent)}
    assert mounts["/etc/gateway"]["readOnly"] is (role == "auth")
    assert runs["image"].endswith("-auth") is (role == "auth")


def test_settings_and_secrets_of_a_task_are_the_configurations() -> None:
    known = {variable(key.path) for key in keys(Config)} | {"GATEWAY_INGRESS_KEY"}
    secrets = {}
    for role in ROLES:
        settings = named(container(role)["environment"], "value")
        secrets[role] = named(container(role)["secrets"], "valueFrom")
        assert settings.keys() | secrets[role].keys() <= known
        assert Path(settings["GATEWAY_KEY_RING__FILE"]).parent == Path("/etc/gateway")
    assert secrets["admin"].keys() - secrets["auth"].keys() == {"GATEWAY_DATABASE__URL"}
    stored = {arn.rpartition("/")[2] for role in ROLES for arn in secrets[role].values()}
    assert stored == set(
        re.findall(r'"(\w+)"', TERRAFORM.split("secrets     = [")[1].split("]")[0])
    )


def test_the_configuration_beside_them_is_read_with_what_a_task_adds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    added = named(container("admin")["environment"], "value") | {
        "GATEWAY_INGRESS_KEY": "0123456789abcdef",
        "GATEWAY_REDIS__URL": "rediss://:secret@redis.internal:6379/0",
        "GATEWAY_DATABASE__URL": "postgresql+asyncpg://gateway:secret@db.internal:5432/gateway",
        **{name: value for name, value in environment().items() if "LISTEN" in name},
    }
    for name, value in added.items():
        monkeypatch.setenv(name, value)
    text = (AWS / "ecs" / "gateway.yaml").read_text("utf-8")
    authority = yaml.safe_load(text)["database"]["ca_file"]
    (tmp_path / "ca.pem").write_text("")
    (tmp_path / "gateway.yaml").write_text(text.replace(authority, str(tmp_path / "ca.pem")))
    config = load_config(tmp_path / "gateway.yaml")
    assert str(config.key_file) == "/etc/gateway/keys.json"
    assert config.listen.pages == "0.0.0.0:8084"


@pytest.mark.parametrize("role", ROLES)
def test_a_security_group_opens_the_ports_of_its_task_and_no_others(role: str) -> None:
    (line,) = re.findall(rf"^  {role}_ports\s+= {{(.*)}}$", TERRAFORM, re.MULTILINE)
    opened = dict(re.findall(r'"(\d+)" = var\.(\w+)_security_group_id', line))
    mapped = {m["name"]: str(m["containerPort"]) for m in container(role)["portMappings"]}
    assert opened.keys() == set(mapped.values())
    assert {name for name, port in mapped.items() if opened[port] == "operator"} == {"admin"}
    listeners = {
        name.rpartition("__")[2].lower(): value.rpartition(":")[2]
        for name, value in (environment() | named(container(role)["environment"], "value")).items()
        if name.startswith("GATEWAY_LISTEN__")
    }
    assert mapped.items() <= listeners.items()


def test_sql_is_reached_by_the_admin_role_alone() -> None:
    rule = TERRAFORM.split('"aws_vpc_security_group_ingress_rule" "database"')[1].split("\n}")[0]
    assert 'aws_security_group.role["admin"].id' in rule and "for_each" not in rule
