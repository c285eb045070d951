"""The composition root: every part is made here, and handed what it needs.

``python app.py`` serves with the same gunicorn and gevent as production.
"""

if __name__ == "__main__":
    # Before the imports below: the server process imports them itself, once.
    from scripts.serve import main

    raise SystemExit(main())

import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from flask_openapi import OpenAPI
from gevent import get_hub, monkey

from adapters.base_adapter import Deadlines, Providers
from adapters.egress import Egress
from adapters.kinds import adapter_of_kind
from adapters.registry import load_providers
from api.gateway import init_gateway
from api.log_setup import configure_logging
from api.openapi import VERSION, openapi_app
from config import (
    ConfigurationError,
    Settings,
    ai_prices,
    ai_prompts,
    ai_providers,
    ai_routes,
    load_settings,
    master_keys,
    providers_of_file,
)
from domain.errors import Conflict, InvalidInput
from domain.master_keys import MasterKeyError
from domain.money import PriceList
from domain.observer import Observer
from domain.routes import Route
from models import db
from repositories.database import Database, engine_options
from repositories.schema import ensure_schema
from repositories.sharing import Sharing, sharing
from repositories.unit_of_work import OpenUnitOfWork, unit_of_work_on
from services.account_service import AccountService
from services.api_key_service import ApiKeyService
from services.auth_service import AuthService
from services.books import Books
from services.chat_service import ChatService
from services.completion_service import CompletionService
from services.event_stream_service import EventStreamService
from services.front_desk import FrontDesk
from services.generation_keeper import GenerationKeeper
from services.generation_runner import GenerationRunner, StreamOptions
from services.generation_service import GenerationService
from services.generation_store import GenerationStore
from services.health_service import HealthService
from services.hidden_turns import HiddenTurns
from services.idempotency import Idempotency
from services.key_checker import KeyChecker
from services.key_limiter import KeyLimiter
from services.ledger import Ledger
from services.login_guard import LoginGuard
from services.message_limits import MessageLimits
from services.model_choice import ModelChooser
from services.model_registry import ModelRegistry
from services.model_service import Source
from services.operation_service import OperationService
from services.passwords import Passwords
from services.prompt_book import PromptBook
from services.provider_service import ProviderService
from services.reaper import Reaper
from services.refresher import Refresher
from services.registry import Services
from services.response_service import ResponseService
from services.route_book import RouteBook
from services.route_service import RouteService
from services.server_prompt_service import ServerPromptService
from services.session_feed import SessionFeed
from services.session_service import SessionService
from services.setup_service import SetupService
from services.sign_ins import SignIns
from services.stored_completions import StoredCompletions
from services.target_gate import TargetGate
from services.title_service import TitleService
from services.token_count_service import TokenCountService
from services.tokenizer import Tokenizer
from services.tool_loop import ToolLoop
from services.toolbox import Toolbox
from services.turn_opener import TurnOpener
from services.turn_plan import TurnPlanner
from services.upstream import Upstream
from services.user_service import UserService
from telemetry.metrics import Metrics
from telemetry.worker_state import Readings
from tools.registry import UnknownTool, load_tools

T = TypeVar("T")

MIGRATIONS = Path(__file__).with_name("migrations")


class _Declared(NamedTuple):
    """What AI_PROVIDERS and its file say."""

    providers: Providers
    routes: Mapping[str, Route]
    prices: PriceList
    prompts: Mapping[str, str]
    sources: Mapping[str, Source]


def create_app(
    settings: Settings | None = None,
    providers: Mapping[str, Mapping[str, Any]] | None = None,
    routes: Mapping[str, Route] | None = None,
) -> OpenAPI:
    """The application. ``settings`` come from the environment, ``providers`` (AI_PROVIDERS), ``routes`` from them."""
    settings = settings or load_settings()
    configure_logging(level=settings.LOGGING_LEVEL, form=settings.LOG_FORMAT, file=settings.LOG_FILE)
    app = _flask(settings)
    entries = ai_providers(settings) if providers is None else providers
    if routes is None:
        routes = ai_routes(settings, entries)
    adapters = load_providers(entries)
    metrics = Metrics(VERSION, _targets(adapters, routes), _offload, _tracing(settings))
    database = _database(app, settings, metrics)
    shared = sharing(settings.REDIS_URL, f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}")
    sources: Mapping[str, Source] = dict.fromkeys(providers_of_file(settings), "file")
    declared = _Declared(adapters, routes, ai_prices(settings, entries), ai_prompts(settings), sources)
    services = _services(settings, database, shared, declared, metrics)
    runner, breakers = services.runner, services.routes.broken_states
    helpers = _helpers(database, shared)
    metrics.watch(Readings(runner.count, database.connections, breakers, helpers, shared.lags))
    app.extensions |= {"unichat": services, "metrics": metrics}
    _prepare_users(settings, services, database)
    services.refresher.refresh()
    init_gateway(app, settings, shared.counter, metrics.observer)
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


def _helpers(database: Database, shared: Sharing) -> Mapping[str, Callable[[], None]]:
    return {"storage": database.check_storage, **shared.checks}


