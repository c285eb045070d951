"""What the end-to-end tests share."""

from collections.abc import Iterator

import pytest

from tests.servers import Servers


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A database that several nodes can share, with today's schema and no rows."""
    server = servers.database("mariadb")
    url = server.migrated_database()
    yield url
    server.drop(url)
