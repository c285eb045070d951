"""What requests to providers have used, as far as anybody knows. The provider's own count goes before ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.chat import ChatRequest
from domain.usage import Usage, UsageSource
from services.answer import Answer
from services.prompt_builder import Count, prompt_tokens
from services.upstream_handle import UpstreamHandle


class Written(Protocol):
    """What can be counted of an answer."""

    @property
    def finish_reason(self) -> str | None:
        """Why the model ended, once it has."""

    def completion_text(self) -> str:
        """All that it wrote."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One request to a provider. Without ``usage`` it has used nothing that we know of: it wrote nothing.

    ``answers``: the answer of the turn is this one's. ``called_tools``: it was whole, and asked for tools of ours.
    """

    provider: str
    model: str
    usage: Usage | None
    answers: bool = True
    error_code: str | None = None
    called_tools: bool = False


def charges_of(upstream: UpstreamHandle, answer: Written, count: Count) -> list[Charge]:
    """A charge for every attempt of a turn, in order."""
    charges = []
    for attempt in upstream.attempts:
        answers = attempt is upstream.answering
        whole, usage = answers and bool(answer.finish_reason), attempt.usage
        if usage is None and (whole or attempt.first_token_ms is not None):
            text = answer.completion_text() if answers else attempt.output
            usage = _counted(attempt.request, text, count, whole=whole)
        choice, called_tools = attempt.choice, attempt.outcome == "answered" and not answers
        charges.append(
            Charge(choice.provider, choice.model.name, usage, answers, attempt.error_code, called_tools=called_tools)
        )
    return charges


def charge_for(provider: str, request: ChatRequest, answer: Answer, error_code: str | None, count: Count) -> Charge:
    """The charge for one request that was made by itself."""
    usage, whole = answer.usage, bool(answer.finish_reason)
    if usage is None and (whole or answer.first_delta_at is not None):
        usage = _counted(request, answer.completion_text(), count, whole=whole)
    return Charge(provider, request.model, usage, error_code=error_code)


def usage_of(charges: Sequence[Charge]) -> Usage | None:
    """What the answer of a turn has used, with the requests that asked for its tools; None where that is not known."""
    answer = next((charge.usage for charge in charges if charge.answers), None)
    for charge in charges:
        if answer is not None and charge.called_tools and charge.usage is not None:
            answer = _sum(answer, charge.usage)
    return answer


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        source=one.source if other.source is UsageSource.PROVIDER else other.source,
    )


def tokens_of(charges: Sequence[Charge]) -> int:
    """All tokens of all attempts, of prompts and answers."""
    return sum(charge.usage.total_tokens for charge in charges if charge.usage)


def _counted(request: ChatRequest, text: str, count: Count, *, whole: bool) -> Usage:
    source = UsageSource.ESTIMATED if whole else UsageSource.PARTIAL
    # Where several answers were asked for, we have read the first one.
    return Usage(prompt_tokens(request, count), count(text) * request.choices, source=source)
