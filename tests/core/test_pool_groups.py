"""Which Cognito groups are whose."""

from __future__ import annotations

from gateway.core.pool_groups import members_group, own_groups, pool_group, tenants_of


def test_a_group_of_a_tenant_comes_back_as_its_name_and_to_no_other_tenant() -> None:
    listed = [members_group("acme"), pool_group("acme", "admins"), pool_group("acme-2", "staff")]
    assert listed == ["tenants/acme", "tenants/acme/admins", "tenants/acme-2/staff"]
    assert own_groups(members_group("acme"), listed) == ("admins",)
    assert own_groups(members_group("acme-2"), listed) == ("staff",)
    assert own_groups(members_group("ac"), listed) == ()


def test_only_the_group_of_its_members_makes_somebody_a_tenants() -> None:
    assert tenants_of(
        [members_group("acme"), pool_group("initech", "admins"), "admins", members_group("globex")]
    ) == {"acme", "globex"}
