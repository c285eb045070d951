"""The Flask application, without what none of our requests has a use for: cookies, coroutines, mended headers."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface
from flask_openapi import OpenAPI
from werkzeug.datastructures import Headers
from werkzeug.exceptions import ClientDisconnected
from werkzeug.routing import MapAdapter
from werkzeug.wsgi import get_host

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


class Asked(Request):
    """A request whose body is read in one piece, where its length is told and allowed."""

    def get_data(self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False) -> Any:
        """As the library's own; that one reads by way of a stream, which copies, and takes several times as long."""
        if "_cached_data" not in self.__dict__ and (length := self.content_length) and not parse_form_data:
            most = self.max_content_length
            if most is None or length <= most:
                self._cached_data = self.environ["wsgi.input"].read(length)
                if len(self._cached_data) < length:
                    raise ClientDisconnected
        return super().get_data(cache, as_text, parse_form_data)  # type: ignore[call-overload]  # as they came


class App(OpenAPI):
    """What :func:`api.openapi.openapi_app` makes."""

    request_class = Asked
    response_class = Answer
    session_interface = _NoSessions()

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """One for the path alone: no route of ours is chosen by its host, which is only looked at for being one."""
        if request is None:
            return super().create_url_adapter(request)
        environ = request.environ
        request.host = get_host(environ)
        scheme, method, query = environ["wsgi.url_scheme"], environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
        return MapAdapter(self.url_map, request.host, request.root_path, "", scheme, request.path, method, query)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """As it is: no hook and no handler of ours is a coroutine."""
        return func
