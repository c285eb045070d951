"""Programs that the tests need and that are not installed: skipped loudly, or a failure where they are required."""

import pytest

from tests import servers


def test_a_missing_program_is_skipped_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "REQUIRED", False)

    with pytest.raises(pytest.skip.Exception, match="NOT TESTED: no-such-server is not installed"):
        servers.program("no-such-server")


def test_a_missing_program_is_a_failure_at_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "REQUIRED", True)

    with pytest.raises(pytest.fail.Exception, match="no-such-server"):
        servers.program("no-such-server")
