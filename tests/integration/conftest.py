"""What the integration tests share."""

from collections.abc import Iterator

import pytest

from tests.scripted_provider.client import ScriptedProvider


@pytest.fixture(scope="session")
def scripted_process() -> Iterator[ScriptedProvider]:
    """A provider over real HTTP, in a process of its own."""
    with ScriptedProvider.start() as provider:
        yield provider


@pytest.fixture
def provider(scripted_process: ScriptedProvider) -> ScriptedProvider:
    """It, with nothing to remember."""
    scripted_process.reset()
    return scripted_process
