"""Who may ask the server: everybody, or whoever shows the token that it was started with."""

import hmac
import os
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.errors import ServerError

TOKEN_VARIABLE = "SOM_SERVE_TOKEN"
OPEN = ("/ping", "/ready")  # for probes, which learn nothing from them


def token_from(file: str | None) -> str | None:
    """The token that clients have to show: of a file, else of the environment, else none.

    Never of the command line, which other users of the machine can read.

    Raises:
        ServerError: The file cannot be read, or holds none; or the token is not one line of printable ASCII.
    """
    source = file or f"the variable {TOKEN_VARIABLE}"
    try:
        token = Path(file).read_text(encoding="utf-8").strip() if file else os.environ.get(TOKEN_VARIABLE)
    except (OSError, UnicodeDecodeError) as error:
        raise ServerError(f"the token in {source} cannot be read: {error}") from error
    if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
        raise ServerError(f"the token in {source} must be printable ASCII without spaces, at least a character")
    return token


class Guard:
    """Answers those who show a token in `Authorization: Bearer TOKEN`, and refuses others with 401.

    Args:
        app: Behind it.
        token: To show.
        refuse: Makes an answer of a status, a message and headers.
    """

    def __init__(self, app: ASGIApp, token: str, refuse: Callable[..., Response]) -> None:
        self.app = app
        self.expected = token.encode()
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        answer: ASGIApp = self.app
        if scope["type"] == "http" and scope["path"] not in OPEN and not self._shown(Request(scope)):
            message = "this server asks for a token: send the header Authorization: Bearer TOKEN"
            answer = self.refuse(401, message, {"WWW-Authenticate": "Bearer"})
        await answer(scope, receive, send)

    def _shown(self, request: Request) -> bool:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(token.strip().encode("latin-1"), self.expected)
