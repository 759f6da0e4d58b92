"""Which headers of a client's request an application may receive: one table for every proxy, the doctor and the tests.

Rules:
- Applications and frameworks take more from headers than their operators know: a path, a host, a scheme, a method, an address,
  a person. Under a prefix that is used for such things a name passes only if it is known to be harmless (``HARMLESS``) or the
  operator named it (``ingress.client_headers``). Whatever nobody thought of is removed.
- ``NEVER`` names what is known to be harmful, by what it does. An operator cannot let these through. Where a proxy can remove
  exact names only, this list is what it removes.
- Names compare in lower case, and ``_``, ``.`` and every other character that is not a letter, a digit or a dash is judged by
  the proxy: such a name is removed whatever the rest of it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NEVER: Final[Mapping[str, tuple[str, ...]]] = {
    "identity": (
        # oauth2-proxy, Authelia, Authentik, Grafana, Gitea and those who follow them
        "X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Preferred-Username", "X-Auth-Request-Name", "X-Auth-Request-Groups", "X-Auth-Request-Roles",
        "X-Auth-Request-Tenant", "X-Auth-Request-Provider", "X-Auth-Request-Jwt", "X-Auth-Request-Access-Token", "X-Auth-Request-Redirect", "X-Auth-Request-User-Groups",
        "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X-Forwarded-Id-Token", "X-Forwarded-Roles",
        "Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Remote-Id", "X-Remote-User", "X-Remote-Name", "X-Remote-Email", "X-Remote-Group", "X-Remote-Groups", "X-Remote-Uid",
        "X-WebAuth-User", "X-WebAuth-Name", "X-WebAuth-Email", "X-WebAuth-Groups", "X-WebAuth-Role",
        "X-Authentik-Username", "X-Authentik-Groups", "X-Authentik-Entitlements", "X-Authentik-Email", "X-Authentik-Name", "X-Authentik-Uid", "X-Authentik-Jwt",
        "X-Vouch-User", "X-Vouch-Token", "X-Vouch-Idp-Claims", "X-Vouch-Idp-Accesstoken", "X-Vouch-Idp-Idtoken",
        "X-Token-Subject", "X-Token-User-Name", "X-Token-User-Email", "X-Token-User-Roles", "X-Token-User-Groups",
        # clouds and access proxies
        "X-Amzn-Oidc-Data", "X-Amzn-Oidc-Identity", "X-Amzn-Oidc-Accesstoken",
        "X-MS-CLIENT-PRINCIPAL", "X-MS-CLIENT-PRINCIPAL-ID", "X-MS-CLIENT-PRINCIPAL-NAME", "X-MS-CLIENT-PRINCIPAL-IDP", "X-MS-TOKEN-AAD-ID-TOKEN", "X-MS-TOKEN-AAD-ACCESS-TOKEN", "X-MS-Proxy",
        "X-Goog-Authenticated-User-Email", "X-Goog-Authenticated-User-Id", "X-Goog-Iap-Jwt-Assertion", "X-Serverless-Authorization", "X-Appengine-User-Email", "X-Appengine-User-Id",
        "X-Appengine-User-Is-Admin", "X-Appengine-Inbound-Appid", "X-Apigateway-Api-Userinfo", "X-Endpoint-Api-Userinfo",
        "Cf-Access-Authenticated-User-Email", "Cf-Access-Jwt-Assertion", "Cf-Access-Client-Id", "Cf-Access-Client-Secret", "Cf-Access-Token",
        "X-Pomerium-Jwt-Assertion", "X-Pomerium-Claim-Email", "X-Pomerium-Claim-Groups", "X-Pomerium-Claim-Sub", "X-Pomerium-Claim-User", "X-Pomerium-Claim-Name",
        "Tailscale-User-Login", "Tailscale-User-Name", "Tailscale-User-Profile-Pic", "Tailscale-Headers-Info", "Tailscale-App-Capabilities",
        "X-Consumer-Id", "X-Consumer-Username", "X-Consumer-Custom-Id", "X-Consumer-Groups", "X-Credential-Identifier", "X-Credential-Username", "X-Anonymous-Consumer",
        "X-Authenticated-User", "X-Authenticated-Userid", "X-Authenticated-Email", "X-Authenticated-Groups", "X-Authenticated-Scope", "X-Userinfo", "X-Id-Token", "X-Jwt-Assertion",
        "X-Jwt-Payload", "X-Jwt-Claims", "X-User", "X-User-Id", "X-User-Name", "X-Username", "X-User-Email", "X-User-Groups", "X-User-Roles", "X-Email", "X-Groups", "X-Roles", "X-Role", "X-Login",
        "X-Account", "X-Account-Id", "X-Tenant", "X-Tenant-Id", "X-Org-Id", "X-Scope-Orgid", "X-Identity", "X-Principal", "X-Subject", "X-Sub", "X-Uid", "X-Admin", "X-Is-Admin", "X-Impersonate-User",
        "X-Rh-Identity", "X-Plex-Username", "X-Ldap-User", "X-Ldap-Groups", "X-Saml-User", "X-Sso-User", "X-Oidc-User", "X-Auth-User", "X-Auth-Username", "X-Auth-Email", "X-Auth-Groups", "X-Auth-Roles",
        "X-Auth-Subject", "X-Auth-Userid", "X-Proxy-User", "X-Proxy-Remote-User", "X-Proxy-Roles", "X-ProxyContextPath-User", "X-Trusted-User", "X-Kubernetes-User", "X-Gateway-User", "X-OpenIDConnect-User",
        "Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-Scopes",
        # web access management and the modules of Apache
        "Iv-User", "Iv-Groups", "Iv-Creds", "Iv-User-L", "Sm-User", "SmUser", "Sm-UserDn", "Sm-Universalid", "Sm-Authtype", "Oam-Remote-User", "Osso-User-Dn", "Proxy-Remote-User", "Proxy-User",
        "Oidc-Claim-Sub", "Oidc-Claim-Email", "Oidc-Claim-Preferred-Username", "Oidc-Claim-Groups", "Oidc-Claim-Name", "Oidc-Access-Token", "Oidc-Id-Token", "Mellon-Name-Id",
        "Shib-Identity-Provider", "Shib-Session-Id", "Shib-Application-Id", "Eppn", "Persistent-Id", "Auth-User", "Auth-Type", "Auth-Email", "Authenticated-User", "Webauth-User", "Sso-User", "Cas-User",
        "User", "User-Name", "User-Id", "User-Email", "User-Groups", "User-Roles", "Username", "Userid", "Uid", "Upn", "Mail", "Email", "Groups", "Group", "Roles", "Role", "Login", "Logname", "Principal",
        "Account", "Subject", "Es-Security-Runas-User", "Kbn-User",
    ),
    "client certificate": (
        "X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info", "X-Forwarded-Client-Cert-Info", "X-Client-Cert", "X-Client-Certificate", "X-Client-Cert-Chain",
        "X-Client-Dn", "X-Client-Verify", "X-Client-Cn", "X-SSL-Client-Cert", "X-SSL-Client-Certificate", "X-SSL-Client-Verify", "X-SSL-Client-S-Dn", "X-SSL-Client-Dn", "X-SSL-Client-Cn", "X-SSL-Client-I-Dn",
        "X-SSL-Client-Serial", "X-SSL-Client-Fingerprint", "X-SSL-Client-Sha1", "X-SSL-Client", "X-SSL-Cert", "X-SSL-Issuer", "X-SSL-User", "X-Arr-Clientcert", "X-Amzn-Mtls-Clientcert",
        "X-Amzn-Mtls-Clientcert-Leaf", "X-Amzn-Mtls-Clientcert-Subject", "X-Amzn-Mtls-Clientcert-Issuer", "X-Amzn-Mtls-Clientcert-Serial-Number", "X-Goog-Client-Cert", "X-Tls-Client-Cert",
        "X-Mtls-Client-Cert", "X-Spiffe-Id", "X-Puppet-Client-Dn", "X-Client-Verified", "SSL-Client-Cert", "SSL-Client-Verify", "SSL-Client-S-Dn", "SSL-Client-S-Dn-Cn", "SSL-Client-I-Dn", "SSL-Client-M-Serial",
        "SSL-Client-Subject-Dn", "SSL-Client-Issuer-Dn", "SSL-Cert", "SSL-Session-Id", "Tls-Client-Cert", "Client-Cert", "Client-Cert-Chain", "Client-Verify", "Client-Dn", "Wl-Proxy-Client-Cert",
    ),
    "path": (
        "X-Script-Name", "Script-Name", "X-Path-Info", "Path-Info", "Path-Translated", "Script-Url", "Request-Uri", "X-Request-Uri", "X-Request-Path", "X-Request-Url", "X-Forwarded-Uri", "X-Forwarded-Url",
        "X-Forwarded-Path", "X-Forwarded-Prefix", "X-Forwarded-Context", "X-Forwarded-ContextPath", "X-Forwarded-Script-Name", "X-Forwarded-Base", "X-Forwarded-PathBase", "X-Forwarded-Request-Uri",
        "X-Forwarded-Query", "X-Forwarded-Root", "X-Original-Url", "X-Original-Uri", "X-Original-Path", "X-Original-Prefix", "X-Original-Query", "X-Original-Request-Uri", "X-Originating-Url", "X-Rewrite-Url",
        "X-Rewrite-Uri", "X-Rewritten-Url", "X-Real-Uri", "X-Real-Path", "X-Replaced-Path", "X-Http-Path-Override", "X-Http-Url-Override", "X-Path-Override", "X-Override-Url", "X-Path-Prefix", "X-Prefix",
        "X-Url-Prefix", "X-Base-Path", "X-Base-Url", "X-Base-Uri", "X-Context-Path", "X-ProxyContextPath", "X-Proxy-Path", "X-Proxy-Url", "X-Root-Path", "X-Mount-Path", "X-Path-Base", "X-Ingress-Path", "X-Ingress-Prefix",
        "X-External-Path", "X-External-Url", "X-Envoy-Original-Path", "X-Waws-Unencoded-Url", "X-Appengine-Request-Path", "X-Accel-Redirect", "X-Accel-Mapping", "X-Sendfile", "X-Sendfile-Type",
        "X-Reproxy-Url", "X-Remaining-Path", "X-Uri", "X-Url", "X-Path", "X-Dest", "X-Destination", "X-Invoke-Path", "X-Invoke-Query", "X-Matched-Path", "X-Middleware-Rewrite", "X-Middleware-Subrequest",
        "X-Middleware-Invoke", "X-Now-Route-Matches", "X-Nextjs-Data-Path", "X-RStudio-Root-Path", "X-RStudio-Request", "X-Wopi-Proxy-Path", "Base-Url", "Url", "Uri", "Redirect",
    ),
    "scheme and host": (
        "Forwarded", "X-Forwarded", "X-Forwarded-Proto", "X-Forwarded-Protocol", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Forwarded-Https", "X-Forwarded-Port", "X-Forwarded-Host", "X-Forwarded-Server",
        "X-Forwarded-By", "X-Forwarded-Host-Override", "X-Forwarded-Origin", "X-Url-Scheme", "X-Scheme", "X-Proto", "X-Protocol", "X-Https", "X-Ssl", "X-Request-Scheme", "X-Request-Proto", "X-Original-Proto", "X-Original-Scheme",
        "X-Original-Host", "X-Original-Port", "X-Host", "X-Http-Host", "X-Http-Host-Override", "X-Host-Override", "X-Real-Host", "X-Proxy-Host", "X-External-Host", "X-Backend-Host", "X-Orig-Host", "X-Server-Name", "X-Server-Port",
        "Front-End-Https", "X-Front-End-Https", "X-Arr-Ssl", "X-Arr-Log-Id", "X-Site-Deployment-Id", "X-Disguised-Host", "X-WAWS-Host", "Cf-Visitor", "Cloudfront-Forwarded-Proto", "Https", "Server-Name", "Server-Port", "Url-Scheme",
        "Wl-Proxy-Ssl", "Ssl-Protocol", "Ssl-Cipher", "Fastly-Ssl", "Fastly-Host",
    ),
    "client address": (
        "X-Forwarded-For", "X-Forwarded-For-Original", "X-Forwarded-Client-Ip", "X-Forwarded-For-Ip", "X-Forward-For", "X-Forward", "X-Real-Ip", "X-Real-Port", "X-Client-Ip", "X-Client-Address", "X-Cluster-Client-Ip", "X-Original-Forwarded-For",
        "X-Originating-Ip", "X-Original-Remote-Addr", "X-Originally-Forwarded-For", "X-Remote-Ip", "X-Remote-Addr", "X-Remote-Host", "X-Proxyuser-Ip", "X-Azure-ClientIp", "X-Azure-SocketIp", "X-Azure-Ref", "X-Appengine-User-Ip",
        "X-Appengine-Remote-Addr", "X-Trusted-Ip", "X-Source-Ip", "X-Sourceip", "X-User-Ip", "X-Ip", "X-Ip-Trail", "X-Custom-Ip-Authorization", "X-True-Client-Ip", "X-Cf-Connecting-Ip", "X-Envoy-External-Address",
        "X-Envoy-Internal", "X-Nginx-Proxy", "X-Bluecoat-Via", "X-Vercel-Forwarded-For", "X-Vercel-Ip-Country", "X-Nf-Client-Connection-Ip", "X-Sakura-Forwarded-For", "True-Client-Ip", "Cf-Connecting-Ip", "Cf-Connecting-Ipv6",
        "Cf-Pseudo-Ipv4", "Cf-Ipcountry", "Cf-Ray", "Cf-Worker", "Fastly-Client-Ip", "Fly-Client-Ip", "Fly-Forwarded-Port", "Ali-Cdn-Real-Ip", "Cdn-Src-Ip", "Cdn-Real-Ip", "Incap-Client-Ip", "Cloudfront-Viewer-Address", "Client-Ip",
        "Cluster-Client-Ip", "Real-Ip", "Remote-Addr", "Remote-Host", "Remote-Port", "Remote-Ip", "Source-Ip", "Forwarded-For", "Forwarded-For-Ip", "Forwarded-Host", "Forwarded-Proto", "Proxy-Client-Ip", "Wl-Proxy-Client-Ip",
        "Http-Client-Ip", "Http-X-Forwarded-For", "Ns-Client-Ip", "Rlnclientipaddr", "Via-Ip",
    ),
    "method": (
        "X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Method", "X-Request-Method", "X-Original-Method", "X-Forwarded-Method", "X-Verb", "Http-Method-Override", "Method-Override", "Method",
    ),
    "routing": (
        "Http2-Settings", "Proxy", "Proxy-Connection", "X-Gateway-Key", "X-Auth-Reason", "X-Envoy-Auth-Headers-To-Remove", "X-Envoy-Upstream-Rq-Timeout-Ms", "X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms",
        "X-Envoy-Upstream-Alt-Stat-Name", "X-Envoy-Retry-On", "X-Envoy-Max-Retries", "X-Envoy-Decorator-Operation", "X-Envoy-Force-Trace", "X-Envoy-Ip-Tags", "X-Envoy-Original-Dst-Host", "X-Envoy-Peer-Metadata",
        "X-Envoy-Peer-Metadata-Id", "X-Istio-Attributes", "X-Upstream", "X-Backend", "X-Backend-Server", "X-Route", "X-Route-To", "X-Forward-To", "X-Proxy-To", "X-Target", "X-Target-Url", "X-Cluster", "X-Service",
        "X-Version-Override", "X-Debug", "X-Debug-Token", "X-Test", "X-Internal", "X-Internal-Request", "X-Trusted", "X-Bypass-Cache", "X-Varnish", "X-Cache-Key", "X-Esi", "Surrogate-Capability", "L5d-Dtab", "L5d-Dst-Override",
        "L5d-Ctx-Deadline", "Fastly-Ff", "Cdn-Loop", "X-Middleware-Prefetch", "X-Prerender-Revalidate", "X-Clockwork", "X-Kong-Debug",
    ),
}  # fmt: skip
"""What a header does for whoever believes it → its names. Spelled for the reader; compared in lower case."""

PREFIXES: Final = (
    "x", "remote", "auth", "authenticated", "authentik", "forwarded", "original", "originating", "real", "rewrite", "client", "cluster", "true", "source", "front", "script", "path",
    "request", "server", "url", "proxy", "wl", "ns", "http", "https", "ssl", "tls", "method", "user", "identity", "principal", "account", "impersonate", "tailscale", "oidc", "oauth", "saml",
    "shib", "mellon", "sso", "cas", "sm", "iv", "oam", "osso", "webauth", "jwt", "cf", "cloudfront", "cdn", "fastly", "fly", "ali", "incap", "akamai", "azure", "vercel",
    "pomerium", "vouch", "consumer", "l5d", "istio", "es-security", "surrogate",
)  # fmt: skip
"""A name that begins with one of these and a dash passes only if it is listed."""

HARMLESS: Final = (
    "User-Agent", "X-Requested-With",
    # tokens against cross-site request forgery, and credentials that the application checks itself
    "X-CSRF-Token", "X-CSRFToken", "X-XSRF-Token", "X-XSRFToken", "X-Frappe-CSRF-Token", "X-Atlassian-Token", "X-WP-Nonce", "X-Api-Key", "X-Auth-Token", "X-Access-Token",
    # which client asks, and in which trace
    "X-Request-Id", "X-Correlation-Id", "X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId", "X-B3-Sampled", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context", "Request-Id", "Request-Context",
    "X-Client-Version", "X-Api-Version", "X-App-Version", "X-Timezone",
    # how frameworks ask for a part of a page
    "X-PJAX", "X-PJAX-Container", "X-Inertia", "X-Inertia-Version", "X-Inertia-Partial-Component", "X-Inertia-Partial-Data", "X-Livewire", "X-Socket-Id", "X-Turbo-Request-Id",
    "X-Up-Version", "X-Up-Target", "X-Up-Mode", "X-Up-Fail-Target", "X-Up-Fail-Mode", "X-Nextjs-Data", "X-GWT-Permutation", "X-GWT-Module-Base", "X-MicrosoftAjax", "X-Grpc-Web", "X-User-Agent",
    # uploads, and what programs that many run cannot do without
    "X-File-Name", "X-File-Size", "X-Upload-Content-Type", "X-Upload-Content-Length", "X-OC-Mtime", "X-Grafana-Org-Id", "X-Grafana-Device-Id", "X-Elastic-Internal-Origin",
    "X-File-Type", "X-File-Last-Modified", "X-Mime-Type", "X-Chunk-Index", "X-Chunk-Size", "X-Total-Chunks", "X-Upload-Id", "X-Content-Length", "X-Content-Range", "X-Checksum-Md5", "X-Checksum-Sha1",
    "X-Checksum-Sha256", "X-Checksum-Deploy", "X-OC-Ctime", "X-NC-WebDAV-AutoMkcol",
    # more tokens that the application checks itself, and more of how pages ask
    "X-Requested-By", "X-Request-Token", "Request-Token", "X-RequestDigest", "X-XSRF-Header", "X-CSRF", "X-Csrf-Protection", "X-API-CSRF", "X-Auth", "X-Authorization", "X-Authentication-Scheme", "X-Token",
    "X-Session-Token", "X-Session-Id", "X-Api-Token", "X-ApiKey", "OAuth-Token", "X-Registry-Auth", "X-Idempotency-Key", "X-Fields", "X-Page", "X-Per-Page", "X-Disable-Pagination", "X-Ajax", "X-Locale",
    "X-Language", "X-Time-Zone", "X-Timezone-Offset", "X-Client-Name", "X-Client-Info", "X-Client-Request-Id", "Client-Request-Id", "X-RequestId", "X-App-Name", "X-Application", "X-Platform", "X-Version",
    "X-Device-Id", "X-Trace-Id", "X-Span-Id", "X-B3-Flags", "X-Datadog-Trace-Id", "X-Datadog-Parent-Id", "X-Datadog-Origin", "X-Datadog-Sampling-Priority", "X-Sentry-Auth", "X-SignalR-User-Agent",
    "X-Inertia-Partial-Except", "X-Inertia-Error-Bag", "X-Inertia-Reset", "X-Livewire-Navigate", "X-October-Request-Handler", "X-October-Request-Partials", "X-Up-Context", "X-Up-Fail-Context",
    "X-Up-Validate", "X-SvelteKit-Action", "X-Deployment-Id", "X-TRPC-Source", "X-Apollo-Operation-Name", "X-Apollo-Operation-Id", "X-XHR-Logon", "X-Webhook-Signature", "X-Hub-Signature",
    "X-Hub-Signature-256", "X-GitHub-Event", "X-GitHub-Delivery", "X-Gitlab-Event", "X-Gitlab-Token",
    # Mercurial, Subversion, NuGet, S3, Azure Storage, Kubernetes
    "X-HgArg-1", "X-HgArg-2", "X-HgArg-3", "X-HgArg-4", "X-HgArg-5", "X-HgArg-6", "X-HgArg-7", "X-HgArg-8", "X-HgArgs-Post", "X-HgProto-1", "X-HgProto-2", "X-SVN-Options", "X-SVN-Version-Name",
    "X-SVN-Base-Fulltext-MD5", "X-SVN-Result-Fulltext-MD5", "X-SVN-VR-Base", "X-NuGet-ApiKey", "X-NuGet-Client-Version", "X-NuGet-Protocol-Version", "X-NuGet-Session-Id", "X-Amz-Acl",
    "X-Amz-Checksum-CRC32", "X-Amz-Checksum-CRC32C", "X-Amz-Checksum-SHA256", "X-Amz-Content-SHA256", "X-Amz-Date", "X-Amz-Decoded-Content-Length", "X-Amz-Sdk-Checksum-Algorithm", "X-Amz-Security-Token",
    "X-Amz-Storage-Class", "X-Amz-Tagging", "X-Amz-Target", "X-Amz-Trailer", "X-Amz-User-Agent", "X-Ms-Version", "X-Ms-Date", "X-Ms-Blob-Type", "X-Ms-Client-Request-Id", "X-Stream-Protocol-Version",
    # Transmission, Jellyfin, Plex, Metabase, Vault, Grafana, CouchDB, Qlik, Icinga, Gerrit and others
    "X-Transmission-Session-Id", "X-Emby-Authorization", "X-Emby-Token", "X-MediaBrowser-Token", "X-Plex-Token", "X-Plex-Client-Identifier", "X-Plex-Product", "X-Plex-Version", "X-Plex-Platform",
    "X-Plex-Platform-Version", "X-Plex-Device", "X-Plex-Device-Name", "X-Plex-Model", "X-Plex-Features", "X-Plex-Language", "X-Plex-Session-Identifier", "X-Plex-Container-Start", "X-Plex-Container-Size",
    "X-Plex-Text-Format", "X-Plex-Drm", "X-Metabase-Session", "X-Metabase-Client", "X-Metabase-Anti-CSRF-Token", "X-Vault-Token", "X-Vault-Request", "X-Vault-Wrap-TTL", "X-Consul-Token", "X-Nomad-Token",
    "X-Redmine-API-Key", "X-Dashboard-Id", "X-Dashboard-Uid", "X-Panel-Id", "X-Panel-Plugin-Id", "X-Datasource-Uid", "X-Plugin-Id", "X-Query-Group-Id", "X-Cache-Skip", "X-CouchDB-Full-Commit",
    "X-CouchDB-WWW-Authenticate", "X-Opaque-Id", "X-Elastic-Product-Origin", "X-Elastic-Client-Meta", "X-Qlik-Xrfkey", "X-Icinga-WindowId", "X-Icinga-Container", "X-Icinga-Accept", "X-Icinga-Autorefresh",
    "X-Gerrit-Auth", "X-TC-CSRF-Token", "X-JFrog-Art-Api", "X-Nexus-UI", "X-Harbor-CSRF-Token", "X-Graylog-No-Session-Extension", "X-Splunk-Form-Key", "X-Rundeck-Ajax", "X-Rundeck-Auth-Token",
    "X-Roundcube-Request", "X-Zimbra-Csrf-Token", "X-SYNO-Token", "X-OpenHAB-Token", "X-Gotify-Key", "X-FTL-SID", "X-FTL-CSRF", "X-ND-Authorization", "X-ND-Client-Unique-Id", "X-Immich-Checksum",
    "X-Sonarr-Client", "X-Radarr-Client", "X-Prowlarr-Client", "X-Parse-Application-Id", "X-Parse-Session-Token", "X-Parse-Installation-Id", "X-Appwrite-Project", "X-Appwrite-Response-Format",
    "X-Supabase-Api-Version", "X-Editor-Version", "X-Browser-Fingerprint", "X-Phabricator-Csrf", "X-Phabricator-Via", "X-Force-Accept-Language", "X-MS-PolicyKey", "X-RequestType", "X-ClientInfo",
    "X-ClientApplication", "X-OWA-Canary", "X-Office-Version", "X-Office-Major-Version", "X-FeatureVersion",
)  # fmt: skip
"""Names below ``PREFIXES`` that no application takes for a person, a path, a host, an address or a method."""

ORDINARY: Final = (
    # RFC 9110, 9111, 9112, 6265, 6455 and what browsers add
    "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Accept-Datetime", "Accept-Features", "Accept-Patch", "Accept-Post", "Accept-Ranges", "Access-Control-Request-Headers", "Access-Control-Request-Method",
    "Access-Control-Request-Private-Network", "Alt-Used", "Authorization", "Cache-Control", "Content-Digest", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Location", "Content-MD5", "Content-Range",
    "Content-Type", "Date", "Digest", "DNT", "Early-Data", "ETag", "Expires", "From", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Last-Event-ID", "Last-Modified", "Link", "Max-Forwards",
    "MIME-Version", "Origin", "Pragma", "Prefer", "Priority", "Range", "Referer", "Repr-Digest", "Save-Data", "Sec-CH-UA", "Sec-CH-UA-Arch", "Sec-CH-UA-Bitness", "Sec-CH-UA-Form-Factors", "Sec-CH-UA-Full-Version",
    "Sec-CH-UA-Full-Version-List", "Sec-CH-UA-Mobile", "Sec-CH-UA-Model", "Sec-CH-UA-Platform", "Sec-CH-UA-Platform-Version", "Sec-CH-UA-WoW64", "Sec-CH-Prefers-Color-Scheme", "Sec-CH-Prefers-Reduced-Motion",
    "Sec-CH-Prefers-Reduced-Transparency", "Sec-CH-Viewport-Width", "Sec-CH-Width", "Sec-CH-DPR", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-Storage-Access", "Sec-Fetch-User", "Sec-GPC", "Sec-Purpose",
    "Sec-WebSocket-Extensions", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol", "Sec-WebSocket-Version", "Service-Worker", "Service-Worker-Navigation-Preload", "Signature", "Signature-Input", "Upgrade-Insecure-Requests", "Via",
    "Want-Content-Digest", "Want-Digest", "Want-Repr-Digest", "Width", "Viewport-Width", "DPR", "Device-Memory", "Downlink", "ECT", "RTT", "Purpose", "Ping-From", "Ping-To", "Attribution-Reporting-Eligible", "Available-Dictionary",
    # WebDAV, CalDAV, CardDAV (RFC 4918, 3253, 3648, 6638, 7809)
    "Depth", "Destination", "If", "Lock-Token", "Overwrite", "Timeout", "Apply-To-Redirect-Ref", "Brief", "CalDAV-Timezones", "DAV", "If-Schedule-Tag-Match", "Label", "Ordering-Type", "Position", "Redirect-Ref", "Schedule-Reply",
    "SLUG", "Translate", "Notification-Type", "Subscription-Id", "Subscription-Lifetime", "MS-ASProtocolVersion", "MS-Author-Via",
    # how a trace is carried on
    "Traceparent", "Tracestate", "Baggage", "B3", "Sentry-Trace", "Uber-Trace-Id", "Correlation-Context", "Newrelic", "Elastic-Apm-Traceparent",
    # parts of pages: htmx, Turbo, Next.js, Wicket, JSF and others
    "HX-Request", "HX-Boosted", "HX-Current-URL", "HX-History-Restore-Request", "HX-Prompt", "HX-Target", "HX-Trigger", "HX-Trigger-Name", "Turbo-Frame", "Turbolinks-Referrer", "RSC", "Next-Action", "Next-Router-Prefetch",
    "Next-Router-Segment-Prefetch", "Next-Router-State-Tree", "Next-Url", "Datastar-Request", "Wicket-Ajax", "Wicket-Ajax-BaseURL", "Wicket-FocusedElementId", "Faces-Request", "Remix-Request", "Purchase-Id",
    # APIs: idempotency, GraphQL, gRPC-Web, OData, SOAP, tus, git, containers, webhooks
    "Idempotency-Key", "Api-Key", "Apikey", "Token", "Access-Token", "Session-Token", "Private-Token", "Job-Token", "Deploy-Token", "CSRF-Token", "XSRF-Token", "RequestVerificationToken", "Requesttoken", "Anti-Csrf-Token",
    "Apollo-Require-Preflight", "Apollographql-Client-Name", "Apollographql-Client-Version", "GraphQL-Preflight", "GraphQL-Require-Preflight", "Grpc-Timeout", "Grpc-Encoding", "Grpc-Accept-Encoding", "Connect-Protocol-Version",
    "Connect-Timeout-Ms", "OData-Version", "OData-MaxVersion", "OData-Isolation", "DataServiceVersion", "MaxDataServiceVersion", "SOAPAction", "Tus-Resumable", "Upload-Checksum", "Upload-Concat", "Upload-Complete",
    "Upload-Defer-Length", "Upload-Draft-Interop-Version", "Upload-Length", "Upload-Metadata", "Upload-Offset", "Git-Protocol", "Docker-Content-Digest", "Docker-Upload-UUID", "Webhook-Id", "Webhook-Signature", "Webhook-Timestamp",
    "Stripe-Signature", "Api-Version", "Mcp-Session-Id", "MCP-Protocol-Version",
    # applications that many run: Jenkins, Kibana, Nextcloud, Nexus, Vaultwarden, Plex, GitLab
    "Jenkins-Crumb", "Kbn-Xsrf", "Kbn-Version", "Kbn-System-Request", "Kbn-Build-Number", "Osd-Xsrf", "Osd-Version", "NX-Anti-CSRF-Token", "OCS-APIRequest", "OC-Checksum", "OC-Total-Length", "OC-Chunked", "OC-Chunk-Size",
    "OC-Chunk-Offset", "OC-Autorename", "OC-LazyOps", "OC-Tag", "Bitwarden-Client-Name", "Bitwarden-Client-Version", "Device-Type", "Is-Prerelease", "If-None-Match-Else-Update", "Icy-MetaData",
    "Device-Identifier", "Device-Name", "Node-RED-API-Version", "Node-RED-Deployment-Type", "Marimo-Session-Id", "Marimo-Server-Token", "CSRFPreventionToken", "Guacamole-Token", "App-Token", "Push-Ref", "Browser-Id", "Xc-Auth", "Xc-Token", "Xc-Gui",
    "Discourse-Present", "Discourse-Logged-In", "Discourse-Track-View", "Npm-Command", "Npm-Session", "Npm-Scope", "Npm-Auth-Type", "Npm-Otp", "Accept-Profile", "Content-Profile", "OpenStack-API-Version",
    "Kubectl-Command", "Kubectl-Session", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request", "Upload-Name", "TRPC-Accept", "Precognition", "Precognition-Validate-Only", "Next-HMR-Refresh", "ZK-SID",
    "Sap-ContextId-Accept", "Sap-Cancel-On-Close", "Qlik-Csrf-Token", "Return-Client-Request-Id", "Seafile-Repo-Token", "Store", "Hasura-Client-Name", "Elastic-Api-Version", "Docker-Distribution-Api-Version",
)  # fmt: skip
"""Names outside of ``PREFIXES`` that ordinary clients send. Only nginx needs them: it cannot remove by pattern, so it passes nothing but a list."""

IDENTITY: Final = (*NEVER["identity"], *NEVER["client certificate"])
"""Names by which applications and proxies take somebody's identity."""
OVERRIDES: Final = tuple(name for kind, names in NEVER.items() if kind not in {"identity", "client certificate"} for name in names)
"""Names by which a request is taken for another one: path, host, scheme, address, method, route."""
_NEVER: Final = frozenset(name.lower() for names in NEVER.values() for name in names)


