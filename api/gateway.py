"""Puts the gateway together: hooks in their order, and every endpoint file."""

import importlib
import pkgutil

from flask_openapi import OpenAPI

from api.authentication import enforce, identify, init_authentication
from api.errors import init_errors
from api.hardening import init_cors, init_hardening, require_json
from api.key_limit_headers import init_key_limit_headers
from api.limits import HitCounter, init_limits
from api.request_logging import init_request_logging
from api.route_headers import init_route_headers
from config import Settings
from domain.observer import Observer

_PACKAGES = ("api.v1", "api.openai", "api.anthropic")


def init_gateway(app: OpenAPI, settings: Settings, counter: HitCounter, observer: Observer) -> None:
    """Everything between the socket and the services. The order of the hooks is the order of a request's checks."""
    init_errors(app)
    init_hardening(app, max_body=settings.MAX_BODY_BYTES, trusted_proxies=settings.TRUSTED_PROXIES)
    init_authentication(app, settings.secret_key, settings.ACCESS_TOKEN_TTL_S, settings.metrics_token)
    init_request_logging(app, observer)
    init_route_headers(app)
    init_key_limit_headers(app)
    app.before_request(identify)
    limits = {
        "general": settings.RATE_LIMIT,
        "chat": settings.RATE_LIMIT_CHAT,
        "gateway": settings.RATE_LIMIT_GATEWAY,
        "auth": settings.RATE_LIMIT_AUTH,
    }
    init_limits(app, limits, counter)
    app.before_request(enforce)
    app.before_request(require_json)
    if settings.ENABLE_CORS:
        init_cors(app, settings.cors_origins)
    register_endpoints(app)


def register_endpoints(app: OpenAPI) -> None:
    """Register the ``bp`` of every module in these packages: a new endpoint is a new file there, and nothing else."""
    for package in map(importlib.import_module, _PACKAGES):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            blueprint = getattr(importlib.import_module(module.name), "bp", None)
            if blueprint is not None:
                app.register_api(blueprint)
