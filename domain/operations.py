"""What providers do beside answering in a chat: embeddings, pictures, moderation. In the words of OpenAI's API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from domain.usage import Usage

Operation = Literal["embeddings", "images", "moderations"]


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """One thing to be done by one model.

    ``fields`` are the top-level fields of the client's body, each with its bytes unchanged, and ``body`` is the whole
    of it, where that is known: adapters whose provider speaks the protocol send it as it is, but for the model's name.
    """

    operation: Operation
    model: str
    fields: Mapping[str, msgspec.Raw]
    body: bytes = b""
    end_user: str = ""


@dataclass(frozen=True, slots=True)
class OperationAnswer:
    """What came of it: ``body`` is the JSON to answer with, ``usage`` the provider's own count, if it told one."""

    body: bytes
    usage: Usage | None = None
