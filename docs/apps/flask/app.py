import os

import jwt
from flask import Flask, abort, g, request

app = Flask(__name__)

# --- the ten lines
ISSUER, ORIGIN = os.environ["ASSERTION_ISSUER"], os.environ["APP_ORIGIN"]
KEYS = jwt.PyJWKClient(f"{ORIGIN}/_auth/jwks.json")


@app.before_request
def who_is_it():
    token = request.headers.get("X-Auth-Request-Jwt", "")
    try:
        g.user = jwt.decode(token, KEYS.get_signing_key_from_jwt(token), algorithms=["ES256"], issuer=ISSUER, audience=ORIGIN, options={"require": ["exp", "sub"]})
    except jwt.PyJWTError:
        abort(401)
# --- to here


@app.get("/")
def home():
    return {"email": g.user.get("email"), "tenant": g.user["tenant"], "groups": g.user["groups"]}
