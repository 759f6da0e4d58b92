"""A tenant into another user pool: both pools have what they need until nothing made with the
former client can be left, and whatever fails leaves the tenant where it was.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from demo.cognito.control import faults
from demo.cognito.control.clients import publish_secret
from demo.cognito.control.errors import ApiError
from gateway.core.model import DEFAULT_POOL, Secret
from gateway.errors import UnavailableError
from gateway.provisioning.credentials import SPARE_S
from gateway.provisioning.move import JournaledPools, waiting
from gateway.provisioning.renewal import NewSecret, Trial
from gateway.provisioning.rotation import MAX_RETIRED
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import Action, RunKind, RunState
from tests.provisioning.bench import Bench
from tests.provisioning.test_crashes import (
    COGNITO_STEPS,
    FAULTS,
    HOLD_S,
    FaultyRegistrar,
    crash_server,
    run_cell,
    until_settled,
)
from tests.provisioning.test_saml import body as saml_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from demo.cognito.server import Cognito
    from gateway.provisioning.credentials import ClientCredentials, Registrar
    from gateway.provisioning.runner import Outcome
    from gateway.provisioning.service import Drift


def second(bench: Bench) -> Cognito:
    return bench.cloud.further_pools["b"]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path, second="b") as started:
        assert isinstance(await started.apply(), Done)
        yield started


async def move(bench: Bench, to: str = "b", tenant: str = "initech") -> Outcome:
    proposal = await bench.service.pool_move.propose(tenant, to)
    assert proposal.plan.problems == (), [str(problem) for problem in proposal.plan.problems]
    return await bench.service.pool_move.apply(proposal, actor="test")


async def problems(bench: Bench, to: str = "b", tenant: str = "initech") -> list[str]:
    proposal = await bench.service.pool_move.propose(tenant, to)
    return [f"{p.kind} {p}" for p in proposal.plan.problems]


async def held(bench: Bench, tenant: str = "initech") -> ClientCredentials:
    found = await bench.service.provisioning.registrar.credentials(tenant)
    assert found is not None
    return found


async def verified(bench: Bench, *, fix: bool = False) -> Drift:
    drift = await bench.service.verify("initech", fix=fix, actor="test")
    assert drift is not None
    return drift


async def pools_of(bench: Bench, tenant: str = "initech") -> tuple[str, ...]:
    provisioning = bench.service.provisioning
    return await JournaledPools(provisioning.journal, provisioning.registrar).pools_of(tenant)


def there(bench: Bench) -> tuple[set[str], set[str], set[str], set[str]]:
    """Providers and clients of the first pool, then of the second."""
    pool = second(bench).pool
    return bench.providers, bench.clients, set(pool.providers), set(pool.clients)


async def test_both_clients_are_there_until_the_last_session_of_the_former_pool_has_ended(
    bench: Bench,
) -> None:
    before = await held(bench)
    now = bench.service.provisioning.clock()
    proposal = await bench.service.pool_move.propose("initech", "b")
    assert [(str(s.verb), str(s.resource)) for s in proposal.plan.changes] == [
        ("create", "provider"),
        ("create", "client"),
    ]
    assert proposal.register == (
        f"initech-okta: redirect URI {second(bench).url}/oauth2/idpresponse",
    )
    assert there(bench)[2:] == (set(), set()), "a plan changes nothing"

    assert isinstance(await bench.service.pool_move.apply(proposal, actor="test"), Done)
    moved = await held(bench)
    assert (moved.pool, moved.pools) == ("b", ("b", DEFAULT_POOL))
    (former,) = moved.retired
    assert (former.client_id, former.pool) == (before.client_id, DEFAULT_POOL)
    assert former.retires_at is not None
    assert former.retires_at >= now + 12 * 3600 + SPARE_S
    copied = second(bench).pool.providers["initech-okta"].settings
    original = bench.cloud.cognito.pool.providers["initech-okta"].settings
    secrets = [each["ProviderDetails"]["client_secret"] for each in (copied, original)]
    assert secrets[0] == secrets[1]
    assert copied["AttributeMapping"] == original["AttributeMapping"]
    assert bench.restrictions.carried == [False, True]

    later = replace(bench.service.provisioning, clock=lambda: now + 13 * 3600 + 60)
    assert await bench.service.rotation.retire_due() == 0
    assert await replace(bench.service, provisioning=later).rotation.retire_due() == 1
    assert there(bench) == (set(), set(), {"initech-okta"}, {moved.client_id})
    assert (await held(bench)).pools == ("b",)
    assert await pools_of(bench) == ("b", DEFAULT_POOL), "the same people are known there still"
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None
    assert drift.clean


async def test_there_and_back_again(bench: Bench) -> None:
    first = await held(bench)
    assert isinstance(await move(bench), Done)
    assert isinstance(await move(bench, DEFAULT_POOL), Done)
    back = await held(bench)
    assert (back.pool, [c.pool for c in back.retired]) == (DEFAULT_POOL, [DEFAULT_POOL, "b"])
    assert back.client_id != first.client_id
    assert isinstance(await bench.service.retire("initech", actor="test"), Done)
    assert there(bench) == ({"initech-okta"}, {back.client_id}, set(), set())
    run = await bench.service.provisioning.journal.latest("initech")
    assert run is not None
    (kept,) = run.request["providers"]
    assert kept["marker"] in bench.cloud.cognito.pool.providers["initech-okta"].identifiers


async def test_a_move_is_taken_back_by_its_run_and_people_are_still_known_by_both(
    bench: Bench,
) -> None:
    before, was = await held(bench), there(bench)
    outcome = await move(bench)
    assert isinstance(outcome, Done)
    assert await bench.service.roll_back("initech", outcome.run) is RunState.ROLLED_BACK
    assert (await held(bench), there(bench)) == (before, was)
    assert set(await pools_of(bench)) == {DEFAULT_POOL, "b"}
    again = await move(bench)
    assert isinstance(again, Done)


async def test_what_is_named_in_the_document_goes_along(bench: Bench) -> None:
    body = (await bench.body("hooli")).model_copy(update={"pool": DEFAULT_POOL})
    assert isinstance(await bench.apply("hooli", body), Done)
    assert isinstance(await move(bench, tenant="hooli"), Done)
    stored = await bench.tenants.get("hooli")
    assert stored is not None
    assert stored.document.pool == "b"
    changed = (await bench.body("hooli", hosts=["hooli.localhost", "two.localhost"])).model_copy(
        update={"pool": "b"}
    )
    assert isinstance(await bench.apply("hooli", changed, update=True), Done)
    assert isinstance(await bench.service.retire("hooli", actor="test"), Done)
    assert "hooli-okta" not in bench.providers, "the change has not forgotten the former pool"


async def test_destroying_ends_what_is_in_both_pools(bench: Bench) -> None:
    await move(bench)
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert there(bench) == (set(), set(), set(), set())
    assert await bench.left_behind() == {}


async def test_what_is_missing_in_the_former_pool_is_told(bench: Bench) -> None:
    former = await held(bench)
    await move(bench)
    del bench.cloud.cognito.pool.clients[former.client_id]
    bench.cloud.cognito.pool.providers.pop("initech-okta")
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None
    assert [p.where for p in drift.problems] == ["client"]
    (step,) = [step for step in drift.steps if step.does]
    assert (step.verb, step.resource, step.name) == ("create", "provider", "initech-okta")
    assert "sessions from before the move need it there" in step.why


async def test_what_somebody_changed_in_the_former_pool_is_mended(bench: Bench) -> None:
    former = await held(bench)
    await move(bench)
    drift = await verified(bench)
    assert drift.clean, [str(step) for step in drift.steps if step.does]
    pool = bench.cloud.cognito.pool

    def settings() -> tuple[Any, Any]:
        client, provider = pool.clients[former.client_id], pool.providers["initech-okta"]
        return client.settings, provider.settings

    good = tuple(map(dict, settings()))
    settings()[0]["RefreshTokenValidity"] = 7
    settings()[1]["AttributeMapping"] = {"username": "sub", "email": "mail"}
    before = there(bench)
    drift = await verified(bench)
    assert {
        (str(s.resource), s.name, "in pool default" in s.why) for s in drift.steps if s.does
    } == {
        ("client", former.client_id, True),
        ("provider", "initech-okta", True),
    }
    fixed = (await verified(bench, fix=True)).fixed
    assert isinstance(fixed, Done)
    assert (await verified(bench)).clean
    assert settings() == good
    assert there(bench) == before
    run = await bench.service.provisioning.journal.run(fixed.run)
    assert run is not None
    assert (run.pool, run.kind) == (DEFAULT_POOL, RunKind.APPLY)
    # Taken back, it is as somebody had it; what comes later still knows both pools.
    assert await bench.service.roll_back("initech", fixed.run) is RunState.ROLLED_BACK
    assert settings()[0]["RefreshTokenValidity"] == 7
    assert isinstance((await verified(bench, fix=True)).fixed, Done)
    assert isinstance(await bench.service.retire("initech", actor="test"), Done)
    assert there(bench)[:2] == (set(), set())


async def test_a_renewal_after_the_move_renews_the_former_pools_secret_too(bench: Bench) -> None:
    await move(bench)
    other = NewSecret(Secret("the-other-secret"), None)
    trial = await bench.service.renewal.begin(
        "initech", "initech-okta", other, owner="one", actor="test"
    )
    assert isinstance(trial, Trial), trial
    done = await bench.service.renewal.exchange(
        "initech", "initech-okta", trial, expires=None, actor="test"
    )
    assert isinstance(done, Trial), done

    def secrets() -> list[str]:
        pools = (bench.cloud.cognito.pool, second(bench).pool)
        return [
            pool.providers["initech-okta"].settings["ProviderDetails"]["client_secret"]
            for pool in pools
        ]

    assert secrets() == ["the-other-secret"] * 2
    assert (await verified(bench)).clean
    back = await bench.service.renewal.exchange(
        "initech", "initech-okta", done, expires=None, actor="test"
    )
    assert isinstance(back, Trial), back
    assert secrets()[0] == secrets()[1] != "the-other-secret"


async def test_a_secret_that_moves_in_the_former_pool_is_read_in_its_new_place(
    bench: Bench,
) -> None:
    asked = await bench.body(password_client={})
    assert isinstance(await bench.apply("initech", asked, update=True), Done)
    former, pool = await held(bench), bench.cloud.cognito.pool
    await move(bench)
    publish_secret(pool, pool.clients[former.client_id])
    (step,) = [step for step in (await verified(bench)).steps if step.does]
    assert (str(step.resource), step.name) == ("client_secret", former.client_id)
    fixed = (await verified(bench, fix=True)).fixed
    assert isinstance(fixed, Done)
    (retired,) = (await held(bench)).retired
    assert retired.client_secret.reveal() == pool.clients[former.client_id].secret
    assert (retired.pool, retired.rotated is not None) == (DEFAULT_POOL, True)
    assert retired.retires_at is not None
    assert (await verified(bench)).clean
    # Kept by Cognito again, and another one than before.
    client = pool.clients[former.client_id]
    pool.clients[former.client_id] = replace(client, secret_arn="", secret_before=None)
    assert isinstance((await verified(bench, fix=True)).fixed, Done)
    pool.clients[former.client_id] = replace(pool.clients[former.client_id], secret="another")
    (problem,) = (await verified(bench)).problems
    assert "has another secret in pool default than is known: retire it" in problem.message


async def test_a_provider_that_is_gone_from_the_former_pool_is_made_again_and_ends_with_it(
    bench: Bench,
) -> None:
    await move(bench)
    pools = (bench.cloud.cognito.pool, second(bench).pool)
    pools[0].providers.pop("initech-okta")
    for pool in pools:
        clients: Any = pool.clients
        for client in clients.values():
            client.settings["RefreshTokenValidity"] = 7
    assert isinstance((await verified(bench, fix=True)).fixed, Done)
    assert (await verified(bench)).clean, "both pools by one call"
    made, original = (pool.providers["initech-okta"].settings for pool in pools)
    assert made["ProviderDetails"] == original["ProviderDetails"], "with its secret"
    assert isinstance(await bench.service.retire("initech", actor="test"), Done)
    assert there(bench)[:2] == (set(), set()), "it carries our mark"


async def test_what_came_after_the_move_is_no_drift_of_the_former_pool(bench: Bench) -> None:
    await move(bench)
    body = await bench.body()
    more = (await bench.body(idp="initech-two", kind="entra")).all_providers[0]
    more = more.model_copy(update={"attributes": {"custom:team": "team"}})
    both = body.model_copy(update={"provider": None, "providers": (*body.all_providers, more)})
    more_hosts = (*(both.hosts or ()), "two.localhost")
    both = both.model_copy(update={"custom_attributes": ("custom:team",), "hosts": more_hosts})
    assert isinstance(await bench.apply("initech", both, update=True), Done)
    drift = await verified(bench)
    assert drift.clean, [str(step) for step in drift.steps if step.does]
    own = body.all_providers[0].model_copy(update={"attributes": {"custom:team": "team"}})
    mapped = both.model_copy(update={"providers": (own, more)})
    assert isinstance(await bench.apply("initech", mapped, update=True), Done)
    assert (await verified(bench)).clean
    assert "custom:team" not in bench.cloud.cognito.pool.providers["initech-okta"].mapping
    for pool in (bench.cloud.cognito.pool, second(bench).pool):
        (client,) = pool.clients.values()
        assert any("two.localhost" in url for url in client.settings["CallbackURLs"])


async def test_a_change_is_done_where_the_former_pool_does_not_answer(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await move(bench)
    bench.cloud.cognito.control.faults.plan(
        "DescribeUserPool", faults.fail(ApiError("AccessDeniedException", "no"))
    )
    body = await bench.body(hosts=["initech.localhost", "two.localhost"])
    assert isinstance(await bench.apply("initech", body, update=True), Done)
    assert "provision_former_pool_later" in caplog.messages
    assert isinstance((await verified(bench, fix=True)).fixed, Done)
    assert (await verified(bench)).clean


async def test_a_provider_that_somebody_added_to_a_former_client_is_taken_off(
    bench: Bench,
) -> None:
    await move(bench)
    (client,) = bench.cloud.cognito.pool.clients.values()
    settings: Any = client.settings
    settings["SupportedIdentityProviders"] = ["initech-okta", "COGNITO"]
    (step,) = [step for step in (await verified(bench)).steps if step.does]
    assert (str(step.resource), step.name) == ("client", client.client_id)
    assert isinstance((await verified(bench, fix=True)).fixed, Done)
    assert (await verified(bench)).clean


async def test_what_somebody_else_has_in_the_other_pool_is_not_taken(bench: Bench) -> None:
    theirs = bench.cloud.cognito.pool.providers["initech-okta"]
    second(bench).pool.providers["initech-okta"] = theirs
    (told,) = await problems(bench)
    assert told.startswith("exists providers.initech-okta")


async def test_why_a_tenant_is_not_moved(bench: Bench) -> None:
    assert await problems(bench, DEFAULT_POOL) == [
        "conflict pool: initech lives in pool default already"
    ]
    assert await problems(bench, "c") == ["invalid pool: c is none of default, b"]
    assert await problems(bench, tenant="hooli") == ["not_found tenant: hooli is not provisioned"]
    second(bench).pool.case_sensitive = not bench.cloud.cognito.pool.case_sensitive
    (told,) = await problems(bench)
    assert "do not agree on whether case counts" in told
    second(bench).pool.case_sensitive = bench.cloud.cognito.pool.case_sensitive
    provider = bench.cloud.cognito.pool.providers.pop("initech-okta")
    (told,) = await problems(bench)
    assert told == (
        "invalid providers.initech-okta: is not in pool default any more: provision it again"
    )
    bench.cloud.cognito.pool.providers["initech-okta"] = provider
    for _ in range(MAX_RETIRED):
        assert isinstance(await bench.service.rotate("initech", actor="test"), Done)
    (told,) = await problems(bench)
    assert "retire them first" in told


async def test_a_tenant_whose_connection_is_being_renewed_stays_until_that_has_ended(
    bench: Bench,
) -> None:
    renewal, new = bench.service.renewal, NewSecret(Secret("another"))
    trial = await renewal.begin("initech", "initech-okta", new, owner="one", actor="test")
    assert isinstance(trial, Trial)
    (told,) = await problems(bench)
    assert told.startswith(f"conflict providers.{trial.name}: a renewal is tested with it")
    assert isinstance(await renewal.end("initech", "one", actor="test"), Done)
    assert await problems(bench) == []


async def test_a_saml_provider_is_waited_for_until_it_knows_the_other_pool(tmp_path: Path) -> None:
    async with Bench(tmp_path, second="b") as bench:
        assert isinstance(await bench.apply("initech", await saml_body(bench)), Done)
        before, was = await held(bench), there(bench)
        pool_move, cognito = bench.service.pool_move, second(bench)
        proposal = await pool_move.propose("initech", "b")
        assert (proposal.plan.problems, proposal.waits_for) == ((), ("initech-saml",))
        (told,) = waiting(proposal)
        assert (told.kind, told.where) == ("conflict", "providers.initech-saml")
        for word in (
            f"urn:amazon:cognito:sp:{cognito.pool.pool_id}",
            f"{cognito.url}/saml2/idpresponse",
            "registered: initech-saml",
        ):
            assert word in told.message
        with pytest.raises(ValueError, match="waits for somebody"):
            await pool_move.apply(proposal, actor="test")
        assert (await held(bench), there(bench)) == (before, was), "nothing was made"
        wrong = await pool_move.propose("initech", "b", registered={"initech-okta"})
        assert [p.where for p in wrong.plan.problems] == ["registered"]
        proposal = await pool_move.propose("initech", "b", registered={"initech-saml"})
        assert proposal.waits_for == ()
        assert isinstance(await pool_move.apply(proposal, actor="test"), Done)
        moved = await held(bench)
        assert (moved.pool, moved.retired[0].client_id) == ("b", before.client_id)
        assert there(bench)[:2] == was[:2], "the former pool is accepted still"
        assert "initech-saml" in cognito.pool.providers


async def test_a_tenant_with_users_of_the_pool_stays(bench: Bench) -> None:
    body = await bench.body("hooli")
    own = {"kind": "cognito"}
    both = body.model_validate(
        {
            **body.model_dump(mode="json", exclude={"provider"}, exclude_unset=True),
            "providers": [own],
        }
    )
    assert isinstance(await bench.apply("hooli", both), Done)
    told = await problems(bench, tenant="hooli")
    assert any("users of the pool itself cannot be moved" in each for each in told)


async def test_who_cannot_be_carried_along_keeps_the_tenant_where_it_is(bench: Bench) -> None:
    before, was = await held(bench), there(bench)
    bench.restrictions.fails = 1
    outcome = await move(bench)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.state) == ("unavailable", RunState.ROLLED_BACK)
    assert (await held(bench), there(bench)) == (before, was)


async def test_what_stands_is_carried_before_the_switch(bench: Bench) -> None:
    seen: list[str] = []

    class LooksOn:
        async def carry(self, tenant: str, *, moved: bool) -> int:
            seen.append((await held(bench)).pool)
            assert "b" in await pools_of(bench), "who is blocked from now on is blocked in both"
            return await bench.restrictions.carry(tenant, moved=moved)

    pool_move = replace(bench.service, restrictions=LooksOn()).pool_move
    outcome = await pool_move.apply(await pool_move.propose("initech", "b"), actor="test")
    assert isinstance(outcome, Done)
    assert seen == [DEFAULT_POOL, "b"]
    run = await bench.service.provisioning.journal.run(outcome.run)
    assert run is not None
    assert run.kind is RunKind.MOVE
    actions = [step.action for step in run.steps]
    assert actions.index(Action.CARRY_BLOCKS) < actions.index(Action.PUT_CREDENTIALS)


async def test_what_a_dead_process_left_is_carried_later(bench: Bench) -> None:
    await move(bench)
    pool_move = bench.service.pool_move
    assert await pool_move._between_pools() == ["initech"]
    bench.restrictions.fails = 1
    await pool_move._carry_quietly("initech")
    await pool_move._carry_quietly("initech")
    assert bench.restrictions.carried == [False, True, True]
    await bench.service.retire("initech", actor="test")
    assert await pool_move._between_pools() == []


async def test_of_two_moves_at_once_one_is_refused(bench: Bench) -> None:
    stale = await bench.service.pool_move.propose("initech", "b")
    assert isinstance(await move(bench), Done)
    outcome = await bench.service.pool_move.apply(stale, actor="test")
    assert isinstance(outcome, Failed)
    assert outcome.code == "conflict"
    with pytest.raises(ValueError, match="with problems"):
        await bench.service.pool_move.apply(
            await bench.service.pool_move.propose("initech", "c"), actor="test"
        )


async def test_retiring_deletes_nothing_of_a_tenant_that_has_moved_back_meanwhile(
    bench: Bench,
) -> None:
    assert isinstance(await move(bench), Done)
    journal = bench.service.provisioning.journal
    opened = journal.open

    async def late(*args: Any, **kwargs: Any) -> Any:
        journal.open = opened  # type: ignore[method-assign]
        assert isinstance(await move(bench, DEFAULT_POOL), Done)
        return await opened(*args, **kwargs)

    journal.open = late  # type: ignore[method-assign]  # stalls after it has read
    outcome = await bench.service.retire("initech", actor="test")
    assert isinstance(outcome, Failed)
    assert outcome.code == "conflict"
    assert (await held(bench)).client_id in bench.clients
    assert bench.providers == {"initech-okta"}
    assert isinstance(await bench.service.retire("initech", actor="test"), Done)
    assert bench.providers == {"initech-okta"}, "the current client needs it"


async def test_nothing_is_provisioned_in_a_pool_that_is_failed_over(bench: Bench) -> None:
    before, was = await held(bench), there(bench)
    over = {"b"}
    pools = replace(bench.service.provisioning.pools, failed_over=lambda pool: pool in over)
    provisioning = replace(bench.service.provisioning, pools=pools)
    service = replace(bench.service, provisioning=provisioning)
    proposal = await service.pool_move.propose("initech", "b")
    with pytest.raises(UnavailableError, match="user pool b is failed over"):
        await service.pool_move.apply(proposal, actor="test")
    assert isinstance(await service.rotate("initech", actor="test"), Done), "in the other one"
    over.add(DEFAULT_POOL)
    with pytest.raises(UnavailableError, match="gateway pools failback default"):
        await service.rotate("initech", actor="test")
    clock = bench.service.provisioning.clock() + 30 * 86_400
    late = replace(service, provisioning=replace(provisioning, clock=lambda: clock))
    assert await late.rotation.retire_due() == 0, "later, and nobody else waits for it"
    over.clear()
    assert await late.rotation.retire_due() == 1
    assert (await held(bench)).client_id != before.client_id
    assert there(bench)[2:] == was[2:]


# --- the crash matrix -----------------------------------------------------------------------------


async def moved_or_not(bench: Bench, former: ClientCredentials, *, moved: bool) -> None:
    """Both pools hold all of the move, or the tenant is where it was and nothing is left."""
    now = await held(bench)
    providers, clients, of_second, clients_of_second = there(bench)
    assert providers == {"initech-okta"}
    assert former.client_id in clients
    if moved:
        assert (now.pool, of_second) == ("b", {"initech-okta"})
        assert clients_of_second == {now.client_id}
        secret = second(bench).pool.clients[now.client_id].secret
        assert now.client_secret.reveal() == secret
    else:
        assert (now, of_second, clients_of_second) == (former, set(), set())


@pytest.mark.parametrize("step", ["create_provider", "create_client"])
async def test_faults_of_a_move(tmp_path: Path, step: str) -> None:
    async with Bench(tmp_path, second="b") as bench:
        assert isinstance(await bench.apply(), Done)
        for name in FAULTS:
            former = await held(bench)
            aside: Any = FAULTS[name]
            # The faults are planned at the first pool of a cloud: here the second is meant.
            aside(_SecondFirst(bench), COGNITO_STEPS[step])
            outcome = await move(bench)
            second(bench).control.faults.clear()
            await until_settled(bench)
            await moved_or_not(bench, former, moved=isinstance(outcome, Done))
            if isinstance(outcome, Done):
                rolled = await bench.service.roll_back("initech", outcome.run)
                assert rolled is RunState.ROLLED_BACK


class _SecondFirst:
    """A bench whose faults are the second pool's."""

    def __init__(self, bench: Bench) -> None:
        self.cloud = type("Cloud", (), {"cognito": second(bench)})


