from django.contrib.auth.middleware import RemoteUserMiddleware


class GatewayUser(RemoteUserMiddleware):
    header = "HTTP_REMOTE_USER"  # the header Remote-User; without HTTP_ it would be the web server's own variable
