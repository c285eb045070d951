"""The operator's system prompts in force, at hand without a query for each turn."""

from collections.abc import Mapping

from domain.chat import ChatRequest
from domain.routes import target_name
from domain.server_prompts import with_server_prompt
from repositories.unit_of_work import UnitOfWork
from services.layered import Layered
from services.model_choice import Resolved


class PromptBook(Layered[str]):
    """Public model -> text: the declared ones, and those that administrators have set."""

    def __init__(self, declared: Mapping[str, str]) -> None:
        super().__init__("prompts", declared)

    def reload(self, uow: UnitOfWork) -> None:
        """Read what administrators have set."""
        self.replace({row.public_model: row.text for row in uow.server_prompts.all()})

    def added_to(self, asked: ChatRequest, resolved: Resolved) -> ChatRequest:
        """``asked`` with the prompt of the model that was asked for in front of the client's, if it has one.

        A model that is named without a route has it under ``provider/model``, or else under its own name. A caller's
        own model has none: its provider is theirs, and the text is not.
        """
        if not self or resolved.personal:
            return asked
        names = [resolved.model]
        if resolved.provider is not None:
            names.insert(0, target_name(resolved.provider, resolved.model))
        prompt = next((self[name] for name in names if name in self), None)
        return asked if prompt is None else with_server_prompt(asked, prompt)