@pytest.mark.parametrize("after", [False, True])
async def test_faults_of_the_registry_in_a_move(tmp_path: Path, *, after: bool) -> None:
    made: list[FaultyRegistrar] = []

    def wrap(registrar: Registrar) -> Registrar:
        made.append(FaultyRegistrar(registrar))
        return made[-1]

    async with Bench(tmp_path, second="b", wrap_registrar=wrap) as bench:
        assert isinstance(await bench.apply(), Done)
        former = await held(bench)
        made[0].method, made[0].after, made[0].times = "put_credentials", after, 1
        assert isinstance(await move(bench), Failed)
        await until_settled(bench)
        await moved_or_not(bench, former, moved=False)


KILLS = [
    f"{write}:{number}:{side}"
    for number in range(1, 5)
    for write in ("intend", "settle")
    for side in ("before", "after")
] + ["move:done:before", "move:done:after"]


async def test_killed_between_any_two_writes_of_a_move_and_of_its_end(tmp_path: Path) -> None:
    async with Bench(tmp_path, hold_s=HOLD_S, second="b") as bench, crash_server() as process:
        assert isinstance(await bench.apply(), Done)
        former = await held(bench)
        for point in KILLS:
            killed = await run_cell(process, bench, "initech", point, kind="move")
            assert killed["killed"], point
            await until_settled(bench)
            await moved_or_not(bench, former, moved=point == "move:done:after")
        for point in ("intend:1:after", "settle:2:before", "settle:3:before", "move:done:before"):
            killed = await run_cell(process, bench, "initech", point, kind="retire")
            assert killed["killed"], point
            await until_settled(bench)
            present = await held(bench)
            away, home = (second(bench), bench.cloud.cognito)
            if present.pool == DEFAULT_POOL:
                away, home = home, away
            assert (set(away.pool.clients), set(away.pool.providers)) == (
                {present.client_id},
                {"initech-okta"},
            )
            assert (home.pool.clients, home.pool.providers) == ({}, {}), point
            back = DEFAULT_POOL if present.pool == "b" else "b"
            assert isinstance(await move(bench, back), Done)


async def test_a_pool_that_refuses_to_be_read_is_told(bench: Bench) -> None:
    from gateway.cognito.api import CognitoRejectedError

    second(bench).control.faults.plan(
        "DescribeUserPool", faults.fail(ApiError("AccessDeniedException", "no"))
    )
    with pytest.raises(CognitoRejectedError, match="no"):
        await bench.service.pool_move.propose("initech", "b")
    bench.service.provisioning.pools.by_name.pop("b")  # type: ignore[attr-defined]  # a configuration without it
    with pytest.raises(UnavailableError):
        bench.service.provisioning.pools.named("b")
