"""How a turn begins: it is stored in one transaction, and then its generation is set going."""

from collections.abc import Callable
from dataclasses import dataclass

from domain.clock import now
from domain.errors import LimitExceeded
from domain.messages import Part
from domain.principal import Principal
from repositories.turn_repository import NewGeneration, NewMessage
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.generation_runner import GenerationRunner, Live
from services.generation_store import LEASE
from services.idempotency import Claim
from services.key_limiter import Held, KeyLimiter
from services.ledger import Hold, Ledger
from services.turn import Turn
from services.turn_plan import Plan
from services.turn_rows import Place, answer_at, booking_of, generation_of, user_message_at


@dataclass(frozen=True, slots=True)
class Opening:
    """A turn that is to begin. ``question`` is the user's message; None where the session has it already, or no need.

    With a ``claim`` the turn is the one that the claim stands for.
    """

    principal: Principal
    place: Place
    plan: Plan
    question: list[Part] | None = None
    names_session: bool = False  # the session is to get a title from it
    claim: Claim | None = None


class TurnOpener:
    """Begins turns, which ``owner``, this worker, runs."""

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        runner: GenerationRunner,
        ledger: Ledger,
        key_limiter: KeyLimiter,
        owner: str,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._runner = runner
        self._ledger = ledger
        self._key_limiter = key_limiter
        self._owner = owner

    def check(self) -> None:
        """Raises Unavailable where no turn can begin, before anything is done for one."""
        self._runner.check_open()

    def open(self, opening: Opening, store: Callable[[UnitOfWork, NewGeneration], None]) -> Live:
        """Begin a turn. ``store`` makes its place ready, first in the same transaction; what it raises ends both.

        Raises LimitExceeded (of the key that asks), BudgetExceeded, Conflict, Unavailable.
        """
        principal, place, choice = opening.principal, opening.place, opening.plan.first
        question = None if opening.question is None else user_message_at(principal, place, opening.question)
        answer = answer_at(principal, place, choice, question)
        generation = generation_of(answer, choice, self._owner)
        booking = booking_of(generation, principal.key, opening.plan.public_model)
        hold = self._ledger.prepare(booking, choice.provider, choice.model, opening.plan.request)
        prompt = hold.entry.prompt_tokens or 0
        held = self._key_limiter.hold_chat(principal.key, prompt, opening.plan.request, choice.model)
        with held, self._unit_of_work(brief=not place.rewinds) as uow:
            store(uow, generation)
            uow.turns.add_messages(*([question] if question else []), answer)
            uow.turns.add_generation(generation, LEASE)
            self._ledger.reserve(uow, hold)
            if opening.claim is not None:
                # Last: who waits for it holds all else that it needs.
                uow.claims.add(opening.claim.entity(generation), now())
            uow.commit()
        with held:
            return self._runner.submit(_turn(opening, generation, answer, hold, held))


def check_streams(running: int, most: int) -> None:
    """Raises LimitExceeded where so many answers are being written for the user already.

    Not under a lock: turns that begin at the very same moment may pass together.
    """
    if running >= most:
        raise LimitExceeded("Too many answers are running at once.", "too_many_streams", retry_after=5)


def _turn(opening: Opening, generation: NewGeneration, answer: NewMessage, hold: Hold, held: Held) -> Turn:
    plan = opening.plan
    return Turn(
        generation_id=generation.id,
        message_id=answer.id,
        session_id=generation.session_id,
        user_id=generation.user_id,
        epoch=generation.epoch,
        provider=plan.first.provider,
        request=plan.request,
        context_limit=plan.first.model.context_window,
        plan=plan,
        hold=hold,
        created_at=generation.created_at,
        parent_id=answer.parent_id,
        position=answer.position,
        wants_title=opening.names_session and answer.position == 1,
        is_alternative=opening.place.rewinds,
        held=held,
    )
