"""A gateway whose supervisor calls a worker stuck after five seconds."""

from __future__ import annotations

from gateway.__main__ import main

if __name__ == "__main__":
    from gateway.runtime import supervisor

    supervisor.STUCK_S = 5.0  # type: ignore[misc]  # a test waits for it
    main()
