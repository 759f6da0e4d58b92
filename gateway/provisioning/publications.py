"""What an identity provider publishes about itself, fetched and judged: for a plan, which makes
what it says, and for whoever types its address and wants to know whether it is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.cognito.desired import kind_of_issuer
from gateway.errors import PeerError
from gateway.provisioning.discovery import Discovered
from gateway.provisioning.preflight import check_discovery, check_issuer
from gateway.provisioning.saml_metadata import MetadataError, read_metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.model import ProviderKind
    from gateway.provisioning.discovery import DiscoveryFetcher
    from gateway.provisioning.saml_metadata import SamlMetadata


@dataclass(frozen=True, slots=True)
class Judged:
    """``publication``: None where it was not asked for, or cannot be read. ``problems``: sentences
    that say what to mend.
    """

    publication: Discovered | SamlMetadata | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Publications:
    """``clock``: UTC epoch seconds."""

    fetcher: DiscoveryFetcher
    clock: Callable[[], float]
    development: bool

    async def discover(self, issuer: str) -> Judged:
        """An issuer that is wrong in itself is not asked: who judges the connection says why."""
        if check_issuer(issuer, kind_of_issuer(issuer), development=self.development):
            return Judged()
        try:
            return Judged(await self.fetcher.fetch(issuer))
        except PeerError as error:
            return Judged(problems=(str(error),))

    async def metadata(self, url: str | None, text: str) -> Judged:
        """SAML metadata, from ``url`` where there is one."""
        try:
            content = text if url is None else await self.fetcher.fetch_metadata(url)
            return Judged(read_metadata(content, now=self.clock(), development=self.development))
        except (PeerError, MetadataError) as error:
            return Judged(problems=(str(error),))

    async def judge_issuer(self, issuer: str, kind: ProviderKind | None) -> Judged:
        """As a plan does, before anything is known of the connection but its issuer."""
        kind = kind_of_issuer(issuer) or kind
        problem = check_issuer(issuer, kind, development=self.development)
        if problem is not None:
            return Judged(problems=(problem,))
        judged = await self.discover(issuer)
        if not isinstance(judged.publication, Discovered):
            return judged
        findings = check_discovery(
            judged.publication.document, judged.publication.keys, issuer=issuer, where=""
        )
        return Judged(judged.publication, tuple(each.message for each in findings))
