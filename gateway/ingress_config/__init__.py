"""Ready ingress configurations for one gateway configuration: ``gateway ingress render`` and the
files in ``deploy/``.
"""

from __future__ import annotations

from gateway.ingress_config.render import KINDS, RENDERED, render
from gateway.ingress_config.site import App, Site, SiteError, site_of

__all__ = ["KINDS", "RENDERED", "App", "Site", "SiteError", "render", "site_of"]
