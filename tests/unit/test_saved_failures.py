"""A failure that was saved is the same failure again."""

from collections.abc import Iterator

import pytest

from api.faults import status_of
from domain import errors
from services.generation_runner import AnswerTooLarge


def failures() -> Iterator[errors.ProviderError]:
    """One of each kind that a generation can end with."""
    kinds = [errors.ProviderError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        yield kind("why", "total") if issubclass(kind, errors.ProviderTimeout) else kind("why")  # type: ignore[arg-type]
    yield errors.ProviderError("why", "internal_error")
    for refused in (errors.InvalidInput, errors.UnsupportedInput, errors.TooLarge):
        yield errors.ProviderRejected("why", refused.code)


@pytest.mark.parametrize("failure", list(failures()), ids=repr)
def test_a_saved_failure_is_the_same_again(failure: errors.ProviderError) -> None:
    again = errors.saved_failure(failure.error_code, failure.message)

    assert type(again) is type(failure)
    assert (again.error_code, again.message, status_of(again)) == (failure.error_code, "why", status_of(failure))


def test_every_kind_is_known() -> None:
    assert AnswerTooLarge in {type(failure) for failure in failures()}
