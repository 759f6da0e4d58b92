"""The console: what operators work with in a browser, on the listener ``pages``.

Rules:
- Whoever is there is known from the signed assertion alone (``sign_in``); no other header counts.
- Everything a page shows or does is an operation of the admin API, called in this process with the
  person as caller (``visit``). Scopes are enforced there, and nowhere else.
- A page is data: address, the operation that opens it, handler (``page``).
- A page is complete without scripts; none is sent.
"""
