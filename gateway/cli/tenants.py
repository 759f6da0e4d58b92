"""``gateway tenants list | show | test | plan | apply | export | move | delete``: tenants in SQL,
declaratively; those of files are shown.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import url_path
from gateway.cli.output import as_yaml, confirm, failed, say, say_json, yes_option
from gateway.cli.provision import followed, say_clients, say_steps
from gateway.cli.tenant_plan import plan_lines
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.cli.client import Api, Json

PENDING_LOGIN_S = 600
"""How long a login may take before nobody is expected back."""
folder_argument = click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
prune_option = click.option(
    "--prune", is_flag=True, help="Also delete the tenants in SQL that the folder lacks."
)


@click.group("tenants", cls=Group)
def command() -> None:
    """Tenants: plan and apply what is in SQL, look at all of them."""


@command.command("list")
@api_options
@json_option
def list_tenants(*, as_json: bool) -> None:
    """All tenants of files and SQL, by id."""
    listing = api().pages("/tenants")
    if as_json:
        say_json(listing)
        return
    for row in listing["items"]:
        tenant = row["tenant"]
        say(
            f"{tenant['id']:24}  {'active' if tenant['active'] else 'inactive':8}  "
            f"{row['origin']:4}  {', '.join(tenant['hosts']) or '(shared hosts)'}  "
            f"{tenant['name']}"
        )


@command.command()
@api_options
@click.argument("tenant")
@json_option
def show(*, tenant: str, as_json: bool) -> None:
    """One tenant as a document, secrets as ***."""
    row = api().get(url_path("tenants", tenant))
    if as_json:
        say_json(row)
        return
    version = f", version {row['etag']}" if row["origin"] == "sql" else ""
    say(f"# from {row['origin']}{version}\n{as_yaml(_without_defaults(row['tenant']))}".rstrip())


@command.command()
@api_options
@click.argument("tenant")
@click.option("--result", "url", help="What became of this link.")
@json_option
def test(*, tenant: str, url: str | None, as_json: bool) -> None:
    """A one-time link, good for an hour, that walks a whole login through the tenant's provider and
    creates no session; or how far one came.
    """
    if url is None:
        link = api().call("POST", url_path("tenants", tenant, "test")).document
        say_json(link) if as_json else say(link["url"])
        return
    token = (parse_qs(urlsplit(url).query).get("token") or [""])[0]
    document = api().get(url_path("tenants", tenant, "test"), token=token)
    say_json(document) if as_json else say(told(document, now=time.time()))


@command.command()
@api_options
@folder_argument
@prune_option
@json_option
def plan(*, folder: Path, prune: bool, as_json: bool) -> None:
    """What applying a folder would change. Changes nothing."""
    documents = _read(folder)
    answer, _ = _put(api(), documents, prune=prune, dry_run=True)
    say_json(answer) if as_json else say("\n".join(plan_lines(answer)))


@command.command()
@api_options
@folder_argument
@prune_option
@yes_option
@json_option
def apply(*, folder: Path, prune: bool, yes: bool, as_json: bool) -> None:
    """Show the difference, then make SQL say what the folder says: all of it, or nothing. Returns
    when every replica obeys.
    """
    documents, client = _read(folder), api()
    answer, etag = _put(client, documents, prune=prune, dry_run=True)
    say("\n".join(plan_lines(answer)), err=as_json)
    if answer["changes"]:
        confirm("Apply this?", yes=yes)
        answer, _ = _put(client, documents, prune=prune, dry_run=False, if_match=etag)
        if not as_json:
            count = len(answer["changes"])
            say(
                f"applied: {'1 tenant' if count == 1 else f'{count} tenants'}"
                + (
                    ", in force"
                    if answer["in_force"]
                    else "; stored, and not yet obeyed by every replica"
                )
            )
    if as_json:
        say_json(answer)


@command.command()
@api_options
@click.argument("tenants", nargs=-1)
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write ID.yaml files into this folder instead of standard output.",
)
@click.option(
    "--reveal-secrets",
    is_flag=True,
    help=(
        "Write the secrets themselves; on the gateway's own machine only. Without it they are "
        "***, which 'apply' takes for: keep what is stored."
    ),
)
@json_option
def export(
    *, tenants: tuple[str, ...], folder: Path | None, reveal_secrets: bool, as_json: bool
) -> int:
    """The tenants in SQL as documents that 'apply' takes."""
    client = api()
    sql_tenants = {
        row["tenant"]["id"]: _without_defaults(row["tenant"])
        for row in client.pages("/tenants")["items"]
        if row["origin"] == "sql"
    }
    unknown_ids = sorted(set(tenants) - sql_tenants.keys())
    if unknown_ids:
        return failed(f"not in SQL: {', '.join(unknown_ids)}")
    selection = {tenant: sql_tenants[tenant] for tenant in (tenants or sql_tenants)}
    if reveal_secrets:
        selection = {
            tenant: client.call("POST", url_path("tenants", tenant, "reveal")).document["tenant"]
            for tenant in selection
        }
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for tenant, document in selection.items():
            path = folder / f"{tenant}.yaml"
            path.touch(mode=0o600)
            path.write_text(as_yaml(document), encoding="utf-8")
        count = len(selection)
        say(f"{'1 tenant' if count == 1 else f'{count} tenants'} written to {folder}", err=True)
    elif as_json:
        say_json(list(selection.values()))
    elif selection:
        say("---\n".join(as_yaml(document) for document in selection.values()).rstrip())
    return 0


@command.command()
@api_options
@click.argument("tenant")
@click.option("--pool", required=True, help="The user pool: a name of cognito.pools, or default.")
@click.option(
    "--registered",
    multiple=True,
    help="A SAML provider whose identity provider accepts that pool already; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option(
    "--test",
    "test_first",
    is_flag=True,
    help="Move nothing: a one-time link that walks a login through that pool.",
)
@yes_option
@json_option
def move(
    *,
    tenant: str,
    pool: str,
    registered: tuple[str, ...],
    dry_run: bool,
    test_first: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Move a tenant to another user pool. Nobody is signed out: sessions stay in the pool where
    they began, and the next logins go to the other one.
    """
    client, where = api(), url_path("tenants", tenant, "provision", "move")
    if test_first:
        trial = client.call("POST", f"{where}/test", body={"pool": pool}).document
        for line in trial["at_provider"] if not as_json else ():
            say(f"  at the identity provider first: {line}", err=True)
        say_json(trial) if as_json else say(trial["url"])
        return
    body: Json = {"pool": pool, "registered": sorted({*registered})}
    proposal = client.call("POST", where, query={"dry_run": True}, body=body).document
    if dry_run and as_json:
        say_json(proposal)
        return
    # Also where the answer is JSON: a question is asked about them.
    say_steps(proposal["steps"], err=as_json)
    for note in proposal["notes"]:
        say(f"  note: {note}", err=as_json)
    for line in proposal["at_provider"]:
        say(f"  at the identity provider first: {line}", err=as_json)
    if dry_run:
        return
    confirm(f"Is that done at the identity provider, and is {tenant} to move now?", yes=yes)
    if not yes and sys.stdin.isatty():
        body["registered"] = sorted({*registered, *proposal["waits_for"]})
    say_clients(followed(client, tenant, lambda: client.call("POST", where, body=body)), as_json)


