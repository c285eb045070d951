"""The application: its settings, its parts (``composition``), and the gateway in front of them.

``python app.py`` serves with the same gunicorn and gevent as production.
"""

if __name__ == "__main__":
    # Before the imports below: the server process imports them itself, once.
    from scripts.serve import main

    raise SystemExit(main())

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flask_openapi import OpenAPI

from api.gateway import init_gateway
from api.log_setup import configure_logging
from api.openapi import VERSION, openapi_app
from composition.declared import Declared
from composition.ground import Ground, offload, share
from composition.identity import prepare_users
from composition.services import services_on
from config import ConfigurationError, Settings, load_settings
from domain.observer import Observer
from domain.routes import Route
from models import db
from repositories.database import Database, engine_options
from repositories.schema import ensure_schema
from telemetry.metrics import Metrics
from telemetry.worker_state import Readings

MIGRATIONS = Path(__file__).with_name("migrations")


def create_app(
    settings: Settings | None = None,
    providers: Mapping[str, Mapping[str, Any]] | None = None,
    routes: Mapping[str, Route] | None = None,
) -> OpenAPI:
    """The application. ``settings`` come from the environment, ``providers`` (AI_PROVIDERS), ``routes`` from them."""
    settings = settings or load_settings()
    configure_logging(level=settings.LOGGING_LEVEL, form=settings.LOG_FORMAT, file=settings.LOG_FILE)
    app = _flask(settings)
    declared = Declared.by(settings, providers, routes)
    metrics = Metrics(VERSION, declared.targets(), offload, _tracing(settings))
    database = _database(app, settings, metrics)
    ground = Ground(settings, declared, database, share(settings), metrics)
    services = services_on(ground)
    app.extensions |= {"unichat": services, "metrics": metrics}
    metrics.watch(
        Readings(
            services.runner.count,
            database.connections,
            services.routes.broken_states,
            ground.helpers,
            ground.shared.lags,
        )
    )
    prepare_users(ground, services.setup)
    services.refresher.refresh()
    init_gateway(app, settings, ground.shared.counter, metrics.observer)
    return app


def _flask(settings: Settings) -> OpenAPI:
    app = openapi_app(Path(__file__).parent)
    app.config.update(SECRET_KEY=settings.secret_key, DEBUG=settings.DEBUG, TESTING=settings.FLASK_ENV == "testing")
    return app


def _database(app: OpenAPI, settings: Settings, metrics: Metrics) -> Database:
    url = settings.database_url
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(url, settings.DATABASE_POOL_SIZE)
    db.init_app(app)
    if os.environ.get("FLASK_RUN_FROM_CLI"):  # `flask --app app db ...`; serving does without Alembic's 12 MB
        from flask_migrate import Migrate  # noqa: PLC0415

        Migrate(app, db, directory=str(MIGRATIONS), render_as_batch=True)
    else:
        ensure_schema(url, MIGRATIONS, migrate=settings.AUTO_MIGRATE)
    with app.app_context():
        return Database(db.engine, metrics.observer)


def _tracing(settings: Settings) -> Sequence[Observer]:
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return ()
    try:
        from telemetry.tracing import tracing_to  # noqa: PLC0415  # an extra, and slow to import
    except ImportError as error:
        message = (
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and the extra is not installed: pip install 'unichat[otel]' ({error})"
        )
        raise ConfigurationError(message) from None
    return (tracing_to(settings.OTEL_EXPORTER_OTLP_ENDPOINT, VERSION),)