MAX_PATTERN_CHARS: Final = 1000
"""Envoy Gateway's custom resource takes 1,024 characters of a pattern, a line of HAProxy's configuration 2,048."""


def is_never_passed(name: str) -> bool:
    """Whether ``name`` is known to be harmful, so that no operator can let it through."""
    return name.lower() in _NEVER


def is_suspicious(name: str) -> bool:
    """Whether ``name`` passes only if it is listed."""
    lowered = name.lower()
    return any(lowered.startswith(f"{prefix}-") for prefix in PREFIXES)


def removal_patterns(passed: Iterable[str]) -> tuple[str, ...]:
    """Regular expressions, to be matched against the whole of a name in lower case: everything below ``PREFIXES`` but ``passed``.

    Without lookahead, so that RE2 (Envoy, Traefik) takes them, and without two ways to match anything, so that engines that
    backtrack are linear too: the names are spelled out as a tree, and what leaves the tree is removed. Each has at most
    ``MAX_PATTERN_CHARS`` characters.
    """
    known = sorted({name.lower() for name in passed})
    closed = [prefix for prefix in PREFIXES if not any(name.startswith(f"{prefix}-") for name in known)]
    parts = [f"(?:{'|'.join(closed)})-.*"] if closed else []
    for prefix in PREFIXES:
        if prefix not in closed:
            parts += _split(f"{prefix}-", [name.removeprefix(f"{prefix}-") for name in known if name.startswith(f"{prefix}-")])
    return packed(parts)


