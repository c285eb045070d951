"""A full disk is told from other failures, whatever the driver calls it."""

import psycopg
import pymysql
import pytest
from sqlalchemy import exc

from domain.errors import StorageFull, Unavailable
from repositories.database_errors import mapped

FULL = [
    pymysql.err.OperationalError(1021, "Disk full (/tmp); waiting for someone to free some space..."),
    pymysql.err.OperationalError(1114, "The table 'messages' is full"),
    pymysql.err.InternalError(1030, 'Got error 28 "No space left on device" from storage engine InnoDB'),
    psycopg.errors.DiskFull("could not extend file: No space left on device"),
]
OTHERS = [
    pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query"),
    pymysql.err.InternalError(1030, "Got error 168 from storage engine"),
    psycopg.errors.TooManyConnections("too many clients"),
    psycopg.OperationalError("connection refused"),
    Exception(),
]


@pytest.mark.parametrize("driver_error", FULL, ids=repr)
def test_a_full_disk_is_known(driver_error: Exception) -> None:
    assert isinstance(mapped(exc.OperationalError("INSERT", {}, driver_error)), StorageFull)


@pytest.mark.parametrize("driver_error", OTHERS, ids=repr)
def test_other_failures_are_none(driver_error: Exception) -> None:
    assert type(mapped(exc.OperationalError("INSERT", {}, driver_error))) is Unavailable
