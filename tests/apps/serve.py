"""Runs a WSGI application of a file: ``python tests/apps/serve.py PORT FILE NAME``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from werkzeug.serving import run_simple

port, file, name = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
sys.path.insert(0, str(file.parent))
spec = importlib.util.spec_from_file_location(file.stem, file)
assert spec is not None and spec.loader is not None
module = importlib.util.module_from_spec(spec)
sys.modules[file.stem] = module
spec.loader.exec_module(module)
run_simple("127.0.0.1", port, getattr(module, name), threaded=True)
