from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler
from tornado import web


class GatewayLogin(BaseHandler):
    async def get(self):
        user = await self.login_user()
        if user is None:
            raise web.HTTPError(403)
        self.redirect(self.get_next_url(user))


class GatewayAuthenticator(Authenticator):
    """Whoever the gateway names, at each login of the hub's own."""

    auto_login = True
    allow_all = True  # the gateway says who may come in

    def login_url(self, base_url):
        return f"{base_url}gateway-login"

    def logout_url(self, base_url):
        return "/_auth/logout"

    def get_handlers(self, app):
        return [(r"/gateway-login", GatewayLogin)]

    async def authenticate(self, handler, data):
        return handler.request.headers.get("Remote-User") or None

    async def refresh_user(self, user, handler=None):
        """Another person in the browser is another login; asked for when the hub's own knowledge is older than ``auth_refresh_age``."""
        return handler is None or handler.request.headers.get("Remote-User", user.name).lower() == user.name


c = get_config()  # noqa: F821
c.JupyterHub.authenticator_class = GatewayAuthenticator
c.Authenticator.auth_refresh_age = 5
# And a spawner that needs no account of the machine: see README.md.
c.Spawner.args = ["--config=/etc/jupyterhub/singleuser_config.py"]
c.JupyterHub.bind_url = "http://127.0.0.1:8000"  # the port that only the ingress reaches
