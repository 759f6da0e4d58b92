"""A module has at most 400 lines and a function at most 60, but for those that are named here with
a reason. Whoever makes one of them shorter takes its name away.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.source import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

GATEWAY = Path(__file__).parents[1] / "gateway"
LONGEST_MODULE: Final = 400
LONGEST_FUNCTION: Final = 60
LONG_MODULES: Final = {
    "admin/routes/provisioning.py": "half of it are the models that OpenAPI shows",
    "provisioning/renewal.py": "what is new from its test to its end, with one set of rules",
    "admin/routes/setup_links.py": "a link from its making to its end, and the table of its routes",
    "console/views/tenant_forms.py": "one form for each part of a tenant, with the same steps",
    "admin/routes/sessions.py": "sessions, app passwords and blocks share their models",
    "check/handler.py": "the check with its two ways, from memory and by the store, side by side",
    "check/server.py": "one protocol: reading, answering in order, back-pressure, closing",
    "cli/client.py": "the one HTTP client of all commands: transport, problems, paging, streams",
    "cli/ingress.py": "one command with an option for each thing an ingress differs in",
    "cognito/desired.py": "what a tenant shall have in the pool and what it has, side by side",
    "config/types.py": "one type for each kind of value in gateway.yaml, and what it refuses",
    "config/model.py": "one model for each section of gateway.yaml",
    "core/client_header_names.py": "a table of names",
    "core/decide.py": "one decision for every credential, and what the trace says of each step",
    "core/explain.py": "a trace of every rule of the decision, and the words for each",
    "core/model.py": "the values that all rooms share, and what they promise of themselves",
    "database/backup.py": "writing and reading one format, which have to agree",
    "database/engine.py": "two databases, their sessions, limits and errors behind one value",
    "database/migrations/versions/r0001_baseline.py": "a table",
    "database/schema.py": "a table",
    "doctor/advice.py": "a table of what to do about each finding",
    "hooks/applier.py": "one loop: what is claimed, worked on, waited for and settled",
    "hooks/effects.py": "one case for each effect that an event can have",
    "hooks/event.py": "the words of all sources, and the checks of each",
    "hooks/event_applier.py": "what one event does, from look-ups to what is kept of it",
    "hooks/inbox.py": "the statements of one table, which have to agree about its states",
    "hooks/people_register.py": "the statements of one table: what is recorded, and what is read",
    "hooks/receive/scim.py": "one handler for each operation of SCIM",
    "hooks/reconcile/graph_delta.py": "one reading: pages, tokens, what changed, what is new",
    "hooks/reconcile/google_reading.py": "one reading: pages, tokens, members, what is new",
    "hooks/scim/filter.py": "a grammar: scanner, parser, evaluation",
    "hooks/scim/resources.py": "users and groups, read and written in one place",
    "hooks/scim/store.py": "the operations of one transaction",
    "hooks/webhooks/outbox.py": "the statements of one table, and the sending that they pace",
    "http/listener.py": "one socket: bounds, deadlines, bytes that are no HTTP",
    "ingress_config/site.py": "what all templates share, validated",
    "log.py": "every line of the process, whichever way it is written",
    "login/callback.py": "the ways in which a callback can end, one beside the other",
    "metrics.py": "a table of every metric, and how workers' counts become one",
    "pages/texts.py": "a table of words, one entry for each reason and error",
    "provisioning/move.py": "a move from its proposal to its end, with one set of rules",
    "provisioning/runner.py": "a run forward, back, and recovered, by one journal",
    "provisioning/desired.py": "a request and what stands become one document and its resources",
    "provisioning/journal.py": "the statements of one table",
    "provisioning/steps.py": "one function for each kind of step of a run",
    "provisioning/proposal.py": "gate, discover, desired, plan: the steps of one proposal",
    "revocation/cognito_sync.py": "three things that happen in the pool, with one way of retrying",
    "revocation/records.py": "the statements of the record: revocations, blocks, exemptions",
    "revocation/service.py": "the order of one operation: record, store, acknowledge, maintain",
    "runtime/app.py": "where every adapter is made",
    "portal/application.py": "one way of a request, and the landing page before its cookie",
    "portal/guides.py": "a table",
    "sessions/api.py": "a protocol and its values",
    "sessions/codec.py": "writing and reading one form, which have to agree",
    "sessions/connection.py": "single, Sentinel, Cluster, socket: one client",
    "sessions/lease_client.py": "one state machine with its I/O",
    "sessions/store.py": "one method for each script",
    "sessions/store_requirements.py": "one check for each setting of the store, and why",
    "setup/links.py": "the statements of one table, and who may make each change",
    "tenants/database.py": "the statements of one table, with versions and names",
    "tenants/document.py": "one model for each part of a tenant's document",
    "tenants/publisher.py": "one loop: files, SQL, snapshot, what is obeyed",
}
LONG_FUNCTIONS: Final = {
    "admin/routes/domains.py:DomainRoutes.routes": "a table",
    "database/attention.py:AttentionRecords._queries": "a table: which rows of each kind",
    "admin/dispatch.py:_serve": "the order of a request's checks, which is their meaning",
    "admin/routes/pool_users.py:PoolUserRoutes.routes": "a table",
    "admin/routes/provisioning.py:ProvisioningRoutes.routes": "a table",
    "admin/routes/tenants.py:TenantRoutes.routes": "a table",
    "cli/ingress.py:doctor_command": "its parameters are the options",
    "cli/ingress.py:render_command": "its parameters are the options",
    "core/explain.py:explain": "one step of the decision after the other",
    "core/login.py:accept": "one refusal after the other, in the order in which they count",
    "database/migrations/versions/r0001_baseline.py:upgrade": "a table",
    "doctor/app_session.py:compare": "two visits, step by step",
    "doctor/check_findings.py:asked": "one finding after the other",
    "hooks/effects.py:_plan": "one case for each effect",
    "hooks/event_applier.py:EventApplier._planned": "one case for each effect",
    "hooks/group_names.py:GroupNames.learn": "one transaction",
    "hooks/inbox.py:Inbox.claim": "one statement",
    "hooks/reconcile/graph_delta.py:GraphDelta._write": "one transaction",
    "hooks/removal_limit.py:Brake._of": "one statement",
    "hooks/scim/store.py:ScimStore.create": "one transaction",
    "ingress_config/site.py:Site.__post_init__": "one refusal after the other",
    "ingress_config/site.py:site_of": "its parameters are the options",
    "login/login_host.py:start": "one refusal after the other",
    "provisioning/proposal.py:Proposer._plan": "one plan from its parts",
    "revocation/service.py:StoreRevoker._revoke": "the order of the operation",
    "runtime/admin_role.py:admin_role": "wiring",
    "runtime/app.py:_services": "wiring",
    "runtime/app.py:run": "wiring",
    "runtime/hooks_role.py:hook_role": "wiring",
    "sessions/app_passwords.py:make_args": "the arguments of one script, by name",
    "sessions/pool_passwords.py:keep_args": "the arguments of one script, by name",
    "sessions/connection.py:client_to": "one case for each kind of server",
    "sessions/session_writer.py:SessionWriter._arguments": "the arguments of one script, by name",
    "tenants/compilation.py:compile_tenant": "one value from its parts",
    "tenants/publisher.py:Publisher.__init__": "its parameters, and the state that they begin",
    "tenants/validation.py:_problems": "one problem after the other",
}


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(GATEWAY.rglob("*.py")):
        yield path.relative_to(GATEWAY).as_posix(), path.read_text("utf-8")


def functions(tree: ast.AST, above: str = "") -> Iterator[tuple[str, int]]:
    """Name and lines of each, with those that stand within."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, f"{above}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{above}{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1
            yield from functions(node, f"{above}{node.name}.")


def test_a_module_that_is_long_has_a_reason() -> None:
    long = {name for name, text in modules() if len(text.splitlines()) > LONGEST_MODULE}
    assert long == LONG_MODULES.keys()


def test_a_function_that_is_long_has_a_reason() -> None:
    long = {
        f"{name}:{function}"
        for name, text in modules()
        for function, lines in functions(parse(text))
        if lines > LONGEST_FUNCTION
    }
    assert long == LONG_FUNCTIONS.keys()


def test_the_root_has_few_modules() -> None:
    assert {path.stem for path in GATEWAY.glob("*.py") if path.stem != "__init__"} == {
        "__main__",
        "background",
        "errors",
        "exemplars",
        "log",
        "log_writer",
        "metrics",
    }
