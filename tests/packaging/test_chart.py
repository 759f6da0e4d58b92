"""The Helm chart and the Kustomize base: rendered, held to Kubernetes' schemas, and read as the
gateway reads them. Nothing here needs Helm or a cluster; ``test_helm.py`` has Helm's own word.
"""

from __future__ import annotations

import json
import os
import platform
import re
from typing import TYPE_CHECKING, Any, get_args

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel

from gateway import __version__
from gateway.cli import cli
from gateway.config.model import Config, load_config
from gateway.core.model import Secret
from gateway.keys.ring import dump, generate
from gateway.tenants.document import TenantDocument
from gateway.tenants.files import read_folder
from tests.docs import chart
from tests.ingress_config.test_render import strict
from tests.support.helm import CHART, ROOT, RefusedError, render, resources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the engine's wheel is built for x86-64"
)

COGNITO = {
    "region": "eu-north-1",
    "user_pool_id": "eu-north-1_Abcdefghi",
    "domain": "https://acme.auth.eu-north-1.amazoncognito.com",
}
INGRESS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "traefik"}}}
PROMETHEUS = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
}
BASTION = {"ipBlock": {"cidr": "10.9.0.0/28"}}
MINIMAL: Mapping[str, Any] = {
    "config": {"cognito": COGNITO, "login_host": "login.example.com"},
    "networkPolicy": {"ingressController": [INGRESS]},
}


def over(values: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {**values}
    for key, value in more.items():
        old = found.get(key)
        found[key] = {**old, **value} if isinstance(old, dict) else value
    return found


SETS: Mapping[str, Mapping[str, Any]] = {
    "minimal": MINIMAL,
    "embedded": over(MINIMAL, embedded={"enabled": True, "storageClassName": "gp3"}),
    "monitored": over(
        MINIMAL,
        networkPolicy={"monitoring": [PROMETHEUS], "operators": [BASTION]},
        serviceMonitor={"enabled": True, "labels": {"release": "prometheus"}},
        prometheusRule={"enabled": True, "labels": {"release": "prometheus"}},
        dashboards={"enabled": True},
    ),
    "scaled": over(
        MINIMAL,
        auth={
            "workers": 2,
            "image": {"repository": "registry.example.com/auth", "tag": "1.2.3"},
            "autoscaling": {"enabled": True, "maxReplicas": 30},
            "podDisruptionBudget": {"maxUnavailable": "25%"},
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "topology.kubernetes.io/zone",
                    "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "auth"}},
                }
            ],
        },
        image={"digest": "sha256:" + "0" * 64},
        imagePullSecrets=[{"name": "registry"}],
    ),
    "aws": over(
        MINIMAL,
        config={"setup": {"enabled": True}},
        fullnameOverride="door",
        admin={
            "replicas": 3,
            "strategy": "RollingUpdate",
            "serviceAccount": {
                "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/door"}
            },
            "nodeSelector": {"kubernetes.io/arch": "arm64"},
            "tolerations": [{"key": "door", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"podAntiAffinity": {}},
            "podLabels": {"team": "identity"},
            "podAnnotations": {"note": 'a "quoted" note: yes'},
            "extraEnv": [{"name": "AWS_REGION", "value": "eu-north-1"}],
        },
        secrets={"name": "door-shared", "admin": "door-sql", "ingressKeys": ["new", "old"]},
    ),
    "tenants": over(
        MINIMAL,
        tenants={
            "acme": {
                "name": 'Ac"me\\ {{ .Values }}: # no comment',
                "hosts": ["acme.example.com"],
                "client_id": "1234567890abcdefghijklmnop",
                "client_secret": "file:/run/secrets/gateway/acme_client_secret",
                "providers": [{"name": "okta-acme", "kind": "okta"}],
                "email_domains": ["acme.com"],
                "allowed_groups": ["app-users"],
            }
        },
        networkPolicy={"enabled": False},
    ),
}


@pytest.fixture(scope="module")
def rendered() -> dict[str, dict[str, str]]:
    return {name: render(values) for name, values in SETS.items()}


