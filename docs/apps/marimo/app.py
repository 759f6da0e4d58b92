import marimo

app = marimo.App()


@app.cell
def _():
    from urllib.parse import unquote

    import marimo as mo

    # What the request said that opened this page's WebSocket; it does not change while the page is open.
    headers = mo.app_meta().request.headers
    mo.md(f"Signed in as: {headers['remote-user']} ({unquote(headers.get('x-auth-request-name', ''))})")
    return (mo,)


@app.cell
def _(mo):
    file = mo.ui.file()
    file
    return (file,)


@app.cell
def _(file):
    f"{file.name()}: {file.contents().decode()}" if file.value else "no file"
    return
