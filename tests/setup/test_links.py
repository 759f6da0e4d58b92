"""Setup links over SQL: who gets in, with what, for how long."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, select, update

from gateway.database.schema import setup_links
from gateway.database.tenant_deletion import forget_tenant
from gateway.setup.links import Claimed, NewLink, Refusal, SetupLinks, edited
from gateway.setup.model import (
    IDLE_S,
    LOCK_S,
    LONGEST_S,
    TRIES,
    Approval,
    Confirm,
    LinkState,
    NewTenant,
    Part,
    Phase,
    Request,
    SetupProvider,
    Work,
)
from gateway.setup.phrase import WORDS, canonical_phrase, make_phrase

if TYPE_CHECKING:
    from gateway.database.engine import Database
    from tests.admin.conftest import Clock

IT = "it@initech.test"
REQUEST = Request(
    parts=frozenset({Part.SIGN_IN, Part.ACCESS}),
    recipients=(IT, "ann@initech.test"),
    providers=(SetupProvider.OKTA,),
    language="de",
    approval=Approval.REQUIRED,
    note="first customer",
    lifetime_s=86400.0,
    new_tenant=NewTenant("Initech", ("app.example.com",), ("initech.test",)),
)


@pytest.fixture
def links(database: Database, clock: Clock) -> SetupLinks:
    return SetupLinks(database, clock=clock)


async def claim(
    links: SetupLinks, made: NewLink, *, email: str = IT, phrase: str | None = None
) -> Claimed | Refusal:
    return await links.claim(
        made.link.id,
        made.secret.reveal(),
        email=email,
        answer=phrase_of(made) if phrase is None else phrase,
    )


def phrase_of(made: NewLink) -> str:
    assert made.phrase is not None
    return made.phrase.reveal()


async def claimed(links: SetupLinks, made: NewLink) -> Claimed:
    result = await claim(links, made)
    assert isinstance(result, Claimed)
    return result


def test_a_phrase_is_four_of_256_words_however_it_is_written() -> None:
    assert len(WORDS) == len(set(WORDS)) == 256
    assert all(word.isascii() and word.islower() and word.isalpha() for word in WORDS)
    phrase = make_phrase()
    assert len(phrase.split()) == 4
    assert set(phrase.split()) <= set(WORDS)
    assert canonical_phrase(f"  {phrase.upper().replace(' ', ' - ')}. ") == phrase


async def test_what_was_asked_for_is_what_is_read(links: SetupLinks) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    read = await links.get("initech", made.link.id)
    assert read == made.link
    assert read is not None
    assert read.request == REQUEST
    assert await links.get("acme", made.link.id) is None


async def test_the_table_holds_no_secret_and_names_nobody(
    links: SetupLinks, database: Database
) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    browser = await claimed(links, made)
    async with database.read() as connection:
        text = str((await connection.execute(select(setup_links))).mappings().one())
    for secret in (
        made.secret.reveal(),
        phrase_of(made),
        browser.cookie.reveal().partition(".")[2],
        IT,
        "first customer",
    ):
        assert secret not in text


async def test_opening_changes_nothing(links: SetupLinks, database: Database) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    async with database.read() as connection:
        before = (await connection.execute(select(setup_links))).all()
    for _ in range(20):
        assert await links.open(made.link.id, made.secret.reveal()) == made.link
        assert await links.open(made.link.id, "guessed") is None
        assert await links.open("0" * 16, made.secret.reveal()) is None
    async with database.read() as connection:
        assert (await connection.execute(select(setup_links))).all() == before


@pytest.mark.parametrize("email", [IT, " IT@Initech.test ", "ann@initech.test"])
async def test_a_recipient_with_the_phrase_gets_in(links: SetupLinks, email: str) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    result = await claim(links, made, email=email)
    assert isinstance(result, Claimed)
    assert not result.moved
    seen = await links.visit(result.cookie.reveal())
    assert seen is not None
    assert seen.claimed_by == email.strip().casefold()
    assert seen.stored_state is LinkState.CLAIMED


async def test_forwarded_to_somebody_else_it_opens_nothing(links: SetupLinks) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    assert await claim(links, made, email="mallory@evil.test") is Refusal.WRONG
    assert await claim(links, made, phrase="four other plain words") is Refusal.WRONG
    assert await claim(links, made, phrase="") is Refusal.WRONG


async def test_without_the_address_nobody_even_counts_as_having_tried(
    links: SetupLinks,
) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    for _ in range(TRIES * 4):
        guess = await links.claim(made.link.id, "guessed", email=IT, answer=phrase_of(made))
        assert guess is Refusal.DEAD
    assert isinstance(await claim(links, made), Claimed)


async def test_five_wrong_phrases_lock_and_the_third_lock_revokes(
    links: SetupLinks, clock: Clock
) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    for last in (Refusal.LOCKED, Refusal.LOCKED, Refusal.REVOKED):
        tries = [await claim(links, made, phrase="wrong") for _ in range(TRIES)]
        assert tries == [Refusal.WRONG] * (TRIES - 1) + [last]
        after = await claim(links, made)
        assert after is (Refusal.DEAD if last is Refusal.REVOKED else Refusal.LOCKED)
        clock.now += LOCK_S
    clock.now += 10 * LOCK_S
    assert await claim(links, made) is Refusal.DEAD


async def test_guessing_keeps_nobody_from_the_work_they_have(links: SetupLinks) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    browser = await claimed(links, made)
    for _ in range(TRIES):
        await claim(links, made, phrase="wrong")
    assert await links.visit(browser.cookie.reveal()) is not None


async def test_another_browser_ends_the_work_of_the_first(links: SetupLinks) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    first = await claimed(links, made)
    second = await claimed(links, made)
    assert second.moved
    assert await links.visit(first.cookie.reveal()) is None
    assert await links.save(first.link, Work(provider="okta"), cookie=first.cookie.reveal()) is None
    assert await links.visit(second.cookie.reveal()) is not None


@pytest.mark.parametrize("ended", ["revoke", "replace", "expire", "leave"])
async def test_what_ends_a_link_ends_its_browsers_work(
    links: SetupLinks, clock: Clock, ended: str
) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    browser = await claimed(links, made)
    cookie = browser.cookie.reveal()
    if ended == "revoke":
        await links.revoke("initech", made.link.id)
    elif ended == "replace":
        assert await links.replace("initech", made.link.id, by="key:other", confirm=Confirm.PHRASE)
    elif ended == "expire":
        clock.now += REQUEST.lifetime_s
    else:
        await links.leave(browser.link)
    assert await links.visit(cookie) is None
    assert await links.save(browser.link, Work(provider="okta"), cookie=cookie) is None
    assert isinstance(await claim(links, made), Claimed if ended == "leave" else Refusal)


async def test_as_much_is_asked_for_a_link_that_there_is_as_for_one_that_there_is_not(
    links: SetupLinks, database: Database
) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    asked: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    engine = database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", count)
    try:
        assert await links.open(made.link.id, "guessed") is None
        known = asked.copy()
        asked.clear()
        assert await links.open("0" * 16, "guessed") is None
    finally:
        event.remove(engine, "before_cursor_execute", count)
    assert known == asked
    assert "work" not in "".join(asked)


async def test_work_rests_an_hour_at_most_and_ends_after_eight(
    links: SetupLinks, clock: Clock
) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    cookie = (await claimed(links, made)).cookie.reveal()
    began = clock.now
    while clock.now - began < LONGEST_S - 1800:
        clock.now += 1800
        assert (await links.visit(cookie) is not None) == (clock.now - began < LONGEST_S)
    clock.now = began + LONGEST_S
    assert await links.visit(cookie) is None
    again = (await claimed(links, made)).cookie.reveal()
    clock.now += IDLE_S
    assert await links.visit(again) is None


async def test_a_cookie_is_of_its_own_link(links: SetupLinks) -> None:
    one, other = [await links.create("initech", REQUEST, by="key:1") for _ in range(2)]
    cookie = (await claimed(links, one)).cookie.reveal()
    await claimed(links, other)
    assert await links.visit(cookie.replace(one.link.id, other.link.id)) is None
    for nonsense in ("", ".", "a.b", f"{one.link.id}.", "\ud800.x", "é" * 5000):
        assert await links.visit(nonsense) is None


async def test_of_two_changes_at_once_one_is_refused(links: SetupLinks) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    browser = await claimed(links, made)
    cookie, link = browser.cookie.reveal(), browser.link
    saved = await links.save(link, Work(provider="okta"), cookie=cookie)
    assert saved is not None
    assert saved.work.provider == "okta"
    assert await links.save(link, Work(provider="entra"), cookie=cookie) is None
    assert await links.decide(link, Work(provider="entra")) is None
    assert await links.save(saved, Work(provider="entra"), cookie=cookie) is not None


async def test_live_completes_the_link_which_can_still_be_read(links: SetupLinks) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    browser = await claimed(links, made)
    live = await links.decide(browser.link, replace(browser.link.work, phase=Phase.LIVE))
    assert live is not None
    assert live.stored_state is LinkState.COMPLETED
    assert (await claimed(links, made)).link.stored_state is LinkState.COMPLETED


def test_what_is_edited_has_to_be_tested_again() -> None:
    tested = Work(phase=Phase.SUBMITTED, tested_at=1.0, test="t", tester="ann", provider="okta")
    after = edited(tested, provider="entra")
    assert (after.phase, after.tested_at, after.test, after.provider) == (
        Phase.SAVED,
        None,
        "",
        "entra",
    )


def test_work_of_another_release_is_read() -> None:
    assert Work.of_json({**Work().as_json(), "unknown": 1}) == Work()
    assert Work.of_json({}) == Work()


async def test_an_ended_link_of_a_colleague_does_not_come_back(
    links: SetupLinks, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL the writers of parent and child wait for each other; and a child that another
    release left open opens nothing.
    """
    locks: list[tuple[str, ...]] = []
    write = database.write

    def seen(*names: str) -> Any:
        locks.append(names)
        return write(*names)

    parent = await links.create(
        "initech", replace(REQUEST, parts=frozenset({Part.DOMAINS})), by="key:1"
    )
    holder = await claimed(links, parent)

    async def tell(_connection: object, _made: object) -> bool:
        return True

    child = await links.delegate(
        holder.link,
        frozenset({Part.DOMAINS}),
        IT,
        cookie=holder.cookie.reveal(),
        by_mail=False,
        tell=tell,
    )
    assert isinstance(child, NewLink)
    monkeypatch.setattr(database, "write", seen)
    browser = await claimed(links, child)
    async with database.read() as connection:
        query = select(setup_links.c.session_digest).where(setup_links.c.id == child.link.id)
        session = (await connection.execute(query)).scalar_one()
    await links.reopen(browser.link, Work())
    assert await links.visit(browser.cookie.reveal()) is not None
    assert await links.revoke("initech", parent.link.id) is not None
    assert set(locks) == {("setup_links/initech",)}
    assert await links.visit(browser.cookie.reveal()) is None
    async with write() as connection:
        await connection.execute(
            update(setup_links)
            .where(setup_links.c.id == child.link.id)
            .values(state="claimed", session_digest=session)
        )
    assert await links.visit(browser.cookie.reveal()) is None
    assert await claim(links, child) is Refusal.DEAD
    assert (
        await links.replace("initech", child.link.id, by="key:other", confirm=Confirm.PHRASE)
        is None
    )


