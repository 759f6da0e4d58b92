"""Names of everything in Redis. All keys of one tenant share a hash tag, so that a script touches
one slot of one primary.

``gw:{2a7}:s:<digest>``   a sealed session; lives for the idle time, at most until the absolute
limit ``gw:{2a7}:f:<family>``   hash of a family: ``t`` tenant, ``w`` began, ``u`` HMAC of the user,
``v`` HMAC of the provider, ``e`` absolute
                          limit (s), ``d`` sealed display record, ``r`` sealed refresh token,
                          ``m:<digest>`` host of each member, ``k`` when Cognito last knew it and
                          ``l`` until when somebody is asking (s); of an app password: ``p`` sealed
                          scope, ``y`` when it was last used (s)
``gw:{2a7}:i:<alias>``    sorted set of families by absolute limit: everybody who is this user,
subject, oid, e-mail, group, tenant ``gw:{2a7}:w:<alias>``    hash, what was revoked: ``w``
watermark (tenant clock), ``b`` block record while one stands ``gw:{2a7}:o:<alias>``    hash, groups
taken away from this person: HMAC of the group → ``set:cleared`` (tenant clock)
``gw:{2a7}:k:<alias>``    hash, what this user's last login left for their bearer tokens: ``w``
began, ``a`` HMACs of all names, ``d`` sealed record;
                          ``i`` latest time of the identity provider that a login showed (s), ``j``
                          when that login began ``s`` sealed display of that login, ``g`` sealed
                          identity, as whom app passwords arrive
``gw:{2a7}:n:<alias>``    whose last login had this subject, oid or address: HMAC of the user, for
as long as that user's ``k`` ``gw:{2a7}:p:<digest>``   hash, a pending login: ``p`` sealed, ``b``
began, ``k`` digest of the binding cookie, ``t`` taken ``gw:{2a7}:t:<digest>``   hash, a ticket:
``p`` sealed, ``k`` digest of the binding, ``h`` host ``gw:{2a7}:c:<tenant>``   the tenant's clock,
µs ``gw:{2a7}:v``            list, logins that are not on record yet: tenant and sealed rest
``gw:{2a7}:l``            hash, leases: replica → incarnation, last event applied (or ``-``),
beat ``gw:{2a7}:n``, ``…:e``   number of the last event, and the list of the last 256 ``gw:{2a7}:m``
marker: ``f`` (probation) or ``s`` (trusted), replication id of the primary it was written for,
nonce
``gw:{2a7}:g``            generation of the tenant snapshot that answers must be given by
``gw:{2a7}:h``            written to see whether replicas confirm it; means nothing

``gw:code:<digest>``      an authorization code was shown where no login is open; of no tenant's
slot ``gw:test:<name>``        a link that tests a connection was used; of no tenant's slot.
                            ``gw:test:client:<name>``: the app client that it is tested with, sealed
``gw:console:link:<digest>``, ``…:open:<digest>`` a one-time link into the console, and what one
opened; ``…:ended``, ``…:closed`` since when all of them have; ``…:seen:<digest>`` a
sign-in is on record; of no tenant's slot
``gw:leader:<name>``      which process does for all what is to be done once; of no tenant's slot
``gw:activity:<window>:<number>``  hash, what all processes counted in a minute or a quarter of an
hour: series → count; of no tenant's slot
``gw:failover``           hash, user pools that are failed over: since when, by whom; of no slot

``<digest>`` is half of the SHA-256 of the random part of a token, in hex; ``<alias>`` an HMAC (see
``seal.Aliases``). Neither names anybody.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

BUCKETS = 1024
"""Tenants are spread over this many hash tags. Part of every cookie: changing it ends all
sessions.
"""

PUSH_CHANNEL = "gw:push"
"""Every script that ends or rewrites sessions publishes an event here, in the same step: ``<bucket>
<number> <what>`` (see ``push``).
"""


@lru_cache(maxsize=16_384)
def bucket_of(tenant: str) -> int:
    """Which of the 1,024 hash tags a tenant's keys carry."""
    return int.from_bytes(hashlib.sha256(tenant.encode()).digest()[:2], "big") % BUCKETS


@lru_cache(maxsize=BUCKETS)
def prefix(bucket: int) -> str:
    """What every key of a bucket starts with; the braces are Redis Cluster's hash tag."""
    return f"gw:{{{bucket:03x}}}:"
