"""The server's tools, and who may use them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from domain.chat import ChatRequest, ServerTools, Tool
from domain.principal import Principal
from tools.base_tool import BaseTool


class Toolbox:
    """The tools that the operator has switched on."""

    def __init__(self, tools: Mapping[str, BaseTool]) -> None:
        self.tools = tools

    def offered(self, principal: Principal, asked: ChatRequest) -> ChatRequest:
        """``asked`` with the tools that the caller's key allows; signed-in users may use all.

        A client's own tool goes before one of ours with the same name. Requests that only one protocol can say are left
        as they are: nothing can be added to them.
        """
        own = {tool.name for tool in asked.options.tools}
        names = [name for name in self.tools if principal.allows_tool(name) and name not in own]
        if not names or (asked.native is not None and asked.native.only):
            return asked
        offers = tuple(self.tools[name].offer for name in names)
        return replace(asked, native=None, server_tools=ServerTools(offers, principal.user_id))

    def listed(self, principal: Principal) -> Sequence[Tool]:
        """Those that models may use for the caller."""
        return [tool.offer for tool in self.tools.values() if principal.allows_tool(tool.name)]