def packed(expressions: Iterable[str]) -> tuple[str, ...]:
    """The same alternatives in few expressions of at most ``MAX_PATTERN_CHARS`` characters."""
    lines: list[str] = []
    for expression in expressions:
        if lines and len(lines[-1]) + len(expression) < MAX_PATTERN_CHARS:
            lines[-1] += f"|{expression}"
        else:
            lines.append(expression)
    return tuple(lines)


def _split(path: str, words: list[str]) -> list[str]:
    """Expressions of every string that begins with ``path`` and does not go on as one of ``words``; more than one where one is too long."""
    whole = f"{path}(?:{_other_than(words)})"
    if len(whole) < MAX_PATTERN_CHARS:
        return [whole]
    heads = sorted({word[0] for word in words if word})
    ends = "" if "" in words else "|"
    branches = (_split(f"{path}{head}", [word[1:] for word in words if word.startswith(head)]) for head in heads)
    return [f"{path}(?:{_not_in(heads)}.*{ends})", *(part for parts in branches for part in parts)]


def _other_than(words: list[str]) -> str:
    """Regular expression of every string that is none of ``words``."""
    heads = sorted({word[0] for word in words if word})
    if not heads:
        return ".+"
    branches = [f"{head}(?:{_other_than([word[1:] for word in words if word.startswith(head)])})" for head in heads]
    return "|".join([f"{_not_in(heads)}.*", *branches, *([] if "" in words else [""])])


def _not_in(heads: list[str]) -> str:
    return f"[^{''.join(head for head in heads if head != '-')}{'-' if '-' in heads else ''}]"
