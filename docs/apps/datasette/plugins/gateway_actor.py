from urllib.parse import unquote

from datasette import hookimpl


@hookimpl(tryfirst=True)
def actor_from_request(request):
    email = request.headers.get("remote-user")
    if email:
        name, groups = (request.headers.get(f"x-auth-request-{header}", "") for header in ("name", "groups"))
        return {"id": email, "name": unquote(name), "groups": [unquote(group) for group in groups.split(",")]}


@hookimpl
def menu_links(actor):
    return [{"href": "/_auth/logout", "label": "Sign out"}] if actor else []
