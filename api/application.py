"""The Flask application, without what none of our requests has a use for: cookies, coroutines, mended headers."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface
from flask_openapi import OpenAPI
from werkzeug.datastructures import Headers

_NO_SESSION = NullSession()


class _NoSessions(SessionInterface):
    """Who calls is told by a header: there is no cookie to read, to sign or to send."""

    def open_session(self, app: Flask, request: Request) -> NullSession:  # noqa: ARG002  # as in the base
        """The same nothing for everybody."""
        return _NO_SESSION

    def is_null_session(self, obj: object) -> bool:  # noqa: ARG002  # as in the base
        """Always, so that none is saved."""
        return True


class Answer(Response):
    """A response whose headers are looked through once more only where the library may have to mend them."""

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """As they are, for a success whose length is known, or not to be."""
        if self.status_code == HTTPStatus.OK and (not self.is_sequence or "Content-Length" in self.headers):
            return self.headers
        return super().get_wsgi_headers(environ)


class App(OpenAPI):
    """What :func:`api.openapi.openapi_app` makes."""

    response_class = Answer
    session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """As it is: no hook and no handler of ours is a coroutine."""
        return func
