"""Whether a cluster answers at its address: engines wait for minutes, a user should not."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

SECONDS = 5.0


def check_address(address: str, engine: str) -> None:
    """Raises ValueError, in one line, for HOST:PORT (with or without SCHEME://) where nothing listens."""
    split = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = split.hostname, split.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        if address == "auto":
            return
        raise ValueError(f"--cluster {address} is no address of a {engine} cluster: HOST:PORT")
    try:
        socket.create_connection((host, port), SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"no {engine} cluster answers at {address}: {reason}") from None
