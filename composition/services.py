"""All use cases, made."""

from composition.asking import asking
from composition.ground import Ground
from composition.identity import identity
from composition.refreshed import refreshed
from composition.stateless import stateless
from composition.turns import turns
from services.books import Books
from services.generation_keeper import GenerationKeeper
from services.health_service import HealthService
from services.key_limiter import KeyLimiter
from services.provider_service import ProviderService
from services.registry import Services
from services.route_service import RouteService
from services.server_prompt_service import ServerPromptService
from services.session_service import SessionService


def services_on(ground: Ground) -> Services:
    """One of each. Nothing has been read from the database yet, and nothing works in the background."""
    settings, unit_of_work, declared = ground.settings, ground.unit_of_work, ground.declared
    people, memory = identity(ground), refreshed(ground)
    providers, models = memory.models.directory, asking(ground, memory)
    books = Books.open(unit_of_work, ground.tokenizer, providers, declared.prices, ground.observer, people.keys.forget)
    key_limiter = KeyLimiter(ground.shared.key_meter)
    passing = stateless(ground, people, models, memory.prompts, books, key_limiter)
    stored = turns(ground, people, models, books, key_limiter)
    every_minute = [stored.idempotency.purge, people.keys.note_uses, passing.desk.settle_overdue]
    return Services(
        accounts=people.accounts,
        api_keys=people.api_keys,
        auth=people.auth,
        books=books,
        chat=stored.chat,
        close=ground.shared.close,
        completions=passing.completions,
        desk=passing.desk,
        event_streams=stored.event_streams,
        feed=stored.feed,
        generations=stored.generations,
        health=HealthService({"database": ground.database.ping}, providers, ground.helpers),
        keeper=GenerationKeeper(stored.runner, stored.store, stored.reaper, every_minute, ground.observer),
        key_limiter=key_limiter,
        metrics_text=ground.metrics.text,
        models=memory.models.service(models.chooser, books.book, declared.sources, personal=settings.PERSONAL_MODELS),
        operations=passing.operations,
        providers=ProviderService(providers),
        refresher=memory.refresher,
        responses=stored.responses,
        routes=RouteService(unit_of_work, providers, memory.routes, models.gate.breakers, memory.refresher),
        runner=stored.runner,
        server_prompts=ServerPromptService(unit_of_work, memory.prompts, memory.refresher),
        sessions=SessionService(unit_of_work, stored.runner, models.chooser),
        setup=people.setup,
        stored_completions=stored.completions,
        toolbox=models.planner.toolbox,
        token_counts=passing.token_counts,
        users=people.users,
    )