@pytest.fixture(scope="module")
def found(rendered: dict[str, dict[str, str]]) -> dict[str, dict[str, Any]]:
    return {name: resources(files) for name, files in rendered.items()}


@pytest.mark.parametrize("name", SETS)
def test_every_resource_fits_the_schema_of_its_kind(
    name: str, found: dict[str, dict[str, Any]]
) -> None:
    data = json.loads((ROOT / "tests" / "data" / "kubernetes" / "core.json").read_text())
    definitions = strict(data["definitions"])
    for key, resource in found[name].items():
        kind = f"{resource['apiVersion']} {resource['kind']}"
        schema = (
            strict(data["custom"][kind])
            if kind in data["custom"]
            else {"$ref": data["kinds"][kind], "definitions": definitions}
        )
        if kind in data["custom"]:
            # A CRD's schema says "type: object" of metadata, which every object has.
            schema["properties"]["metadata"] = {"type": "object"}
        errors = [
            f"{key}: {'/'.join(map(str, error.instance_path))}: {error.message}"
            for error in jsonschema_rs.validator_for(schema).iter_errors(resource)
        ]
        assert errors == []


@pytest.mark.parametrize("name", SETS)
def test_what_is_rendered_is_what_was_looked_at(
    name: str, found: dict[str, dict[str, Any]]
) -> None:
    """``UPDATE_DOCS=1`` writes the files anew; look at the difference before you commit it."""
    kept = {
        key: parsed(resource)
        for key, resource in found[name].items()
        if not key.startswith("PrometheusRule/") and not key.endswith("-dashboards")
    }
    path = ROOT / "tests" / "data" / "kubernetes" / "chart" / f"{name}.yaml"
    text = yaml.safe_dump_all(kept.values(), width=120)
    if os.environ.get("UPDATE_DOCS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    assert path.read_text("utf-8") == text


def parsed(resource: Any) -> Any:
    """Texts that are documents become what they say: this engine puts keys in any order, that of
    Helm sorts them.
    """
    if isinstance(resource, dict):
        return {
            key: yaml.safe_load(value)
            if key.endswith((".yaml", "/configuration")) and isinstance(value, str)
            else parsed(value)
            for key, value in resource.items()
        }
    return resource


def test_what_is_generated_is_committed() -> None:
    differ = [
        str(path.relative_to(ROOT))
        for path, text in chart.files()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    assert differ == [], "run scripts/reference"
    assert {path.name for path in chart.BASE.iterdir()} == {
        path.name for path, _ in chart.kustomize()
    }


def test_alerts_and_dashboards_arrive_as_they_are(found: dict[str, dict[str, Any]]) -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8"))
    assert found["monitored"]["PrometheusRule/gateway"]["spec"] == rules
    boards = found["monitored"]["ConfigMap/gateway-dashboards"]["data"]
    assert {name: json.loads(text) for name, text in boards.items()} == {
        path.name: json.loads(path.read_text("utf-8"))
        for path in (ROOT / "deploy" / "grafana").glob("*.json")
    }


def pod(resource: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = resource["spec"]["template"]["spec"]
    return spec


def deployments(of: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return (item for key, item in of.items() if key.startswith("Deployment/"))


def selects(selector: Mapping[str, str], deployment: Mapping[str, Any]) -> bool:
    labels: dict[str, str] = deployment["spec"]["template"]["metadata"]["labels"]
    return selector.items() <= labels.items()


# --- who may reach which port

PEERS = {"ingress": INGRESS, "prometheus": PROMETHEUS, "bastion": BASTION}
CLOSED_TO_OTHERS: Mapping[str, Mapping[tuple[str, int], set[str]]] = {
    "minimal": {
        ("auth", 8080): {"ingress"},
        ("auth", 8081): {"ingress"},
        ("auth", 8082): set(),
        ("admin", 8082): set(),
        ("admin", 8083): {"ingress"},
        ("admin", 8084): {"ingress"},
    },
    "monitored": {
        ("auth", 8080): {"ingress"},
        ("auth", 8081): {"ingress"},
        ("auth", 8082): {"prometheus"},
        ("admin", 8082): {"prometheus", "bastion"},
        ("admin", 8083): {"ingress"},
        ("admin", 8084): {"ingress"},
    },
    "embedded": {
        ("admin", 8080): {"ingress"},
        ("admin", 8081): {"ingress"},
        ("admin", 8082): set(),
        ("admin", 8083): {"ingress"},
        ("admin", 8084): {"ingress"},
    },
}


@pytest.mark.parametrize("name", CLOSED_TO_OTHERS)
def test_a_port_is_reached_by_whom_the_table_names(
    name: str, found: dict[str, dict[str, Any]]
) -> None:
    policies = [item for key, item in found[name].items() if key.startswith("NetworkPolicy/")]
    reached: dict[tuple[str, int], set[str]] = {}
    for deployment in deployments(found[name]):
        role = deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        mine = [
            policy["spec"]
            for policy in policies
            if selects(policy["spec"]["podSelector"]["matchLabels"], deployment)
        ]
        assert [policy["policyTypes"] for policy in mine] == [["Ingress"]], "nothing is closed"
        for container in pod(deployment)["containers"]:
            for port in container["ports"]:
                reached[role, port["containerPort"]] = set()
        for rule in mine[0]["ingress"]:
            assert rule["from"], "an empty list admits everybody"
            assert rule["ports"], "without ports, every port is open"
            for peer in rule["from"]:
                (who,) = (label for label, known in PEERS.items() if known == peer)
                for port in rule["ports"]:
                    assert port["protocol"] == "TCP"
                    reached[role, port["port"]].add(who)
    assert reached == CLOSED_TO_OTHERS[name]


WRONG: Sequence[tuple[dict[str, Any], str]] = [
    ({"config": {"cognito": COGNITO}}, "networkPolicy/ingressController"),
    (over(MINIMAL, networkPolicy={"ingressController": [{}]}), "ingressController/0"),
    (
        over(MINIMAL, networkPolicy={"ingressController": [{"namespaceSelector": {}}]}),
        "namespaceSelector",
    ),
    (
        over(MINIMAL, networkPolicy={"operators": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}),
        "operators/0/ipBlock/cidr",
    ),
    (over(MINIMAL, networkpolicy={"enabled": False}), "networkpolicy"),
    (over(MINIMAL, auth={"replica": 3}), "auth"),
    (over(MINIMAL, config={"redis": {"url": "redis://redis"}}), "config"),
    (over(MINIMAL, config={"listen": {"check": "0.0.0.0:1"}}), "config"),
    (over(MINIMAL, config={"key_ring": {"file": "/tmp/keys.json"}}), "config"),
    ({"networkPolicy": MINIMAL["networkPolicy"]}, "config"),
    (over(MINIMAL, config={"ingress": {"keys": ["k" * 32]}}), "config/ingress"),
    (over(MINIMAL, config={"mail": {"password": "hush"}}), "config/mail/password"),
    (over(MINIMAL, tenants={"acme": {"client_secret": "hush"}}), "tenants/acme/client_secret"),
    (
        over(MINIMAL, tenants={"acme": {"webhook": {"secret": "hush"}}}),
        "tenants/acme/webhook/secret",
    ),
    (
        over(MINIMAL, tenants={"acme": {"providers": [{"hooks": {"secrets": ["hush"]}}]}}),
        "tenants/acme/providers/0/hooks/secrets/0",
    ),
    (over(MINIMAL, secrets={"ingressKeys": []}), "secrets/ingressKeys"),
    (over(MINIMAL, tenants={"Acme": {}}), "Acme"),
    (over(MINIMAL, image={"tag": "latest of all"}), "image/tag"),
]
"""Values, and what the refusal names."""


@pytest.mark.parametrize(("values", "said"), WRONG)
def test_values_that_are_wrong_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        render(values)


def secret_names(model: type[BaseModel]) -> set[str]:
    """Of all fields that hold a secret, at any depth."""
    found: set[str] = set()

    def look(name: str, kind: Any) -> None:
        if kind is Secret:
            found.add(name)
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            found.update(secret_names(kind))
        else:
            for part in get_args(kind):
                look(name, part)

    for name, field in model.model_fields.items():
        look(name, field.annotation)
    return found


def test_the_values_know_every_secret_that_a_configuration_or_a_tenant_has() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    known = set(schema["definitions"]["noSecrets"]["then"]["properties"])
    assert secret_names(TenantDocument) <= known
    # The chart sets the addresses of the stores and the ingress keys itself, and refuses them.
    assert secret_names(Config) <= known | {"keys", "url"}


# --- the parts fit each other


@pytest.mark.parametrize("name", SETS)
def test_services_policies_and_budgets_select_pods_that_have_the_port(
    name: str, found: dict[str, dict[str, Any]]
) -> None:
    for key, resource in found[name].items():
        spec = resource.get("spec", {})
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        }.get(resource["kind"])
        if selector is None:
            continue
        selected = [one for one in deployments(found[name]) if selects(selector(spec), one)]
        assert selected, key
        for port in spec.get("ports", ()):
            for one in selected:
                names = {
                    port["name"]: port["containerPort"]
                    for container in pod(one)["containers"]
                    for port in container["ports"]
                }
                assert names[port["targetPort"]] == port["port"], key
    accounts = {pod(one)["serviceAccountName"] for one in deployments(found[name])}
    assert {key for key in found[name] if key.startswith("ServiceAccount/")} == {
        f"ServiceAccount/{account}" for account in accounts
    }


@pytest.mark.parametrize("name", SETS)
def test_a_pod_may_write_nothing_but_its_own_folders_and_gains_no_privilege(
    name: str, found: dict[str, dict[str, Any]]
) -> None:
    for deployment in deployments(found[name]):
        spec = pod(deployment)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            writable = {
                mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")
            }
            assert writable == {"tmp", "state"}
            assert mounted <= {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize("name", sorted(SETS.keys() - {"embedded"}))
def test_the_auth_role_has_no_secret_of_sql(name: str, found: dict[str, dict[str, Any]]) -> None:
    (auth,) = (one for one in deployments(found[name]) if one["metadata"]["name"].endswith("auth"))
    text = yaml.safe_dump(pod(auth))
    assert "gateway-admin" not in text
    assert "DATABASE" not in text
    assert pod(auth)["serviceAccountName"].endswith("-auth")


@pytest.mark.parametrize("name", SETS)
def test_a_changed_configuration_replaces_the_pods(
    name: str, found: dict[str, dict[str, Any]]
) -> None:
    for deployment in deployments(found[name]):
        annotations = deployment["spec"]["template"]["metadata"]["annotations"]
        config = json.loads(annotations["cognito-gateway/configuration"])
        assert config == SETS[name]["config"]


# --- the gateway reads it


@pytest.mark.parametrize("name", SETS)
def test_each_pod_gets_a_configuration_that_is_valid(
    name: str,
    found: dict[str, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(variable)
    secrets = tmp_path / "run" / "secrets"
    for folder, files in {
        "gateway": {
            "ingress_key": "k" * 32,
            "new": "n" * 32,
            "old": "o" * 32,
            "redis_url": "rediss://:secret@redis.example.com:6379/0",
            "acme_client_secret": "s" * 32,
            "keys.json": dump(generate()),
        },
        "gateway-admin": {"database_url": "postgresql+asyncpg://gateway:secret@sql/gateway"},
    }.items():
        (secrets / folder).mkdir(parents=True)
        for file, text in files.items():
            (secrets / folder / file).write_text(text)
    for resource in found[name].values():
        if resource["kind"] == "ConfigMap" and "dashboards" not in resource["metadata"]["name"]:
            folder = tmp_path / resource["metadata"]["name"].removeprefix("gateway").strip("-")
            folder.mkdir(exist_ok=True)
            for file, text in resource["data"].items():
                (folder / file).write_text(text.replace("/run/secrets", str(secrets)))
    for deployment in deployments(found[name]):
        monkeypatch.setattr(os, "environ", dict(os.environ))
        (container,) = pod(deployment)["containers"]
        for item in container["env"]:
            value = item["value"].replace("/run/secrets", str(secrets))
            monkeypatch.setenv(
                item["name"], value.replace("/etc/gateway/tenants", str(tmp_path / "tenants"))
            )
        config = load_config(next(tmp_path.glob("**/gateway.yaml")))
        kind = "embedded" if name == "embedded" else "rediss"
        assert config.redis.url.reveal().startswith(kind)
        assert len(config.ingress.keys) == (2 if name == "aws" else 1)
        assert {
            listener: str(getattr(config.listen, listener)).rpartition(":")[2]
            for listener in ("check", "public", "admin", "hooks", "pages")
        } == {"check": "8081", "public": "8080", "admin": "8082", "hooks": "8083", "pages": "8084"}
        if name == "tenants":
            assert config.tenants.directory is not None
            documents = read_folder(config.tenants.directory, config)
            (acme,) = documents.values()
            assert (acme.id, acme.name) == ("acme", SETS[name]["tenants"]["acme"]["name"])


def test_the_notes_name_services_that_exist(rendered: dict[str, dict[str, str]]) -> None:
    for name, files in rendered.items():
        with_pages = name == "aws"
        for listener in ("check", "public", "pages"):
            service = f"{SETS[name].get('fullnameOverride', 'gateway')}-{listener}"
            assert (f"--{listener} {service}.gateway:" in files["NOTES.txt"]) is (
                listener != "pages" or with_pages
            )
            assert f"Service/{service}" in resources(files)
    assert "every pod of the cluster" in rendered["tenants"]["NOTES.txt"]
    assert "every pod of the cluster" not in rendered["minimal"]["NOTES.txt"]
    assert "get secret door-shared -o 'jsonpath={.data.new}'" in rendered["aws"]["NOTES.txt"]


def renders(command: str, config: Mapping[str, Any], folder: Path) -> None:
    """``gateway ingress render …`` of a page or of the notes, with the configuration beside it."""
    (folder / "gateway.yaml").write_text(yaml.safe_dump({**config}), "utf-8")
    words = command.replace("APP.NAMESPACE:PORT", "app.default:8080").split()
    words[words.index("gateway.yaml")] = str(folder / "gateway.yaml")
    done = CliRunner().invoke(cli, words[1:], env={"GATEWAY_INGRESS__KEYS": "k" * 32})
    assert done.exit_code == 0, done.output
    assert "k" * 32 in done.output


@pytest.mark.parametrize("name", SETS)
def test_the_command_of_the_notes_renders(
    name: str, rendered: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    (command,) = re.findall(r"^  (gateway ingress .*)$", rendered[name]["NOTES.txt"], re.MULTILINE)
    renders(command, SETS[name]["config"], tmp_path)


def test_the_command_of_the_page_renders(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operator" / "kubernetes.md").read_text("utf-8")
    (values,) = re.findall(r"```yaml\n# values\.yaml\n(.*?)```", page, re.DOTALL)
    (command,) = re.findall(r"^(gateway ingress render (?:.*\\\n)*.*)$", page, re.MULTILINE)
    renders(command.replace("\\\n", " "), yaml.safe_load(values)["config"], tmp_path)
    (pages,) = re.findall(r"`(--pages [^`]*)`", page)
    config = {**yaml.safe_load(values)["config"], "setup": {"enabled": True}}
    renders(f"{command} {pages}".replace("\\\n", " "), config, tmp_path)


def test_the_ingress_of_hooks_on_the_page_leads_to_the_hooks_listener(
    found: dict[str, dict[str, Any]],
) -> None:
    page = (ROOT / "docs" / "operator" / "kubernetes.md").read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(apiVersion: networking.*?)```", page, re.DOTALL)
    (rule,) = yaml.safe_load(block)["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    service = path["backend"]["service"]
    (port,) = found["minimal"][f"Service/{service['name']}"]["spec"]["ports"]
    assert (path["path"], service["port"]["number"]) == ("/", port["port"])
    assert port["targetPort"] == "hooks"


def test_the_chart_is_of_this_release() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert about["version"] == about["appVersion"] == __version__


def test_the_image_in_the_base_is_named_as_the_chart_names_it() -> None:
    for path in chart.BASE.glob("deployment-*.yaml"):
        for container in pod(yaml.safe_load(path.read_text("utf-8")))["containers"]:
            assert container["image"].startswith("cognito-gateway:")
