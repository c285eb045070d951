"""Model lists over our own transport, for providers whose traffic is guarded: the SDKs know nothing of the guard."""

from collections.abc import Sequence

import msgspec

from adapters.base_adapter import Deadlines, UpstreamCall
from adapters.failures import FailureMap, decode_or_fail
from adapters.transport import Transport

_DEADLINES = Deadlines(connect=5, first_token=10, idle=10, total=30)
_PAGE = 100
_MAX_PAGES = 50


class _Model(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_Model]


class _Named(msgspec.Struct):
    model: str


class _Page(msgspec.Struct):
    models: list[_Named]


class _Output(msgspec.Struct):
    output: _Page


_decode_list = msgspec.json.Decoder(_ModelList).decode
_decode_page = msgspec.json.Decoder(_Output).decode


def listed_models(transport: Transport, failures: FailureMap, path: str = "/models") -> Sequence[str]:
    """The names that ``GET /models`` lists in OpenAI's protocol (and in Anthropic's), sorted.

    Raises a :class:`ProviderError`.
    """
    body = transport.request_json("GET", path, UpstreamCall(_DEADLINES))
    answer: _ModelList = decode_or_fail(_decode_list, body, failures)
    return sorted(model.id for model in answer.data)


def paged_models(transport: Transport, failures: FailureMap) -> Sequence[str]:
    """The names that DashScope's own list has, page by page, sorted. Raises a :class:`ProviderError`."""
    names: set[str] = set()
    call = UpstreamCall(_DEADLINES)
    for page in range(1, _MAX_PAGES + 1):
        body = transport.request_json("GET", f"/models?page_no={page}&page_size={_PAGE}", call)
        answer: _Output = decode_or_fail(_decode_page, body, failures)
        names.update(one.model for one in answer.output.models)
        if len(answer.output.models) < _PAGE:
            break
    return sorted(names)