def _services(
    settings: Settings, database: Database, shared: Sharing, declared: _Declared, metrics: Metrics
) -> Services:
    unit_of_work, tokenizer = unit_of_work_on(database), Tokenizer(settings.TOKENIZER_MODE)
    refresher, routes, prompts, registry = _kept_fresh(settings, unit_of_work, declared, metrics)
    providers, gate = registry.directory, TargetGate.over(shared.breakers)
    auth, accounts, setup, users, keys = _identity(settings, unit_of_work, shared)
    books = Books.open(unit_of_work, tokenizer, providers, declared.prices, metrics.observer, keys.checker.forget)
    store, reaper = _records(unit_of_work, books, shared, metrics)
    event_streams, feed = _readers(settings, unit_of_work, shared, auth)
    idempotency, key_limiter = Idempotency(unit_of_work, event_streams), KeyLimiter(shared.key_meter)
    chooser = ModelChooser(providers, routes, registered=lambda: providers.registered)
    planner, upstream = _asking(settings, providers, gate, tokenizer, metrics, prompts)
    runner = _runner(settings, unit_of_work, shared, upstream, store, feed, metrics)
    generations = GenerationService(unit_of_work, runner, shared.event_log)
    parts = _TurnParts(unit_of_work, chooser, planner, runner, books.ledger, key_limiter)
    hidden, chat = _turns(settings, parts, idempotency, shared.worker)
    desk = FrontDesk(unit_of_work, books.ledger, upstream.deadlines.total)
    every_minute = [idempotency.purge, keys.checker.note_uses, desk.settle_overdue]
    return Services(
        accounts=accounts,
        api_keys=keys,
        auth=auth,
        books=books,
        chat=chat,
        close=shared.close,
        completions=CompletionService(chooser, planner, upstream, books.ledger, key_limiter, desk, auth.recheck),
        desk=desk,
        event_streams=event_streams,
        feed=feed,
        generations=generations,
        health=HealthService({"database": database.ping}, providers, _helpers(database, shared)),
        keeper=GenerationKeeper(runner, store, reaper, every_minute, metrics.observer),
        key_limiter=key_limiter,
        metrics_text=metrics.text,
        models=registry.service(chooser, books.book, declared.sources, personal=settings.PERSONAL_MODELS),
        operations=OperationService(chooser, upstream, books.ledger, key_limiter, desk, tokenizer.count),
        providers=ProviderService(providers),
        refresher=refresher,
        responses=ResponseService(unit_of_work, hidden, generations, event_streams, idempotency),
        routes=RouteService(unit_of_work, providers, routes, gate.breakers, refresher),
        runner=runner,
        server_prompts=ServerPromptService(unit_of_work, prompts, refresher),
        sessions=SessionService(unit_of_work, runner, chooser),
        setup=setup,
        stored_completions=StoredCompletions(chat, hidden, idempotency, chooser),
        toolbox=planner.toolbox,
        token_counts=TokenCountService(chooser, providers, tokenizer.count, _deadlines(settings), prompts),
        users=users,
    )


def _asking(
    settings: Settings,
    providers: Providers,
    gate: TargetGate,
    tokenizer: Tokenizer,
    metrics: Metrics,
    prompts: PromptBook,
) -> tuple[TurnPlanner, Upstream]:
    toolbox = _toolbox(settings)
    planner = TurnPlanner(providers, gate.breakers.open_for, tokenizer.count, toolbox, prompts)
    deadlines, observer = _deadlines(settings), metrics.observer
    return planner, ToolLoop(providers, gate, planner, deadlines, observer=observer, toolbox=toolbox)


def _toolbox(settings: Settings) -> Toolbox:
    try:
        return Toolbox(load_tools(settings.tools))
    except UnknownTool as error:
        raise ConfigurationError(f"TOOLS: {error}") from None


def _readers(
    settings: Settings, unit_of_work: OpenUnitOfWork, shared: Sharing, auth: AuthService
) -> tuple[EventStreamService, SessionFeed]:
    heartbeat_s = settings.SSE_HEARTBEAT_INTERVAL_MS / 1000
    event_streams = EventStreamService(unit_of_work, shared.event_log, auth.recheck, heartbeat_s)
    return event_streams, SessionFeed(unit_of_work, event_streams, shared.signals, settings.MAX_STREAMS_PER_USER)


def _records(
    unit_of_work: OpenUnitOfWork, books: Books, shared: Sharing, metrics: Metrics
) -> tuple[GenerationStore, Reaper]:
    return (
        GenerationStore(unit_of_work, books.ledger, shared.worker, metrics.observer),
        Reaper(unit_of_work, shared.event_log, books.ledger, metrics.observer),
    )


class _TurnParts(NamedTuple):
    """What turns are made of."""

    unit_of_work: OpenUnitOfWork
    chooser: ModelChooser
    planner: TurnPlanner
    runner: GenerationRunner
    ledger: Ledger
    key_limiter: KeyLimiter


