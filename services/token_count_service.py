"""How many tokens a prompt has: by the provider's word where it can be asked, else by our count."""

from dataclasses import replace

from adapters.base_adapter import Deadlines, Providers, UpstreamCall
from domain.chat import ChatRequest
from domain.principal import Principal
from services.model_choice import ModelChooser
from services.prompt_book import PromptBook
from services.prompt_builder import Count, prompt_tokens


class TokenCountService:
    """Counts prompts. ``deadlines`` are those of a turn: nothing of it is waited for longer than a first token."""

    def __init__(
        self, chooser: ModelChooser, providers: Providers, count: Count, deadlines: Deadlines, prompts: PromptBook
    ) -> None:
        self._prompts = prompts
        self._chooser = chooser
        self._providers = providers
        self._count = count
        patience = deadlines.first_token
        self._deadlines = replace(deadlines, idle=patience, total=patience)

    def count(self, principal: Principal, asked: ChatRequest) -> int:
        """The tokens of a prompt for the model that would be asked first, with the operator's prompt in front.

        Raises NotFound ``model_not_found``, PermissionDenied, and a ProviderError where the provider fails to count.
        """
        found = self._chooser.find(principal, asked.model)
        choice = found.choices[0]
        request = replace(self._prompts.added_to(asked, found), model=choice.model.name)
        adapter = self._providers[choice.provider]
        counted = adapter.count_tokens(request, UpstreamCall(self._deadlines))
        return prompt_tokens(request, self._count) if counted is None else counted
