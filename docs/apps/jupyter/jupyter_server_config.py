from urllib.parse import unquote

from jupyter_server.auth import IdentityProvider, User
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import JupyterHandler


class GatewayLogout(JupyterHandler):
    @allow_unauthenticated
    def get(self):
        self.redirect("/_auth/logout")


class GatewayIdentity(IdentityProvider):
    """Whoever the gateway names, on every request; no cookie and no token of Jupyter's own."""

    logout_handler_class = GatewayLogout

    def get_user(self, handler):
        email = handler.request.headers.get("Remote-User", "")
        name = unquote(handler.request.headers.get("X-Auth-Request-Name", ""))
        return User(username=email, name=name or email, display_name=name or email) if email else None


c = get_config()  # noqa: F821
c.ServerApp.identity_provider_class = GatewayIdentity
c.ServerApp.ip = "127.0.0.1"
c.ServerApp.allow_remote_access = True  # the Host header is the ingress' name, not localhost
c.ServerApp.open_browser = False
