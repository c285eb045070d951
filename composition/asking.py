"""How models are asked: which one, with what, and whatever may go wrong on the way."""

from typing import NamedTuple

from adapters.base_adapter import Deadlines
from composition.ground import Ground
from composition.refreshed import Refreshed
from config import ConfigurationError, Settings
from services.model_choice import ModelChooser
from services.target_gate import TargetGate
from services.tool_loop import ToolLoop
from services.toolbox import Toolbox
from services.turn_plan import TurnPlanner
from services.upstream import Upstream
from tools.registry import UnknownTool, load_tools


class Asking(NamedTuple):
    """One of each."""

    chooser: ModelChooser
    gate: TargetGate
    planner: TurnPlanner
    upstream: Upstream


def asking(ground: Ground, memory: Refreshed) -> Asking:
    """Its parts."""
    providers, gate = memory.models.directory, TargetGate.over(ground.shared.breakers)
    toolbox, deadlines = _toolbox(ground.settings), _deadlines(ground.settings)
    planner = TurnPlanner(providers, gate.breakers.open_for, ground.tokenizer.count, toolbox, memory.prompts)
    return Asking(
        chooser=ModelChooser(providers, memory.routes, registered=lambda: providers.registered),
        gate=gate,
        planner=planner,
        upstream=ToolLoop(providers, gate, planner, deadlines, observer=ground.observer, toolbox=toolbox),
    )


def _deadlines(settings: Settings) -> Deadlines:
    """The settings' milliseconds in seconds."""
    return Deadlines(
        connect=settings.PROVIDER_CONNECT_MS / 1000,
        first_token=settings.PROVIDER_FIRST_TOKEN_MS / 1000,
        idle=settings.PROVIDER_MAX_IDLE_MS / 1000,
        total=settings.PROVIDER_TIMEOUT_MS / 1000,
    )


def _toolbox(settings: Settings) -> Toolbox:
    try:
        return Toolbox(load_tools(settings.tools))
    except UnknownTool as error:
        raise ConfigurationError(f"TOOLS: {error}") from None
