from urllib.parse import unquote

from django.contrib.auth.backends import RemoteUserBackend
from django.contrib.auth.middleware import RemoteUserMiddleware


class GatewayUser(RemoteUserMiddleware):
    """Compares the header with Django's own session on every request: another person begins another session, nobody ends it."""

    header = "HTTP_REMOTE_USER"


class GatewayBackend(RemoteUserBackend):
    """Name and rights are what the gateway says at each beginning of a session."""

    def configure_user(self, request, user, created=True):
        groups = [unquote(group) for group in request.headers.get("X-Auth-Request-Groups", "").split(",")]
        user.email = request.headers.get("X-Auth-Request-Email", "")
        user.first_name = unquote(request.headers.get("X-Auth-Request-Name", ""))[:150]
        user.is_staff = user.is_superuser = "admins" in groups
        user.save()
        return user
