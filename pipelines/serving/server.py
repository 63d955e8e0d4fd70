"""The HTTP server of a registered model: sockets, signals, TLS and the connections of clients.

What it answers is in `application.py`, what answers in `service.py`. It follows the alias of the model.
"""

import gc
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipelines.errors import ServerError
from pipelines.interruption import noticed
from pipelines.serving.admission import Limits
from pipelines.serving.application import application
from pipelines.serving.connections import Watch, allow_files
from pipelines.serving.service import Service

SHUTDOWN_SECONDS = 30  # for requests in flight
SWITCH_SECONDS = 0.001  # that Python code of one thread holds up the others; a fifth of Python's own choice


@dataclass(frozen=True)
class Certificate:
    """What makes the server speak TLS.

    Attributes:
        chain: File with the certificate, and those that lead to a known authority, in PEM.
        key: File with its private key in PEM, not encrypted.

    Raises:
        ServerError: One of them cannot be read, or they do not belong together.
    """

    chain: Path
    key: Path

    def __post_init__(self) -> None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.chain, self.key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is one
            reason = getattr(error, "strerror", None) or error
            raise ServerError(
                f"TLS needs a certificate and its key in PEM: {self.chain}, {self.key}: {reason}"
            ) from error


def _no_password() -> str:
    raise ValueError("the key must not be encrypted")


def certificate_from(chain: str | None, key: str | None) -> Certificate | None:
    """The certificate in two files, None without any.

    Raises:
        ServerError: One of the two is not given, or they are no certificate with its key.
    """
    if chain is None and key is None:
        return None
    if chain is None or key is None:
        raise ServerError("TLS needs both a certificate and its key: --tls-cert FILE --tls-key FILE")
    return Certificate(Path(chain), Path(key))


@dataclass(frozen=True)
class Settings:
    """Where a server listens, and for whom.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        poll: Seconds between two looks at the alias.
        limits: What a request may cost.
        token: What clients have to show; None lets everybody in.
        certificate: For TLS; None speaks plain HTTP.
    """

    host: str
    port: int
    poll: float
    limits: Limits = field(default_factory=Limits)
    token: str | None = None
    certificate: Certificate | None = None


def run(service: Service, settings: Settings, ready: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM or Ctrl-C; requests in flight are finished first.

    Args:
        service: What answers.
        settings: Where, and for whom.
        ready: Called with the address, once requests are taken.

    Raises:
        ServerError: The port is taken, or the address is not of this machine.
    """
    allow_files()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()  # what is loaded by now stays: no collection needs to look at it again
    app = application(service, settings.poll, settings.limits, settings.token)
    server = _Server(app, settings.limits, settings.certificate)
    with _listening(settings.host, settings.port) as open_socket, _orderly_end(server):
        ready(_address(open_socket, "https" if settings.certificate else "http"))
        server.run(sockets=[open_socket])


@contextmanager
def _orderly_end(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the server, and nothing be raised.

    Uvicorn hears them itself while it runs, and hands each on to the handler before it once all is answered: within its
    event loop, where an exception would be reported as an error of the application.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        noticed()
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def on_loopback(app: FastAPI) -> Iterator[str]:
    """Serves an application on a free port of this machine while the block runs, and gives its address."""
    with _listening("127.0.0.1", 0) as open_socket:
        server = _Server(app, Limits(), None)
        thread = Thread(target=server.run, kwargs={"sockets": [open_socket]}, name="som-serving", daemon=True)
        thread.start()
        try:
            yield _address(open_socket)
        finally:
            server.should_exit = True
            thread.join()


class _Server(uvicorn.Server):
    """Uvicorn's server, for which a signal that is sent again means to end at once, requests in flight or not.

    Its own limit of concurrency counts idle connections, and would answer 503 to everybody: `admission.py` counts
    requests, and `connections.py` closes what is idle.
    """

    def __init__(self, app: FastAPI, limits: Limits, certificate: Certificate | None) -> None:
        watch = Watch(limits.seconds)

        async def look() -> None:
            watch.look(self.server_state.connections)

        super().__init__(
            uvicorn.Config(
                app,
                http=H11Protocol,
                log_config=None,
                access_log=False,
                ws="none",
                callback_notify=look,
                timeout_notify=0,  # each second
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                ssl_certfile=None if certificate is None else str(certificate.chain),
                ssl_keyfile=None if certificate is None else str(certificate.key),
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        noticed()
        super().handle_exit(sig, frame)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that takes connections already, so that whoever knows the address can use it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        open_socket = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ServerError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    with open_socket:
        # For accepted connections. asyncio does this by itself only for sockets that say they are TCP, and those of
        # `create_server` do not; without it, the body of an answer waited 40 ms for the client to confirm its head.
        open_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield open_socket


def _address(open_socket: socket.socket, scheme: str = "http") -> str:
    host, port = open_socket.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