def _turns(
    settings: Settings, parts: _TurnParts, idempotency: Idempotency, worker: str
) -> tuple[HiddenTurns, ChatService]:
    unit_of_work, chooser, planner, runner, ledger, key_limiter = parts
    opener, most = TurnOpener(unit_of_work, runner, ledger, key_limiter, worker), settings.MAX_STREAMS_PER_USER
    return (
        HiddenTurns(unit_of_work, chooser, planner, opener, runner, most),
        ChatService(unit_of_work, chooser, planner, opener, most, _message_limits(settings), idempotency),
    )


def _runner(
    settings: Settings,
    unit_of_work: OpenUnitOfWork,
    shared: Sharing,
    upstream: Upstream,
    store: GenerationStore,
    feed: SessionFeed,
    metrics: Metrics,
) -> GenerationRunner:
    titles = TitleService(unit_of_work, upstream.providers, store.ledger, on=settings.AUTO_TITLE)
    options = StreamOptions(settings.USAGE_EMIT, settings.USAGE_PROVIDER_ONLY)
    announce, observer = feed.announce, metrics.observer
    return GenerationRunner(
        upstream, shared.event_log, store, options, titles.after_answer, announce, shared.signals, observer
    )


def _kept_fresh(
    settings: Settings, unit_of_work: OpenUnitOfWork, declared: _Declared, metrics: Metrics
) -> tuple[Refresher, RouteBook, PromptBook, ModelRegistry]:
    """What workers have in memory of what administrators set."""
    refresher, routes = Refresher(unit_of_work), RouteBook(declared.routes, metrics.name_targets)
    prompts = PromptBook(declared.prompts)
    refresher.watch("routes", routes.reload)
    refresher.watch("server_prompts", prompts.reload)
    return refresher, routes, prompts, _model_registry(settings, unit_of_work, declared.providers, refresher)


def _model_registry(
    settings: Settings, unit_of_work: OpenUnitOfWork, declared: Providers, refresher: Refresher
) -> ModelRegistry:
    egress, read_keys = Egress(settings.private_hosts), partial(master_keys, settings)
    make, kept_s = partial(adapter_of_kind, guard=egress), settings.PROVIDER_TIMEOUT_MS / 1000 + 60
    try:
        read_keys()  # for the reason why it cannot
        return ModelRegistry.open(unit_of_work, declared, refresher, read_keys, make, egress.check, kept_s)
    except (MasterKeyError, OSError) as error:
        raise ConfigurationError(f"MASTER_KEY: {error}.") from None


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


def _targets(providers: Providers, routes: Mapping[str, Route]) -> Iterator[tuple[str, str]]:
    """The (provider, model) pairs of the configuration: what metrics call by its name."""
    for adapter in providers.values():
        if adapter.enabled:
            yield from ((adapter.name, model.name) for model in adapter.models)
    for route in routes.values():
        yield from ((target.provider, target.model) for target in route.targets)


def _identity(
    settings: Settings, unit_of_work: OpenUnitOfWork, shared: Sharing
) -> tuple[AuthService, AccountService, SetupService, UserService, ApiKeyService]:
    passwords, guard = Passwords(_offload), LoginGuard(shared.counter)
    keys = KeyChecker(unit_of_work, shared.signals, shared.counter)
    sign_ins, registration = SignIns(settings.REFRESH_TOKEN_TTL_S), settings.REGISTRATION
    return (
        AuthService(unit_of_work, passwords, guard, sign_ins, keys),
        AccountService(unit_of_work, passwords, guard, sign_ins, registration),
        SetupService(unit_of_work, passwords, sign_ins, settings.secret_key),
        UserService(unit_of_work, passwords, registration, keys.forget),
        ApiKeyService(unit_of_work, keys),
    )


def _offload(function: Callable[..., T], *args: object) -> T:
    """Run what computes for long in a native thread, where waiting for it lets other greenlets go on."""
    if monkey.is_module_patched("threading"):
        return get_hub().threadpool.apply(function, args)
    return function(*args)


def _prepare_users(settings: Settings, services: Services, database: Database) -> None:
    try:
        if settings.ADMIN_USERNAME:
            services.setup.ensure_admin(settings.ADMIN_USERNAME, settings.ADMIN_PASSWORD.get_secret_value())
        if settings.REGISTRATION == "single":
            services.setup.require_single_user()
    except (InvalidInput, Conflict) as error:
        database.engine.dispose()  # nothing will be served from it
        reason = "ADMIN_USERNAME and ADMIN_PASSWORD cannot be used. " if isinstance(error, InvalidInput) else ""
        raise ConfigurationError(reason + error.message) from None


def _message_limits(settings: Settings) -> MessageLimits:
    return MessageLimits(settings.MAX_MESSAGE_CHARS, settings.MAX_IMAGES_PER_MESSAGE, settings.MAX_IMAGE_BYTES)


def _deadlines(settings: Settings) -> Deadlines:
    return Deadlines(
        connect=settings.PROVIDER_CONNECT_MS / 1000,
        first_token=settings.PROVIDER_FIRST_TOKEN_MS / 1000,
        idle=settings.PROVIDER_MAX_IDLE_MS / 1000,
        total=settings.PROVIDER_TIMEOUT_MS / 1000,
    )
