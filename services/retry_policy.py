"""What a failure of a provider calls for. Pure: the whole policy is one table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from domain import errors


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds. ``jitter`` is the share by which a back-off is longer or shorter than ``backoff_s``, at random.

    ``rate_limit_s`` is the wait after a 429 that does not say how long. Nobody waits longer than ``longest_wait_s``,
    and not longer than ``patience_s`` while another target stands ready.
    """

    backoff_s: float = 2
    jitter: float = 0.25
    rate_limit_s: float = 15
    longest_wait_s: float = 60
    patience_s: float = 5


@dataclass(frozen=True, slots=True)
class Reaction:
    """What may still be done in this turn.

    ``again_in``: seconds after which the same target may be asked once more, None for never. ``here_first``: before the
    other targets, if that is soon. ``elsewhere``: others may do better; with ``larger``, those with a larger window.
    """

    again_in: float | None = None
    here_first: bool = False
    elsewhere: bool = True
    larger: bool = False


_OVER = Reaction(elsewhere=False)
_NOT_HERE = Reaction()
_LATER_HERE = Reaction(again_in=0)  # enough time was lost on this target: the others come first

_BY_KIND: Mapping[type[errors.ProviderError], Reaction] = {
    errors.ContextTooLong: Reaction(larger=True),
    errors.ContentFiltered: _OVER,
    errors.ModelNotFound: _NOT_HERE,
    errors.ProviderDenied: _NOT_HERE,
}
_BY_STAGE: Mapping[errors.Stage, Reaction] = {
    "first_token": _LATER_HERE,
    "idle": _LATER_HERE,
    "total": _OVER,
}


def react(
    error: errors.ProviderError, policy: RetryPolicy, *, began: bool, shown: bool, draw: Callable[[], float]
) -> Reaction:
    """The reaction to ``error``.

    ``began``: this attempt had begun to answer. ``shown``: somebody is reading what it or an earlier one has said.
    ``draw`` gives numbers from 0 to below 1.
    """
    if began and not error.retryable:
        return _OVER
    if fixed := _fixed(error):
        return fixed
    if error.retryable:
        return Reaction(_wait(error, policy, draw), here_first=not shown)
    # The request's own fault, unless another target has begun to answer the very same.
    return _NOT_HERE if shown else _OVER


def _fixed(error: errors.ProviderError) -> Reaction | None:
    if isinstance(error, errors.ProviderTimeout):
        return _BY_STAGE.get(error.stage)  # to connect is like every other failure of the network
    return next((_BY_KIND[kind] for kind in type(error).__mro__ if kind in _BY_KIND), None)


def _wait(error: errors.ProviderError, policy: RetryPolicy, draw: Callable[[], float]) -> float:
    if isinstance(error, errors.EmptyAnswer):
        return 0
    if isinstance(error, errors.ProviderRateLimited):
        return policy.rate_limit_s if error.retry_after is None else error.retry_after
    spread = policy.backoff_s * policy.jitter * (2 * draw() - 1)
    return max(policy.backoff_s + spread, error.retry_after or 0)  # some say with a 503 when to come back
