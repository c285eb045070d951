"""Model lists by the official SDKs. Never imported at start: each SDK takes about a second and up to 50 MB."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx2
import openai
import requests
from dashscope.common.error import DashScopeException
from dashscope.models import Models

from adapters.failures import FailureMap
from domain.errors import ProviderError, ProviderTimeout, ProviderUnavailable

_SECONDS = 10
_PAGE = 100
_MAX_PAGES = 50
_NOT_UNDERSTOOD = (
    openai.OpenAIError,
    DashScopeException,
    requests.RequestException,
    httpx2.HTTPError,
    ValueError,
    KeyError,
    AttributeError,  # what the SDK does with a page of HTML
    TypeError,
)


def openai_models(base_url: str, key: str, headers: Mapping[str, str], failures: FailureMap) -> Sequence[str]:
    """The names that ``GET /models`` lists, sorted. Raises a :class:`ProviderError`."""

    def ask() -> Sequence[str]:
        # Without retries, redirects or proxies, as our own transport. The SDK insists on a key even where none is used.
        with (
            openai.DefaultHttpx2Client(timeout=_SECONDS, follow_redirects=False, trust_env=False) as http,
            openai.OpenAI(
                base_url=base_url, api_key=key or "none", default_headers=headers, max_retries=0, http_client=http
            ) as client,
        ):
            return sorted(model.id for model in client.models.list())

    return _asked(ask, failures)


def dashscope_models(base_url: str, key: str, failures: FailureMap) -> Sequence[str]:
    """The names that DashScope's native model list has, sorted. Raises a :class:`ProviderError`."""

    def ask() -> Sequence[str]:
        names: set[str] = set()
        for page in range(1, _MAX_PAGES + 1):
            found = _page(base_url, key, page, failures)
            names.update(found)
            if len(found) < _PAGE:
                break
        return sorted(names)

    return _asked(ask, failures)


def sdk_failure(error: Exception, failures: FailureMap) -> Exception:
    """The domain's error for an exception of either SDK or of the HTTP client in it; ``error`` itself otherwise."""
    if isinstance(error, openai.APIStatusError):
        return failures.from_response(error.status_code, error.response.headers, error.response.content)
    if isinstance(error, openai.APITimeoutError | requests.Timeout):
        return ProviderTimeout("The provider did not list its models in time.", "total")
    if isinstance(error, openai.APIConnectionError | requests.ConnectionError | httpx2.TransportError):
        return ProviderUnavailable("The provider cannot be reached.")
    if isinstance(error, _NOT_UNDERSTOOD):
        return failures.garbage(f"{type(error).__name__}: {error}")
    return error


def _asked(ask: Callable[[], Sequence[str]], failures: FailureMap) -> Sequence[str]:
    try:
        return ask()
    except ProviderError:
        raise
    except Exception as error:
        raise sdk_failure(error, failures) from error


def _page(base_url: str, key: str, page: int, failures: FailureMap) -> list[str]:
    answer: Any = Models.list(page=page, page_size=_PAGE, api_key=key, base_address=base_url, request_timeout=_SECONDS)
    if answer.status_code != requests.codes.ok:
        body = f"{answer.code}: {answer.message}".encode()
        raise failures.from_response(answer.status_code, answer.headers or {}, body)
    return [model["model"] for model in answer.output["models"]]
