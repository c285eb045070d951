"""What of a session goes into the prompt of its next turn."""

from collections.abc import Callable, Sequence

from domain.chat import PromptMessage
from domain.messages import MessageRole, parts_from_json
from repositories.turn_repository import Said
from repositories.unit_of_work import UnitOfWork
from services.prompt_builder import without_reasoning
from services.turn_rows import Place

_PAGES = (20, 80, 300)  # messages that are read, as far as the ones before do not fill the window


def history_of(
    uow: UnitOfWork, user_id: str, place: Place, is_full: Callable[[Sequence[PromptMessage]], bool]
) -> list[PromptMessage]:
    """The messages before ``place``, from where its context starts, oldest first; none before those that fill it.

    ``is_full`` tells whether any model that may answer has no room for more than these.
    """
    newest_first: list[PromptMessage] = []
    before = place.position
    for most in _PAGES:
        if before <= place.context_start:
            break
        rows = uow.turns.said(place.session.id, user_id, start=place.context_start, before=before, most=most)
        newest_first += map(_prompt_message, rows)
        if len(rows) < most or is_full(newest_first):
            break
        before = rows[-1].position
    return newest_first[::-1]


def _prompt_message(said: Said) -> PromptMessage:
    return PromptMessage(MessageRole(said.role), without_reasoning(parts_from_json(said.parts)))
