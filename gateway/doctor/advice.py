"""The line to change, for every finding and every proxy. One literal; the table in
docs/operator/ingress.md is held to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

RENDER = "Easiest: `gateway ingress render` writes a configuration without this finding."


@dataclass(frozen=True, slots=True)
class Advice:
    """``general`` where the proxy is not known; ``lines`` by dialect."""

    title: str
    general: str
    lines: Mapping[str, str] = field(default_factory=dict)


ADVICE: Final[Mapping[str, Advice]] = {
    "not_asked": Advice(
        "A path is served without asking the gateway",
        (
            "Ask the gateway for every path of the host; open single paths with `allow: "
            "everyone` in the tenant's rules."
        ),
        {
            "nginx": (
                "Put `auth_request /_gateway_check;` into the server block, and no `return` or "
                "`rewrite` into a location that should ask: they run before it."
            ),
            "traefik": (
                "Give every router of the host the forwardAuth middleware, the more specific "
                "ones too."
            ),
            "caddy": (
                "Put `forward_auth` into a `route` block before every `reverse_proxy`, "
                "`respond` and `file_server` of the host."
            ),
            "envoy": (
                "Remove the per-route `ExtAuthzPerRoute: {disabled: true}` of everything but "
                "`/_auth/`."
            ),
            "haproxy": (
                "`http-request lua.gateway_ask` must stand before every `http-request return`, "
                "`redirect` and `use-service` of the frontend."
            ),
        },
    ),
    "let_through": Advice(
        "The gateway said no and the client got in",
        "The ingress must pass nothing on unless the check answered 200.",
        {
            "nginx": (
                "No `error_page 401 = …` or `403` may lead to a location that proxies to the "
                "application."
            ),
            "envoy": "`failure_mode_allow: false`.",
        },
    ),
    "gateway_unreachable": Advice(
        "The gateway could not be asked",
        "Look at the ingress's error log and at `listen.check`; nothing gets in meanwhile.",
    ),
    "key_missing": Advice(
        "The check is asked without the ingress key",
        "Send one of `ingress.keys` as X-Gateway-Key with every check.",
        {
            "nginx": 'In the check\'s location: `proxy_set_header X-Gateway-Key "…";`',
            "traefik": (
                "A `headers` middleware with `customRequestHeaders: {X-Gateway-Key: …}` before "
                "forwardAuth, and X-Gateway-Key in authRequestHeaders and authResponseHeaders."
            ),
            "caddy": "In forward_auth: `header_up X-Gateway-Key …`",
            "envoy": "`authorization_request: {headers_to_add: [{key: x-gateway-key, value: …}]}`",
            "haproxy": "`KEY` in gateway.lua.",
        },
    ),
    "not_understood": Advice(
        "The gateway cannot read what the ingress tells it",
        "X-Forwarded-Method, -Proto, -Host and -Uri must each be sent exactly once by the ingress.",
    ),
    "path_rewritten": Advice(
        "The gateway is asked about another path than the client's",
        "Ask before any rewriting; rules are written for the path that the browser shows.",
        {
            "traefik": (
                "forwardAuth must be the first middleware of the router, before stripPrefix, "
                "addPrefix and replacePath."
            ),
            "caddy": (
                "Use a `route` block and write `uri strip_prefix` (or `handle_path`) after "
                "forward_auth."
            ),
            "nginx": "`proxy_set_header X-Forwarded-Uri $request_uri;` in the check's location.",
        },
    ),
    "facts_wrong": Advice(
        "The gateway is told a wrong host, scheme or method",
        "Take them from the connection, not from the client.",
        {
            "nginx": (
                "`proxy_set_header X-Forwarded-Host $host;`, `X-Forwarded-Proto $scheme;`, "
                "`X-Forwarded-Method $request_method;` in the check's location."
            )
        },
    ),
    "login_lost": Advice(
        "A person without a session is not sent to the login",
        "Pass status and Location of the check on to the client.",
        {
            "nginx": (
                "`auth_request_set $gw_location $upstream_http_location;` and `error_page 401 "
                "= @gateway_login;` that returns 302 to it."
            ),
            "traefik": "`preserveLocationHeader: true`.",
        },
    ),
    "pages_asked": Advice(
        "The gateway's own pages do not work",
        (
            "Send `/_auth/` of every protected host to `listen.public`, without asking the "
            "check (except `/_auth/doctor`)."
        ),
    ),
    "body_hangs": Advice(
        "A request with a body waits for the check",
        "The client's body and its length must not go to the check.",
        {
            "nginx": (
                '`proxy_pass_request_body off;` and `proxy_set_header Content-Length "";` in '
                "the check's location."
            ),
            "traefik": "`forwardBody: false`.",
        },
    ),
    "forged_facts": Advice(
        "A client can choose what the gateway is asked about",
        (
            "The ingress must overwrite X-Forwarded-Method, -Proto, -Host and -Uri of the "
            "check, and drop every alias."
        ),
        {
            "nginx": (
                "`proxy_pass_request_headers off;` in the check's location, and all four set "
                "there with proxy_set_header."
            ),
            "traefik": (
                "`forwardedHeaders: {insecure: false, trustedIPs: []}` on the entry point and "
                "`trustForwardHeader: false`."
            ),
            "caddy": "No `trusted_proxies` that contains clients.",
            "envoy": (
                "`/auth/envoy` reads none of them; ask there, and list x-forwarded-proto only "
                "where Envoy sets it."
            ),
            "haproxy": (
                "Build the headers of the check from `txn.sf`, never from the request's headers."
            ),
        },
    ),
    "location_missing": Advice(
        "There is no test location",
        (
            "Render the configuration again: it sends `/_auth/doctor` to `listen.public` the "
            "way it sends requests to applications."
        ),
    ),
    "location_unasked": Advice(
        "The test location is reached without asking",
        (
            "`/_auth/doctor` must be asked about, unlike the rest of `/_auth/`; if it is like "
            "the applications' locations, these are open too."
        ),
    ),
    "identity_forged": Advice(
        "A client can send identity headers to applications",
        "Remove every managed header that a client sends, before the gateway's values are set.",
        {
            "nginx": (
                "For every managed header: `auth_request_set $v $upstream_http_…;` and "
                "`proxy_set_header … $v;`. A location with a proxy_set_header of its own "
                "inherits none."
            ),
            "traefik": "List every managed header in authResponseHeaders.",
            "caddy": (
                "`request_header -NAME` for every managed header before forward_auth, and all "
                "of them in copy_headers."
            ),
            "envoy": (
                "A header_mutation filter before ext_authz that removes every managed header; "
                "an answer without one leaves the client's."
            ),
            "haproxy": (
                "`http-request del-header NAME` for every managed header before the action; "
                "`set-header … if found` alone leaves the client's."
            ),
        },
    ),
    "identity_lost": Advice(
        "Identity does not reach the application",
        "Hand every managed header of the check's answer on.",
        {
            "envoy": "`allowed_upstream_headers`.",
            "traefik": "`authResponseHeaders`.",
            "caddy": "`copy_headers`.",
        },
    ),
    "identity_alias": Advice(
        "Aliases of identity headers reach applications",
        (
            "WSGI, PHP, FastCGI and others fold `_`, `.` and more onto `-`: remove every "
            "header whose name holds anything but letters, digits and dashes."
        ),
        {
            "nginx": (
                "`underscores_in_headers off;` and `ignore_invalid_headers on;` in the http block."
            ),
            "traefik": "`aliasHeadersStrategy: delete` on the entry point (3.7.13 and later).",
            "caddy": 'One `request_header "-*CHARACTER*"` per odd character.',
            "envoy": (
                "`headers_with_underscores_action: REJECT_REQUEST` and a header_mutation "
                "`remove_on_match` of `.*[^a-z0-9:-].*`."
            ),
            "haproxy": "`option http-restrict-req-hdr-names delete`.",
        },
    ),
    "connection_strips": Advice(
        "A client can remove identity headers by naming them in Connection",
        "Remove the client's Connection header before the identity is set.",
        {
            "caddy": (
                "`request_header -Connection` before forward_auth (and set it again for "
                "WebSockets only)."
            ),
            "haproxy": "`http-request del-header Connection`.",
        },
    ),
    "foreign_identity": Advice(
        "Identity headers of other gateways reach applications",
        (
            "An application may trust X-Forwarded-User or Remote-User though nothing here sets "
            "it: remove them all."
        ),
    ),
    "path_headers": Advice(
        "Headers that move the path reach applications",
        (
            "An application that takes its path from such a header serves another page than "
            "the one that was asked about. Remove X-Script-Name, X-Original-URL and every "
            "other name of this kind, as the rendered configuration does."
        ),
    ),
    "foreign_words": Advice(
        "Words of other proxies reach applications",
        (
            "Remove X-Original-URL, X-HTTP-Method-Override, Forwarded and their like: "
            "applications route by them after the check."
        ),
    ),
    "key_in_app": Advice(
        "The ingress key reaches applications",
        "Whoever reads it there can ask the check as the ingress.",
        {
            "traefik": (
                "X-Gateway-Key in authResponseHeaders: Traefik removes what the answer does "
                "not hold."
            ),
            "nginx": '`proxy_set_header X-Gateway-Key "";`',
        },
    ),
    "cookie_in_app": Advice(
        "The session cookie reaches applications",
        (
            "An application that logs its requests then logs sessions: remove the gateway's "
            "cookies from Cookie, as the rendered configuration does."
        ),
    ),
    "app_password_in_app": Advice(
        "App passwords reach applications",
        (
            "An application that logs its requests then logs people's passwords: Authorization "
            "has to come from the check's answer, and to go where that has none, as in the "
            "rendered configuration."
        ),
        {
            "nginx": (
                "`auth_request_set $gw_authorization $upstream_http_authorization` and "
                "`proxy_set_header Authorization $gw_authorization`."
            ),
            "traefik": (
                "Authorization in authResponseHeaders: Traefik removes what the answer does "
                "not hold."
            ),
            "caddy": "Authorization in copy_headers.",
            "envoy": (
                "`{exact: authorization}` in allowed_upstream_headers; where nothing is left "
                "the answer asks for the removal."
            ),
            "haproxy": "Render again: the action replaces it.",
        },
    ),
    "cookies_lost": Advice(
        "Applications lose their own cookies", "Remove the gateway's cookies only."
    ),
    "upgrade_relayed": Advice(
        "An Upgrade other than websocket is relayed",
        (
            "Relay the literal `websocket`, and only where the client's one Upgrade line says "
            "exactly that: lists and second lines are ways around the comparison."
        ),
        {
            "nginx": (
                'map $http_upgrade $gw_upgrade { default ""; "~*^websocket$" websocket; } and '
                "`proxy_set_header Upgrade $gw_upgrade;`"
            ),
            "traefik": (
                "Traefik 3.7 relays a single exact value; an older one, or a plugin, may relay "
                "more."
            ),
            "caddy": (
                "`request_header -Upgrade`, then `request_header @websocket Upgrade "
                "websocket`: the matcher is true when any line fits, and the first is relayed."
            ),
            "envoy": (
                "`upgrade_configs: [{upgrade_type: websocket}]` and no other; no `allow_connect`."
            ),
            "haproxy": (
                "`http-request del-header Upgrade`, then `set-header Upgrade websocket` where "
                "`req.fhdr_cnt(Upgrade)` is 1 and `req.fhdr(Upgrade)` is websocket: `req.hdr` "
                "is true for any item of a list."
            ),
        },
    ),
    "websocket_lost": Advice(
        "WebSockets do not work",
        "Relay Upgrade: websocket with Connection: upgrade.",
        {
            "nginx": (
                "`proxy_http_version 1.1;` and `proxy_set_header Upgrade`/`Connection` from maps."
            ),
            "envoy": "`upgrade_configs: [{upgrade_type: websocket}]`.",
        },
    ),
    "small_head": Advice(
        "A large identity does not fit",
        "Give the check's answer 16 kB for its head.",
        {
            "nginx": (
                "`proxy_buffer_size 16k;`, `proxy_buffers 8 16k;`, `proxy_busy_buffers_size 32k;`"
            ),
            "haproxy": "`tune.bufsize 65536`.",
        },
    ),
    "path_confusion": Advice(
        "Gateway and application are told different paths",
        "Hand the application the same raw path that the gateway was asked about.",
        {
            "nginx": (
                "`proxy_pass http://upstream;` without anything after the name, so that the "
                "raw path goes on."
            ),
            "envoy": "`normalize_path: true` before ext_authz, and no rewriting route.",
        },
    ),
    "host_confusion": Advice(
        "Gateway and application are told different hosts",
        (
            "Hand the application the host that the gateway was asked about: with a target in "
            "absolute form the Host header may be another."
        ),
        {
            "nginx": (
                "`proxy_set_header Host $host;` (with the port, if need be), never `$http_host`."
            )
        },
    ),
    "absolute_form": Advice(
        "Targets in absolute form reach applications",
        (
            "An application may take host or path from a target such as http://user@host/path: "
            "hand on the path and the query only."
        ),
        {"haproxy": "`http-request set-uri %[pathq]`."},
    ),
    "trailers_relayed": Advice(
        "Trailers reach applications",
        (
            "Header lines after a body pass every rule for headers unread, and some servers "
            "take them for headers: drop them."
        ),
        {"haproxy": "Refuse requests that have any, as the rendered gateway.lua does."},
    ),
    "control_bytes": Advice(
        "NUL, CR or LF in a header value is relayed",
        "Servers disagree on where such a value ends (RFC 9110 §5.5): refuse the request.",
        {
            "haproxy": (
                "Refuse values that hold control characters before anything else is asked, as "
                "the rendered gateway.lua does."
            )
        },
    ),
    "fails_open": Advice(
        "A request passes although the check failed",
        (
            "Only an answer of 200 may let a request through; no answer, another one and an "
            "error in the configuration itself are refusals."
        ),
        {
            "nginx": (
                "No `error_page 500` or `502` may lead to a location that proxies to the "
                "application."
            ),
            "envoy": "`failure_mode_allow: false`.",
            "haproxy": (
                "HAProxy goes on with the next rule when a Lua action errs: set a variable as "
                "the action's last statement, and `http-request deny` unless it is set."
            ),
        },
    ),
    "flood_forwarded": Advice(
        "Every line that a client repeats is forwarded to the check",
        "Forward the names that the check reads and no other, each in one line.",
        {
            "haproxy": (
                "95 lines end the process: `core.httpclient` writes past its table when it is "
                "given more than `tune.http.maxhdr`. Join or refuse repeated lines in the Lua "
                "action."
            )
        },
    ),
    "odd_error": Advice(
        "An odd request is answered as if a server were down",
        (
            "A client that sends many lines, several cookies or a control character gets 400, "
            "401 or 431; a 5xx raises alarms, and may take the gateway out of service for "
            "others."
        ),
        {
            "nginx": "Join or leave out in the check's location what the gateway refuses to read.",
            "envoy": "`max_headers_count` above what clients and filters send together.",
        },
    ),
    "slow_cookie": Advice(
        "A cookie of a few kilobytes takes long",
        (
            "A pattern that can match the same characters in two ways takes the square of the "
            "length: one client stops the proxy for everybody. Use single classes without "
            "neighbors that overlap."
        ),
        {
            "haproxy": (
                "Patterns such as `^%s*(.-)%s*$` in Lua: the watchdog ends the process at 24 kB."
            )
        },
    ),
    "cookie_quoted": Advice(
        "The session cookie is quoted in an error page",
        (
            "A script on the page can cause that error and read the cookie out of its text, "
            "HttpOnly or not: replace the text of 400 and 431 answers."
        ),
    ),
    "page_unread": Advice(
        "How the application reads paths was not examined",
        (
            "Name a page with --public that anybody may read, in a folder where other names "
            "are answered 404."
        ),
    ),
    "loose_reader": Advice(
        "The application takes several paths for one page",
        (
            "A rule for one spelling does not hold for the others. Set the named field of the "
            "tenant's `paths` (docs/operator/rules.md), or have the application or the ingress "
            "answer one spelling only."
        ),
    ),
    "default_host": Advice(
        "A host that is nobody's is taken for a protected one",
        (
            "Ask the gateway about every host, by the name that was sent, or answer 421 to every "
            "host that is not yours."
        ),
        {
            "nginx": "No `server_name` in the `default_server`, or one that only returns 421.",
            "caddy": "A `handle` that responds 421 as the last of the site.",
            "envoy": 'A virtual host with `domains: ["*"]` that asks, or responds 421.',
            "haproxy": "`http-request return status 421` unless the host is known or asked about.",
        },
    ),
    "listener_exposed": Advice(
        "A listener of the gateway is reachable through the ingress",
        (
            "`listen.check` and `listen.admin` are for the ingress and for operators: no route "
            "may lead there."
        ),
    ),
    "hooks_exposed": Advice(
        "`/hooks/` or `/scim/` of a protected host is not asked about",
        "Identity providers should reach `listen.hooks` at a host name of its own.",
    ),
    "identity_in_answer": Advice(
        "Identity headers are shown to clients",
        (
            "Hand on Location, Content-Type, Cache-Control, Retry-After and WWW-Authenticate "
            "of a denial, nothing else."
        ),
    ),
    "app_session_kept": Advice(
        (
            "The application goes on as the person before, when another one signs in with the "
            "same browser"
        ),
        (
            "Have the application compare the identity header with its session on every "
            "request, or name its cookies in the tenant's `app_cookies` "
            "(docs/user/applications.md)."
        ),
    ),
    "app_session_unseen": Advice(
        "Whether the application keeps the person before was not seen",
        (
            "Name a page with --app-page that shows the name or the address of who is signed "
            "in, such as a profile page or `/api/me`."
        ),
    ),
    "app_reachable": Advice(
        "The application answers without the ingress",
        "Bind it to loopback or to a network that only the ingress reaches.",
    ),
    "check_reachable": Advice(
        "The check listener is reachable from here",
        (
            "Bind `listen.check` where only the ingress reaches it, and set both ingress.keys "
            "and ingress.trusted_proxies."
        ),
    ),
}


def advice(code: str, dialect: str) -> str:
    """The line for this proxy, else the general one; always what to do, never only what is
    wrong.
    """
    entry = ADVICE[code]
    line = entry.lines.get(dialect)
    return f"{entry.general} In {dialect}: {line}" if line else entry.general
