"""What a handler may ask the request for: who is calling, and the services."""

from typing import cast

from flask import current_app, g, request

from domain.errors import NotAuthenticated
from domain.principal import Principal
from services.registry import Services


def services() -> Services:
    """The use cases of this application."""
    return cast("Services", current_app.extensions["unichat"])


def principal() -> Principal:
    """Who is calling. Raises why it is nobody, on a route that is public and was called without a credential."""
    caller = optional_principal()
    if caller is None:
        raise g.get("authentication_error") or NotAuthenticated("Sign in first.")
    return caller


def optional_principal() -> Principal | None:
    """Who is calling, if anybody said so credibly."""
    return cast("Principal | None", g.get("principal"))


def request_id() -> str:
    """The id of this request, in logs, answers and error bodies."""
    return cast("str", g.request_id)


def client_address() -> str:
    """The client's address, behind exactly the trusted number of proxies."""
    return request.remote_addr or "unknown"
