"""What ``deploy/aws`` runs on ECS, held to AWS's own model of a task definition and to the
gateway's configuration.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.session import get_session
from botocore.validate import ParamValidator
from click.testing import CliRunner

from gateway import __version__
from gateway.cli import COMMANDS, cli
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


def written_by_the_task(folder: Path, gateway_yaml: str) -> set[str]:
    """What ``files.py`` makes of a bundle, with the paths that a task sees."""
    bundle = folder / "bundle"
    bundle.write_text("certificates")
    settings = {"FOLDER": str(folder), "RDS_AUTHORITY": bundle.as_uri()}
    subprocess.run(
        [sys.executable, "-I", str(AWS / "ecs" / "files.py")],
        env=settings | {"GATEWAY_YAML": gateway_yaml},
        check=True,
    )
    assert (folder / "gateway.yaml").read_text("utf-8") == gateway_yaml
    assert (folder / "rds.pem").read_text("utf-8") == "certificates"
    return {f"/etc/gateway/{path.name}" for path in folder.iterdir()}


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
        re.findall(r'"(\w+)"', re.split(r"\n  secrets\s+= \[", TERRAFORM)[1].split("]")[0])
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
    assert authority in written_by_the_task(tmp_path, text)
    copy = tmp_path / Path(authority).name
    (tmp_path / "gateway.yaml").write_text(text.replace(authority, str(copy)))
    config = load_config(tmp_path / "gateway.yaml")
    assert str(config.key_file) == "/etc/gateway/keys.json"
    assert config.listen.pages == "0.0.0.0:8084"
    confirmed = config.redis.confirming
    replicas = int(re.findall(r"num_cache_clusters\s+= (\d+)", TERRAFORM)[0]) - 1
    assert confirmed >= 1, "or a failover loses the latest revocations"
    assert confirmed + 1 <= replicas <= 2 * confirmed


def test_the_last_step_of_the_page_renders_what_the_proxy_runs(tmp_path: Path) -> None:
    text = (AWS.parents[1] / "docs" / "operator" / "aws.md").read_text("utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith("gateway ingress render"))
    words = line.replace('"', "").replace("$address", "gateway.elb.internal").split()[1:]
    copy = AWS / "ecs" / "gateway.yaml"
    arguments = [str(copy) if word == "gateway.yaml" else word for word in words]
    key = "0123456789abcdef0123456789abcdef"
    done = CliRunner().invoke(cli, arguments, env={"GATEWAY_INGRESS_KEY": key})
    assert done.exit_code == 0, done.output
    for port in ("8080", "8081", "8084"):
        assert f"gateway.elb.internal:{port}" in done.output


@pytest.mark.parametrize("role", ROLES)
def test_a_security_group_opens_the_ports_of_its_task_and_no_others(role: str) -> None:
    (line,) = re.findall(rf"^    {role}\s+= {{( \"8.*)}}$", TERRAFORM, re.MULTILINE)
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


def test_the_balancer_leads_to_every_port_that_others_ask() -> None:
    (line,) = re.findall(r"^  balanced = {(.*)}$", TERRAFORM, re.MULTILINE)
    balanced = dict(re.findall(r'"(\d+)" = "(\w+)"', line))
    for role in ROLES:
        (ports,) = re.findall(rf"^    {role}\s+= {{( \"8.*)}}$", TERRAFORM, re.MULTILINE)
        there = {port for port, behind in balanced.items() if behind == role}
        assert there <= set(re.findall(r'"(\d+)"', ports))
    mapped = {m["containerPort"] for role in ROLES for m in container(role)["portMappings"]}
    assert set(balanced) == {str(port) for port in mapped}


def test_the_file_system_admits_two_roles_through_its_access_point_over_tls() -> None:
    policy = TERRAFORM.split('"aws_iam_policy_document" "shared"')[1].split("\n}\n")[0]
    allowed, written, denied = policy.split("  statement {")[1:]
    for statement in (allowed, written):
        assert "elasticfilesystem:AccessPointArn" in statement
        assert "ClientRootAccess" not in statement and '"*"' not in statement
    assert "aws:SecureTransport" in allowed and "ClientWrite" not in allowed
    assert 'aws_iam_role.this["admin"].arn' in written and '"auth"' not in written
    assert 'effect    = "Deny"' in denied and 'values   = ["false"]' in denied
    assert 'resource "aws_efs_file_system_policy" "shared"' in TERRAFORM


def test_each_task_is_started_with_a_role_that_reads_its_own_secrets() -> None:
    for role in ROLES:
        assert task(role)["executionRoleArn"].endswith(f"role/cognito-gateway-{role}-execution")
        assert task(role)["taskRoleArn"].endswith(f"role/cognito-gateway-{role}")
    execution = TERRAFORM.split('"aws_iam_role_policy" "execution"')[1].split("\n}\n")[0]
    assert "for secret in values(each.value)" in execution
    assert "ecr:BatchCheckLayerAvailability" in execution
    assert '"aws:SourceAccount"' in TERRAFORM


def test_the_documents_name_the_version_that_is_released() -> None:
    text = (AWS.parents[1] / "docs" / "operator" / "aws.md").read_text("utf-8")
    versions = re.findall(
        r'(?:VERSION=|ImageVersion=|image_version\s+= "|`)(\d+\.\d+\.\d+)\b', text
    )
    assert len(versions) == 4 and set(versions) == {__version__}
    workflow = (AWS.parents[1] / ".github" / "workflows" / "release.yml").read_text("utf-8")
    assert "github.ref_name" not in workflow, "an image's tag has no v"


def test_sql_is_reached_by_the_admin_role_alone() -> None:
    rule = TERRAFORM.split('"aws_vpc_security_group_ingress_rule" "database"')[1].split("\n}")[0]
    assert 'aws_security_group.role["admin"].id' in rule and "for_each" not in rule
