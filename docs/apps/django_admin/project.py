"""Django's admin, and Django's own pages for files, for the tests. What an application needs in its settings stands between the lines."""

import os
from pathlib import Path

from django.conf import settings
from django.contrib import admin
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from django.views.generic import RedirectView

# --- settings
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.csrf.CsrfViewMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
    "gateway_user.GatewayUser", "django.contrib.messages.middleware.MessageMiddleware",
]
AUTHENTICATION_BACKENDS = ["gateway_user.GatewayBackend"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
USE_X_FORWARDED_HOST = False  # Host is the one that the browser asked for
# --- to here

home = Path.cwd()
settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=MIDDLEWARE, AUTHENTICATION_BACKENDS=AUTHENTICATION_BACKENDS, SECURE_PROXY_SSL_HEADER=SECURE_PROXY_SSL_HEADER,
    SECRET_KEY=os.urandom(32).hex(), DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": home / "people.sqlite3"}}, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    MEDIA_ROOT=home / "media", MEDIA_URL="media/", STATIC_URL="static/",
    INSTALLED_APPS=["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.messages", "documents"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth", "django.contrib.messages.context_processors.messages",
    ]}}],
)
application = get_wsgi_application()

from django.views.static import serve  # noqa: E402 - after the settings

urlpatterns = [
    path("admin/logout/", RedirectView.as_view(url="/_auth/logout")),  # Django's own would sign straight in again
    path("admin/", admin.site.urls),
    path("me", lambda request: HttpResponse(request.user.get_username())),
    path("media/<path:path>", serve, {"document_root": settings.MEDIA_ROOT}),
]
call_command("migrate", verbosity=0, run_syncdb=True)