@command.command()
@api_options
@click.argument("tenant")
@yes_option
def delete(*, tenant: str, yes: bool) -> None:
    """Delete a tenant from SQL; returns when every replica obeys. What it has in Cognito stays: see
    'gateway provision destroy', which alone ends a tenant with users of the pool.
    """
    client = api()
    row = client.get(url_path("tenants", tenant))
    if row["origin"] == "sql":
        confirm(f"Delete tenant {tenant} and end its sessions?", yes=yes)
    client.call("DELETE", url_path("tenants", tenant), if_match=row["etag"])
    say(f"deleted: {tenant}, in force")


def _read(folder: Path) -> dict[str, tuple[Path, Json]]:
    """File and document by id, with the secrets that ``env:`` and ``file:`` name. Raises
    ``ConfigError`` with every mistake of every file.
    """
    # The models take a while to import; what only asks does without.
    from gateway.cli.documents import read_document  # noqa: PLC0415
    from gateway.tenants.document import TenantDocument  # noqa: PLC0415
    from gateway.tenants.files import scan_folder  # noqa: PLC0415

    documents: dict[str, tuple[Path, Json]] = {}
    wrong: list[str] = []
    for path in scan_folder(folder):
        try:
            document = read_document(path, TenantDocument)
        except ConfigError as error:
            wrong.append(str(error))
            continue
        tenant = str(document["id"])
        if tenant in documents:
            wrong.append(f"{path}: id (is {tenant!r}): already used by another file")
        documents[tenant] = path, document
    if wrong:
        raise ConfigError("\n".join(wrong))
    return documents


def _put(
    client: Api,
    documents: dict[str, tuple[Path, Json]],
    *,
    prune: bool,
    dry_run: bool,
    if_match: str | None = None,
) -> tuple[Json, str | None]:
    """Mistakes that the gateway finds are told with their files."""
    from gateway.cli.client import ProblemError  # noqa: PLC0415 - as above

    try:
        answer = client.call(
            "PUT",
            "/tenants",
            query={"prune": prune, "dry_run": dry_run},
            body={"tenants": [document for _, document in documents.values()]},
            if_match=if_match,
        )
    except ProblemError as error:
        lines = []
        for where, problem in error.mistakes:
            tenant, _, key = where.partition(".")
            path = documents[tenant][0] if tenant in documents else tenant
            lines.append(f"{path}: {key}{': ' if key else ''}{problem}")
        if not lines:
            raise
        raise ConfigError("\n".join(lines)) from error
    return answer.document, answer.etag


def _without_defaults(document: Json) -> Json:
    """Only what somebody wrote, as for a file; all of it where the gateway is a newer one."""
    from pydantic import ValidationError  # noqa: PLC0415 - as above

    from gateway.tenants.document import TenantDocument  # noqa: PLC0415
    from gateway.tenants.secrets import show as shown  # noqa: PLC0415

    try:
        return shown(TenantDocument.model_validate(document), defaults=False)
    except ValidationError:
        return document


def told(found: Json, *, now: float) -> str:
    """What became of a test link, in words."""
    tenant, state = found["tenant"], found["state"]
    if state == "not_opened":
        expired = ", and it has expired" if found["expires_at"] <= now else " yet"
        return f"nobody has opened this link{expired}"
    if state == "cognito":
        return f"no login is possible: it would end on Cognito's own error page. {found['detail']}"
    if state == "done":
        outcome = "would be allowed" if found["allowed"] else f"would be denied ({found['detail']})"
        return f"done through {found['provider']}: {outcome}"
    age_s = max(0, round(now - found["at"]))
    if age_s < PENDING_LOGIN_S:
        return (
            f"no result yet: somebody was sent to Cognito for {found['provider']} {age_s} s ago "
            "and is not back"
        )
    return (
        f"no result: somebody was sent to Cognito for {found['provider']} {age_s // 60} "
        "minutes ago and never came back. The login ended on a page of Cognito or of the "
        "identity provider, "
        "or was given up. Look at: the page itself; the identity provider's own sign-in "
        f"log; gateway provision verify {tenant} (callback URLs, provider, a style for "
        "managed login)"
    )