async def test_links_end_with_their_tenant(links: SetupLinks, database: Database) -> None:
    made = await links.create("initech", REQUEST, by="key:1")
    kept = await links.create("globex", REQUEST, by="key:1")
    browser = await claimed(links, made)
    async with database.write() as connection:
        await forget_tenant(connection, "initech", version=1, at=1.0)
    cookie = browser.cookie.reveal()
    assert await links.visit(cookie) is None
    assert await links.save(browser.link, Work(), cookie=cookie) is None
    assert await links.decide(browser.link, Work()) is None
    assert await claim(links, made) is Refusal.DEAD
    assert isinstance(await claim(links, kept), Claimed)


async def test_whoever_waits_for_approval_is_found_however_many_links_are_newer(
    links: SetupLinks, clock: Clock
) -> None:
    waiting = []
    for _ in range(3):
        browser = await claimed(links, await links.create("initech", REQUEST, by="key:1"))
        clock.now += 10
        work = replace(browser.link.work, phase=Phase.SUBMITTED)
        saved = await links.save(browser.link, work, cookie=browser.cookie.reveal())
        assert saved is not None
        waiting.append(saved)
    for _ in range(60):
        await links.create("globex", REQUEST, by="key:1")
    assert await links.submitted(None, limit=10) == waiting
    assert await links.submitted("initech", limit=2) == waiting[:2]
    assert await links.submitted("globex", limit=10) == []
    returned = await links.decide(waiting[0], replace(waiting[0].work, phase=Phase.TESTED))
    assert returned is not None
    await links.revoke("initech", waiting[1].id)
    assert await links.submitted(None, limit=10) == waiting[2:]
    replaced = await links.replace("initech", waiting[2].id, by="key:2", confirm=Confirm.PHRASE)
    assert replaced is not None
    assert [link.id for link in await links.submitted(None, limit=10)] == [replaced.link.id]
    clock.now += REQUEST.lifetime_s
    assert await links.submitted(None, limit=10) == []
