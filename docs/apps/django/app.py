import os

import jwt
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path

# --- the ten lines
ISSUER, ORIGIN = os.environ["ASSERTION_ISSUER"], os.environ["APP_ORIGIN"]
KEYS = jwt.PyJWKClient(f"{ORIGIN}/_auth/jwks.json")


def assertion_middleware(get_response):
    def middleware(request):
        token = request.headers.get("X-Auth-Request-Jwt", "")
        try:
            request.assertion = jwt.decode(token, KEYS.get_signing_key_from_jwt(token), algorithms=["ES256"], issuer=ISSUER, audience=ORIGIN, options={"require": ["exp", "sub"]})
        except jwt.PyJWTError:
            return HttpResponse(status=401)
        return get_response(request)

    return middleware
# --- to here


def home(request):
    return JsonResponse({key: request.assertion.get(key) for key in ("email", "tenant", "groups")})


urlpatterns = [path("", home)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[f"{__name__}.assertion_middleware"], SECRET_KEY=os.urandom(32).hex())
app = get_wsgi_application()
