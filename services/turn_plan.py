"""How a turn may be answered: by which models, in which order, and with what prompt each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from adapters.base_adapter import Providers
from domain.chat import ChatRequest, PromptMessage
from domain.errors import AppError, ContextTooLong, ProviderUnavailable, UnsupportedInput
from domain.messages import Image
from domain.principal import Principal
from services.model_choice import ModelChoice, Passed, Resolved
from services.prompt_book import PromptBook
from services.prompt_builder import Count, fit, overflows, without_pictures
from services.toolbox import Toolbox

_Look = Callable[[str], tuple[str, float] | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """The models that may answer, the first one first, and what to ask.

    ``asked`` is for no model in particular: the whole history, and the state that ``state_of``, a provider, left with
    the session. ``request`` is the same as it goes to the first model. ``passed`` are those that cannot come first.
    ``public_model`` is the name that the client used.
    """

    choices: tuple[ModelChoice, ...]
    asked: ChatRequest
    request: ChatRequest
    state_of: str | None = None
    passed: tuple[Passed, ...] = ()
    public_model: str = ""

    @property
    def first(self) -> ModelChoice:
        """The model that is asked first."""
        return self.choices[0]

    @property
    def route(self) -> str:
        """Why that one: those that were passed over, and the first."""
        return " -> ".join([*(passed.note for passed in self.passed), self.first.target])


class TurnPlanner:
    """Makes plans for ``providers``.

    ``open_for`` tells of a target why it is left alone now and for how many seconds, or None. ``toolbox`` has the
    server's tools, which are offered to models that can use them, ``prompts`` are the operator's system prompts.
    """

    def __init__(
        self,
        providers: Providers,
        open_for: _Look,
        count: Count,
        toolbox: Toolbox | None = None,
        prompts: PromptBook | None = None,
    ) -> None:
        self._providers = providers
        self._open_for = open_for
        self._count = count
        self.toolbox = toolbox or Toolbox({})
        self._prompts = PromptBook({}) if prompts is None else prompts  # one that is live may be empty now

    def plan(
        self, resolved: Resolved, asked: ChatRequest, state_of: str | None, principal: Principal | None = None
    ) -> Plan:
        """The plan for a turn. The targets that are left alone now come last.

        The model may use what tools ``principal`` may; without one, none. This is where the operator's prompt comes in
        front of the client's, whatever protocol the client speaks.

        Raises UnsupportedInput or ContextTooLong when no model can take the prompt, ProviderUnavailable when none of
        those that can is to be asked now.
        """
        if principal is not None:
            asked = self.toolbox.offered(principal, asked)
        asked = self._prompts.added_to(asked, resolved)
        ready, resting, passed = [], [], list(resolved.passed)
        for choice in resolved.choices:
            if (found := self._open_for(choice.target)) is None:
                ready.append(choice)
            else:
                resting.append(choice)
                passed.append(_open(choice, *found))
        refusals: list[AppError] = []
        for position, choice in enumerate(ready):
            try:
                request = self.request_for(choice, asked, state_of)
            except (UnsupportedInput, ContextTooLong) as error:
                passed.append(Passed(choice.target, error.error_code))
                refusals.append(error)
            else:
                return Plan((*ready[position:], *resting), asked, request, state_of, tuple(passed), resolved.model)
        raise self._nobody(resting, refusals, asked, state_of)

    def is_full(self, resolved: Resolved, messages: Sequence[PromptMessage]) -> bool:
        """Whether none of these models has room for more than these messages."""
        widest = max(choice.model.context_window for choice in resolved.choices)
        return overflows(messages, widest, self._count)

    def request_for(self, choice: ModelChoice, asked: ChatRequest, state_of: str | None) -> ChatRequest:
        """``asked`` as it goes to one model.

        Raises UnsupportedInput (pictures that it cannot see, options that its provider does not take), ContextTooLong.
        """
        model, adapter = choice.model, self._providers[choice.provider]
        asked = _with_tools(asked, can=model.capabilities.tools and "tools" in adapter.takes)
        adapter.check(asked)
        state = asked.upstream_state if state_of == choice.provider else ""
        if asked.whole:
            return replace(asked, model=model.name, upstream_state=state)
        own = replace(
            asked,
            model=model.name,
            messages=asked.messages if model.capabilities.vision else _for_the_blind(model.name, asked.messages),
            upstream_state=state,
        )
        return fit(own, window=model.context_window, max_output=model.max_output, count=self._count)

    def _nobody(
        self, resting: Sequence[ModelChoice], refusals: Sequence[AppError], asked: ChatRequest, state_of: str | None
    ) -> AppError:
        for choice in resting:
            try:
                self.request_for(choice, asked, state_of)
            except (UnsupportedInput, ContextTooLong) as error:
                refusals = [*refusals, error]
            else:
                return self.nobody_now(resting)
        return refusals[0]

    def nobody_now(self, choices: Sequence[ModelChoice]) -> ProviderUnavailable:
        """The error for models that are all left alone: it says when the first of them may be asked again."""
        soonest = min((self._open_for(choice.target) or ("", 0.0))[1] for choice in choices)
        return ProviderUnavailable(
            "The provider has failed repeatedly and is left alone for a moment.",
            provider=choices[0].provider,
            retry_after=max(1.0, soonest),
        )


def _with_tools(asked: ChatRequest, *, can: bool) -> ChatRequest:
    """``asked`` with our tools among its options; without them for a model that can use none."""
    if asked.server_tools is None:
        return asked
    if not can:
        return replace(asked, server_tools=None)
    tools = (*asked.options.tools, *asked.server_tools.tools)
    return replace(asked, options=replace(asked.options, tools=tools))


def _open(choice: ModelChoice, reason: str, seconds: float) -> Passed:
    return Passed(choice.target, f"open({reason},{max(1, round(seconds))}s)")


def _for_the_blind(model: str, messages: Sequence[PromptMessage]) -> Sequence[PromptMessage]:
    """The messages for a model that cannot see. Raises :class:`UnsupportedInput` when the last one has pictures."""
    if not any(isinstance(part, Image) for message in messages for part in message.parts):
        return messages
    if any(isinstance(part, Image) for part in messages[-1].parts):
        raise UnsupportedInput(f"The model {model} cannot see pictures.", "model_cannot_see", ("attachments",))
    return [without_pictures(message) for message in messages]
