"""Every fault in the words of each protocol."""

import json

import pytest

from api.faults import Fault, fault_of
from api.openai.errors import chat_completions_shape
from domain import errors


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (errors.InvalidInput("no"), 400, "invalid_request_error", "invalid_request"),
        (errors.UnsupportedInput("no", "unsupported_parameter"), 400, "invalid_request_error", "unsupported_parameter"),
        (errors.ContextTooLong("no"), 400, "invalid_request_error", "context_length_exceeded"),
        (errors.ContentFiltered("no"), 400, "invalid_request_error", "content_filter"),
        (errors.NotAuthenticated("no", "invalid_token"), 401, "authentication_error", "invalid_api_key"),
        (errors.PermissionDenied("no", "model_not_allowed"), 403, "permission_error", "model_not_allowed"),
        (errors.NotFound("no", "model_not_found"), 404, "invalid_request_error", "model_not_found"),
        (errors.ModelNotFound("no"), 404, "invalid_request_error", "model_not_found"),
        (errors.LimitExceeded("no"), 429, "rate_limit_error", "rate_limit_exceeded"),
        (errors.ProviderRateLimited("no"), 429, "rate_limit_error", "rate_limit_exceeded"),
        (errors.BudgetExceeded("no"), 429, "insufficient_quota", "insufficient_quota"),
        (errors.AppError("no"), 500, "server_error", "internal_error"),
        (errors.UpstreamCut("no"), 502, "server_error", "upstream_cut"),
        (errors.Unavailable("no", "shutting_down"), 503, "server_error", "shutting_down"),
        (errors.ProviderTimeout("no", "idle"), 504, "server_error", "provider_timeout"),
    ],
)
def test_the_kind_and_the_code_of_each(error: errors.AppError, status: int, kind: str, code: str) -> None:
    told, body = chat_completions_shape(fault_of(error))

    assert (told, json.loads(body)) == (status, {"error": {"message": "no", "type": kind, "param": None, "code": code}})


def test_the_field_that_is_wrong_is_named() -> None:
    _, body = chat_completions_shape(Fault(422, "unsupported_parameter", "no", ("n", "logprobs")))

    assert json.loads(body)["error"]["param"] == "n"
