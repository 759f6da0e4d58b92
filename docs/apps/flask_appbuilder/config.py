import os

from flask_appbuilder.const import AUTH_REMOTE_USER

AUTH_TYPE = AUTH_REMOTE_USER
AUTH_REMOTE_USER_ENV_VAR = "HTTP_REMOTE_USER"  # the header Remote-User; Superset and Airflow 2 take the same settings
AUTH_USER_REGISTRATION = True  # a person has an account from the first visit on
AUTH_USER_REGISTRATION_ROLE = "Admin"
LOGOUT_REDIRECT_URL = "/_auth/logout"  # the session's own end alone would sign straight in again
SECRET_KEY = os.environ["SECRET_KEY"]
SQLALCHEMY_DATABASE_URI = os.environ["DATABASE_URL"]
PREFERRED_URL_SCHEME = "https"
FAB_API_SWAGGER_UI = False
