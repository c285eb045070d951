"""Answers of which nothing is stored but what they cost."""

from typing import NamedTuple

from composition.asking import Asking
from composition.ground import Ground
from composition.identity import Identity
from repositories.book_rounds import BookRounds
from services.books import Books
from services.completion_service import CompletionService
from services.front_desk import FrontDesk
from services.key_limiter import KeyLimiter
from services.operation_service import OperationService
from services.prompt_book import PromptBook
from services.token_count_service import TokenCountService


class Stateless(NamedTuple):
    """One of each."""

    completions: CompletionService
    desk: FrontDesk
    operations: OperationService
    token_counts: TokenCountService


def stateless(
    ground: Ground, people: Identity, models: Asking, prompts: PromptBook, books: Books, key_limiter: KeyLimiter
) -> Stateless:
    """Its parts."""
    chooser, planner, upstream = models.chooser, models.planner, models.upstream
    deadlines, count = upstream.deadlines, ground.tokenizer.count
    desk = FrontDesk(BookRounds(ground.database), books.ledger, deadlines.total)
    return Stateless(
        completions=CompletionService(chooser, planner, upstream, books.ledger, key_limiter, desk, people.auth.recheck),
        desk=desk,
        operations=OperationService(chooser, upstream, books.ledger, key_limiter, desk, count),
        token_counts=TokenCountService(chooser, upstream.providers, count, deadlines, prompts),
    )
