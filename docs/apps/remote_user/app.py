import os
import tempfile

from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

# --- what the application's settings need
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware", "gateway_user.GatewayUser"]
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
# --- to here


def home(request):
    return JsonResponse({"user": request.user.get_username(), "known": request.user.is_authenticated})


urlpatterns = [path("", home)]
settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=MIDDLEWARE, AUTHENTICATION_BACKENDS=AUTHENTICATION_BACKENDS, SECRET_KEY=os.urandom(32).hex(),
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{tempfile.mkdtemp()}/people.sqlite3"}}, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
app = get_wsgi_application()
call_command("migrate", verbosity=0)
