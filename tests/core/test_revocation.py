"""Who is meant by a revocation: one value for every spelling."""

from __future__ import annotations

import pytest

from gateway.core.revocation import RevocationKind, RevocationRequest, Who

GUID = "6f2c8f6e-6f0e-4d2b-9a52-0f2b7f9a1c01"


@pytest.mark.parametrize("name", ["user", "idp_subject", "oid", "group"])
def test_a_person_or_group_is_the_same_however_its_id_was_composed_or_a_guid_was_cased(
    name: str,
) -> None:
    assert Who(**{name: "Cafe\u0301"}) == Who(**{name: "Café"})
    assert Who(**{name: GUID.upper()}) == Who(**{name: GUID})
    assert Who(**{name: "A"}) != Who(**{name: "a"})


def test_an_address_is_the_same_in_every_spelling_and_what_is_unique_anyway_is_as_it_was_told() -> (
    None
):
    assert Who(email="Alice@BÜCHER.test.") == Who(email="alice@xn--bcher-kva.test")
    assert Who(session="S", provider="Okta") != Who(session="s", provider="okta")


def test_the_group_that_is_lost_is_one_value_too() -> None:
    request = RevocationRequest("acme", Who(), RevocationKind.BLOCK, "why", "admin")
    assert request.group_overlay is None
    lost = RevocationRequest(
        "acme", Who(), RevocationKind.BLOCK, "why", "admin", group_overlay=GUID.upper()
    )
    assert lost.group_overlay == GUID
