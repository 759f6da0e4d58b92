"""Runs the WSGI application of a file on a free port: ``python tests/docs/serve_wsgi.py FILE``
prints the port, then serves.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: object) -> None: ...


sys.path.insert(0, str(Path(sys.argv[1]).parent))
spec = importlib.util.spec_from_file_location("app_under_test", sys.argv[1])
assert spec is not None and spec.loader is not None
module = importlib.util.module_from_spec(spec)
sys.modules["app_under_test"] = module
spec.loader.exec_module(module)
server = make_server("127.0.0.1", 0, module.app, handler_class=Quiet)
sys.stdout.write(f"{server.server_port}\n")
sys.stdout.flush()
server.serve_forever()
