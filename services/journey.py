"""Which target a turn asks next, and when. Pure but for the clock it is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from domain.errors import ProviderError
from services.model_choice import ModelChoice
from services.retry_policy import Reaction, RetryPolicy


@dataclass(frozen=True, slots=True)
class Move:
    """Ask this model, after so many seconds."""

    choice: ModelChoice
    wait_s: float = 0


@dataclass(frozen=True, slots=True)
class _Postponed:
    choice: ModelChoice
    due: float
    first: bool  # before the models that were not asked yet


class Journey:
    """A turn's way through its targets: each is asked in turn, and once more where that may help.

    What was put off because another target stood ready is made up for when no other is left. ``deadline`` is when the
    turn must be over, on the clock ``now`` (seconds).
    """

    def __init__(
        self, choices: Sequence[ModelChoice], policy: RetryPolicy, deadline: float, now: Callable[[], float]
    ) -> None:
        self.deadline = deadline
        self._policy = policy
        self._now = now
        self._fresh = list(choices)
        self._postponed: list[_Postponed] = []
        self._repeated: set[str] = set()
        self._restarts_left = len(choices)
        self._errors: list[ProviderError] = []
        self._verdict: ProviderError | None = None

    def next(self) -> Move | None:
        """The next move, or None when there is none left. Each is given out once."""
        ready = [one for one in self._postponed if one.first] if self._fresh else self._postponed
        if ready:
            chosen = min(ready, key=lambda one: one.due)
            self._postponed.remove(chosen)
            wait = max(0.0, chosen.due - self._now())
            return Move(chosen.choice, wait) if self._bearable(wait) else self.next()
        return Move(self._fresh.pop(0)) if self._fresh else None

    def failed(self, choice: ModelChoice, error: ProviderError, reaction: Reaction, *, began: bool) -> None:
        """The model was asked and failed, before or after it had begun to answer."""
        self._errors.append(error)
        if not reaction.elsewhere:
            self._verdict = error
            self._clear()
        if reaction.larger:
            self._keep_larger_than(choice.model.context_window)
        if began:
            self._restarts_left -= 1
            if self._restarts_left < 0:
                self._clear()
                return
        if reaction.again_in is not None and choice.target not in self._repeated:
            self._repeated.add(choice.target)
            first = reaction.here_first and (not self._fresh or reaction.again_in <= self._policy.patience_s)
            self._postponed.append(_Postponed(choice, self._now() + reaction.again_in, first))

    def again(self, choice: ModelChoice) -> None:
        """Ask the same model at once, in another way."""
        self._postponed.append(_Postponed(choice, self._now(), first=True))

    def put_off(self, choice: ModelChoice, seconds: float) -> None:
        """The model was not asked: not before ``seconds`` have passed."""
        self._postponed.append(_Postponed(choice, self._now() + seconds, first=False))

    @property
    def error(self) -> ProviderError | None:
        """What to tell the user when nothing answered: what ended it, the last failure that may pass, or the first."""
        passing = [error for error in self._errors if error.retryable]
        return self._verdict or (passing[-1] if passing else next(iter(self._errors), None))

    def _bearable(self, wait: float) -> bool:
        return wait <= self._policy.longest_wait_s and self._now() + wait < self.deadline

    def _clear(self) -> None:
        self._fresh.clear()
        self._postponed.clear()

    def _keep_larger_than(self, window: int) -> None:
        self._fresh = [one for one in self._fresh if one.model.context_window > window]
        self._postponed = [one for one in self._postponed if one.choice.model.context_window > window]
