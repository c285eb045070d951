"""Known model families as data: windows, capabilities and the quirks of their wire.

The longest matching prefix of a model's bare name wins. Figures are the makers' published ones, in tokens; an entry of
AI_PROVIDERS that declares a figure or capability overrides the one here. Which models exist is the provider's word.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from adapters.base_adapter import AdapterConfig, ModelConfig
from domain.chat import Capabilities, ModelInfo

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Quirks:
    """Where a family departs from the common chat protocol."""

    output_limit_field: str = "max_tokens"  # the request field that bounds the answer
    either_limit_field: bool = False  # takes that field under both names, max_tokens and max_completion_tokens
    temperature: bool = True  # takes a sampling temperature
    adaptive_thinking: bool = False  # is asked for effort, and decides itself how much to think
    replay_reasoning: bool = False  # wants its reasoning back with the tool calls that it led to


@dataclass(frozen=True, slots=True)
class Family:
    """All models whose name begins with ``prefix``. ``context_window`` and ``max_output`` are in tokens."""

    prefix: str
    context_window: int
    max_output: int
    vision: bool = False
    tools: bool = True
    reasoning: bool = False
    quirks: Quirks = field(default_factory=Quirks)


_OPENAI_REASONING = Quirks(output_limit_field="max_completion_tokens", temperature=False)
_OPENAI_CHAT = Quirks(output_limit_field="max_completion_tokens", either_limit_field=True)
_OPENAI_OLDER = Quirks(either_limit_field=True)
_ADAPTIVE = Quirks(adaptive_thinking=True)
_ADAPTIVE_ONLY = Quirks(adaptive_thinking=True, temperature=False)
_REPLAY = Quirks(replay_reasoning=True)

# A model that nobody described: small enough to fit what is served today, and no claim to see, think or call tools.
UNKNOWN = Family("", 32_768, 4_096, tools=False)

FAMILIES: tuple[Family, ...] = (
    # OpenAI
    Family("gpt-3.5-turbo", 16_385, 4_096, quirks=_OPENAI_OLDER),
    Family("gpt-4", 8_192, 8_192, quirks=_OPENAI_OLDER),
    Family("gpt-4-turbo", 128_000, 4_096, vision=True, quirks=_OPENAI_OLDER),
    Family("gpt-4o", 128_000, 16_384, vision=True, quirks=_OPENAI_OLDER),
    Family("gpt-4.1", 1_047_576, 32_768, vision=True, quirks=_OPENAI_OLDER),
    Family("gpt-5", 400_000, 128_000, vision=True, reasoning=True, quirks=_OPENAI_REASONING),
    Family("gpt-5-chat", 128_000, 16_384, vision=True, quirks=_OPENAI_CHAT),
    Family("chatgpt-4o", 128_000, 16_384, vision=True, tools=False, quirks=_OPENAI_OLDER),
    Family("o1", 200_000, 100_000, vision=True, reasoning=True, quirks=_OPENAI_REASONING),
    Family("o1-mini", 128_000, 65_536, tools=False, reasoning=True, quirks=_OPENAI_REASONING),
    Family("o1-preview", 128_000, 32_768, tools=False, reasoning=True, quirks=_OPENAI_REASONING),
    Family("o3", 200_000, 100_000, vision=True, reasoning=True, quirks=_OPENAI_REASONING),
    Family("o3-mini", 200_000, 100_000, reasoning=True, quirks=_OPENAI_REASONING),
    Family("o4-mini", 200_000, 100_000, vision=True, reasoning=True, quirks=_OPENAI_REASONING),
    Family("gpt-oss", 131_072, 131_072, reasoning=True),
    # Anthropic
    Family("claude", 200_000, 32_000, vision=True, reasoning=True, quirks=_ADAPTIVE_ONLY),
    Family("claude-3", 200_000, 4_096, vision=True),
    Family("claude-3-5", 200_000, 8_192, vision=True),
    Family("claude-3-7", 200_000, 64_000, vision=True, reasoning=True),
    Family("claude-opus-4", 200_000, 32_000, vision=True, reasoning=True),
    Family("claude-sonnet-4", 200_000, 64_000, vision=True, reasoning=True),
    Family("claude-haiku-4", 200_000, 64_000, vision=True, reasoning=True),
    Family("claude-opus-4-5", 200_000, 64_000, vision=True, reasoning=True),
    Family("claude-opus-4-6", 1_000_000, 128_000, vision=True, reasoning=True, quirks=_ADAPTIVE),
    Family("claude-sonnet-4-6", 1_000_000, 64_000, vision=True, reasoning=True, quirks=_ADAPTIVE),
    Family("claude-opus-4-7", 1_000_000, 128_000, vision=True, reasoning=True, quirks=_ADAPTIVE_ONLY),
    Family("claude-opus-4-8", 1_000_000, 128_000, vision=True, reasoning=True, quirks=_ADAPTIVE_ONLY),
    Family("claude-opus-5", 1_000_000, 128_000, vision=True, reasoning=True, quirks=_ADAPTIVE_ONLY),
    Family("claude-sonnet-5", 1_000_000, 128_000, vision=True, reasoning=True, quirks=_ADAPTIVE_ONLY),
    Family("claude-haiku-5", 1_000_000, 128_000, vision=True, reasoning=True, quirks=_ADAPTIVE_ONLY),
    Family("claude-fable", 1_000_000, 128_000, vision=True, reasoning=True, quirks=_ADAPTIVE_ONLY),
    Family("claude-mythos", 1_000_000, 128_000, vision=True, reasoning=True, quirks=_ADAPTIVE_ONLY),
    # Qwen
    Family("qwen", 32_768, 8_192),
    Family("qwen-turbo", 1_000_000, 16_384, reasoning=True),
    Family("qwen-flash", 1_000_000, 32_768, reasoning=True),
    Family("qwen-plus", 1_000_000, 32_768, reasoning=True),
    Family("qwen-max", 32_768, 8_192),
    Family("qwen-long", 10_000_000, 8_192, tools=False),
    Family("qwen-vl", 131_072, 8_192, vision=True),
    Family("qwen2.5", 131_072, 8_192),
    Family("qwen2.5-vl", 131_072, 8_192, vision=True),
    Family("qwen3", 131_072, 16_384, reasoning=True),
    Family("qwen3-max", 262_144, 65_536),
    Family("qwen3-coder", 1_000_000, 65_536),
    Family("qwen3-vl", 262_144, 32_768, vision=True, reasoning=True),
    Family("qwen3.5", 262_144, 65_536, vision=True, reasoning=True),
    Family("qvq", 131_072, 8_192, vision=True, tools=False, reasoning=True),
    Family("qwq", 131_072, 8_192, reasoning=True),
    # DeepSeek
    Family("deepseek", 131_072, 8_192, quirks=_REPLAY),
    Family("deepseek-reasoner", 131_072, 65_536, reasoning=True, quirks=_REPLAY),
    Family("deepseek-r1", 131_072, 32_768, reasoning=True, quirks=_REPLAY),
    # Moonshot
    Family("moonshot-v1", 8_192, 4_096),
    Family("moonshot-v1-32k", 32_768, 8_192),
    Family("moonshot-v1-128k", 131_072, 16_384),
    Family("kimi", 262_144, 32_768),
    Family("kimi-k2-thinking", 262_144, 32_768, reasoning=True, quirks=_REPLAY),
    Family("kimi-k2.5", 262_144, 32_768, vision=True, reasoning=True, quirks=_REPLAY),
    # Zhipu
    Family("glm-4", 128_000, 4_096),
    Family("glm-4v", 8_192, 1_024, vision=True, tools=False),
    Family("glm-4.5", 131_072, 98_304, reasoning=True),
    Family("glm-4.5v", 65_536, 16_384, vision=True, reasoning=True),
    Family("glm-4.6", 204_800, 131_072, reasoning=True),
    # Open weights; what a server really allows depends on how it was started
    Family("llama", 8_192, 4_096, tools=False),
    Family("llama3.1", 131_072, 4_096),
    Family("llama-3.1", 131_072, 4_096),
    Family("llama3.2", 131_072, 4_096),
    Family("llama-3.2", 131_072, 4_096),
    Family("llama3.3", 131_072, 4_096),
    Family("llama-3.3", 131_072, 4_096),
    Family("llama-4", 1_048_576, 8_192, vision=True),
    Family("mistral", 32_768, 8_192),
    Family("mistral-large", 131_072, 16_384),
    Family("mistral-small", 131_072, 16_384, vision=True),
    Family("mixtral", 32_768, 8_192),
    Family("gemma", 8_192, 8_192, tools=False),
    Family("gemma3", 131_072, 8_192, vision=True, tools=False),
    Family("gemma-3", 131_072, 8_192, vision=True, tools=False),
)

_LONGEST_FIRST = sorted(FAMILIES, key=lambda family: -len(family.prefix))


def bare_name(name: str) -> str:
    """The name without its publisher (``org/name``) and without the marks of a fine-tune (``ft:name:org``)."""
    return name.lower().rsplit("/", 1)[-1].removeprefix("ft:")


@lru_cache(maxsize=1024)  # asked for every request; names come from outside, so that some are forgotten
def family_of(name: str) -> Family:
    """What is known of a model by its name; :data:`UNKNOWN` when nothing is."""
    bare = bare_name(name)
    return next((family for family in _LONGEST_FIRST if bare.startswith(family.prefix)), UNKNOWN)


def describe(model: str | ModelConfig) -> ModelInfo:
    """A model with the values declared for it, and the catalogue's for the rest."""
    declared = ModelConfig(name=model) if isinstance(model, str) else model
    family = family_of(declared.name)
    return ModelInfo(
        declared.name,
        _first(declared.context_window, family.context_window),
        _first(declared.max_output, family.max_output),
        Capabilities(
            vision=_first(declared.vision, family.vision),
            tools=_first(declared.tools, family.tools),
            reasoning=_first(declared.reasoning, family.reasoning),
            stream_usage=_first(declared.stream_usage, True),
        ),
    )


def declared_models(config: AdapterConfig, default: str) -> Sequence[ModelInfo]:
    """The models of a provider's configuration, its default one first; ``default`` alone when it names none."""
    models = {info.name: info for info in map(describe, config.models)}
    first = config.default_model or next(iter(models), default)
    ordered = {first: models.get(first) or describe(first), **models}
    return tuple(ordered.values())


def _first(declared: _T | None, known: _T) -> _T:
    return known if declared is None else declared
