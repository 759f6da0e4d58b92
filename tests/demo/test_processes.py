from __future__ import annotations

import socket

import pytest

from demo.processes import free_port


def test_a_port_that_was_chosen_is_nobody_elses_until_its_server_listens_and_while_it_is_down() -> (
    None
):
    port = free_port()
    for _ in range(2):
        with socket.socket() as another, pytest.raises(OSError, match="in use"):
            another.bind(("127.0.0.1", port))
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", port))
            server.listen()
            socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
