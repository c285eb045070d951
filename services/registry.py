"""All use cases of an application, as the gateway finds them."""

from collections.abc import Callable
from dataclasses import dataclass

from services.account_service import AccountService
from services.api_key_service import ApiKeyService
from services.auth_service import AuthService
from services.books import Books
from services.chat_service import ChatService
from services.completion_service import CompletionService
from services.event_stream_service import EventStreamService
from services.front_desk import FrontDesk
from services.generation_keeper import GenerationKeeper
from services.generation_runner import GenerationRunner
from services.generation_service import GenerationService
from services.health_service import HealthService
from services.key_limiter import KeyLimiter
from services.model_service import ModelService
from services.operation_service import OperationService
from services.provider_service import ProviderService
from services.refresher import Refresher
from services.response_service import ResponseService
from services.route_service import RouteService
from services.server_prompt_service import ServerPromptService
from services.session_feed import SessionFeed
from services.session_service import SessionService
from services.setup_service import SetupService
from services.stored_completions import StoredCompletions
from services.token_count_service import TokenCountService
from services.toolbox import Toolbox
from services.user_service import UserService


@dataclass(frozen=True, slots=True)
class Services:
    """One of each; ``close`` ends what still works in the background when all else has ended."""

    accounts: AccountService
    api_keys: ApiKeyService
    auth: AuthService
    books: Books
    chat: ChatService
    close: Callable[[], None]
    completions: CompletionService
    desk: FrontDesk
    event_streams: EventStreamService
    feed: SessionFeed
    generations: GenerationService
    health: HealthService
    keeper: GenerationKeeper
    key_limiter: KeyLimiter
    metrics_text: Callable[[], bytes]
    models: ModelService
    operations: OperationService
    providers: ProviderService
    responses: ResponseService
    refresher: Refresher
    routes: RouteService
    runner: GenerationRunner
    server_prompts: ServerPromptService
    sessions: SessionService
    setup: SetupService
    stored_completions: StoredCompletions
    toolbox: Toolbox
    token_counts: TokenCountService
    users: UserService
