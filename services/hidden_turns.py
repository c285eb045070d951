"""Turns that are no chat: each is the only one of a session that is hidden, and has all else that turns have."""

from collections.abc import Callable
from dataclasses import dataclass

from domain.chat import ChatRequest
from domain.principal import Principal
from domain.sessions import SessionKind
from repositories.turn_repository import NewGeneration
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.generation_runner import GenerationRunner, Live
from services.idempotency import Claim
from services.model_choice import ModelChooser
from services.session_service import SessionSettings, new_session, remove_session
from services.turn_opener import Opening, TurnOpener, check_streams
from services.turn_plan import TurnPlanner
from services.turn_rows import Place

Store = Callable[[UnitOfWork, NewGeneration], None]


@dataclass(frozen=True, slots=True)
class HiddenTurn:
    """A turn to be begun: ``asked`` of the model with that public name, in a session of that ``kind``.

    ``state_of`` is the provider that left the request's ``upstream_state``. ``store`` keeps, in the turn's own
    transaction, what is to be kept beside the answer: of the prompt, nothing is stored here.
    """

    kind: SessionKind
    model: str
    asked: ChatRequest
    state_of: str | None = None
    store: Store | None = None


class HiddenTurns:
    """Begins them, and removes them.

    Signed-in users are held to the answers that may be written for one user at the same time, keys to their own limits.
    """

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        chooser: ModelChooser,
        planner: TurnPlanner,
        opener: TurnOpener,
        runner: GenerationRunner,
        max_streams_per_user: int,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._chooser = chooser
        self._planner = planner
        self._opener = opener
        self._runner = runner
        self._max_streams_per_user = max_streams_per_user

    def begin(self, principal: Principal, turn: HiddenTurn, claim: Claim | None = None) -> Live:
        """Store the turn, and begin to answer it.

        Raises NotFound ``model_not_found``, PermissionDenied, UnsupportedInput, ContextTooLong, LimitExceeded,
        BudgetExceeded, ProviderUnavailable (every provider that could answer is left alone for a moment), Unavailable.
        """
        self._opener.check()
        wanted = self._chooser.find(principal, turn.model)
        plan = self._planner.plan(wanted, turn.asked, turn.state_of, principal)
        session = new_session(principal, SessionSettings(), wanted.provider, wanted.model, "", turn.kind)

        def store(uow: UnitOfWork, generation: NewGeneration) -> None:
            if principal.key is None:
                check_streams(uow.turns.running(principal.user_id), self._max_streams_per_user)
            uow.turns.add_session(session)
            if turn.store is not None:
                turn.store(uow, generation)

        return self._opener.open(Opening(principal, Place.in_new(session), plan, claim=claim), store)

    def remove(self, principal: Principal, session_id: str, kind: SessionKind) -> None:
        """Delete one with all that hangs on it; if it is still being answered, that is stopped."""
        remove_session(self._unit_of_work, self._runner, principal, session_id, kind)
