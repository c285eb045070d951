"""Every error has a status and a code; every foreign one is mapped, or left alone on purpose."""

import inspect
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI
from sqlalchemy import exc

from api.faults import status_of
from api.openapi import document
from domain import errors
from models import db
from repositories.database_errors import mapped
from tests.actors import Actor, refused

# Mistakes in our own code: they must stay what they are, be logged with their traceback, and answer 500.
OUR_MISTAKES = {
    exc.AmbiguousColumnError,
    exc.AmbiguousForeignKeysError,
    exc.ArgumentError,
    exc.AwaitRequired,
    exc.CircularDependencyError,
    exc.CompileError,
    exc.ConstraintColumnNotFoundError,
    exc.DuplicateColumnError,
    exc.EmulatedDBAPIException,
    exc.IdentifierError,
    exc.IllegalStateChangeError,
    exc.InvalidRequestError,
    exc.MissingGreenlet,
    exc.MultipleResultsFound,
    exc.NoDBAPILoaded,
    exc.NoForeignKeysError,
    exc.NoInspectionAvailable,
    exc.NoReferenceError,
    exc.NoReferencedColumnError,
    exc.NoReferencedTableError,
    exc.NoResultFound,
    exc.NoSuchColumnError,
    exc.NoSuchModuleError,
    exc.NoSuchTableError,
    exc.NotSupportedError,
    exc.ObjectNotExecutableError,
    exc.PendingRollbackError,
    exc.ProgrammingError,
    exc.ResourceClosedError,
    exc.SQLAlchemyError,
    exc.StatementError,
    exc.UnboundExecutionError,
    exc.UnreflectableTableError,
    exc.UnsupportedCompilationError,
}


def tree_of(cls: type[errors.AppError]) -> Iterator[type[errors.AppError]]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from tree_of(subclass)


ALL = sorted(set(tree_of(errors.AppError)), key=lambda cls: cls.__name__)
IN_THE_TREE = [cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, errors.AppError)]


def made(cls: type[errors.AppError]) -> errors.AppError:
    return cls("message", "idle") if issubclass(cls, errors.ProviderTimeout) else cls("message")


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_error_has_a_status_and_a_code(cls: type[errors.AppError]) -> None:
    assert 400 <= status_of(made(cls)) <= 504
    assert made(cls).error_code == cls.code
    assert "code" in vars(cls), "an error without a code of its own is told like its parent"


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in ALL]

    assert len(codes) == len(set(codes))


def test_only_our_own_faults_answer_500() -> None:
    assert {cls.__name__ for cls in ALL if status_of(made(cls)) == 500} == {"AppError", "SchemaError"}


def test_statuses_of_the_tree_are_in_the_document(app: OpenAPI) -> None:
    documented = document(app)["components"]["responses"]
    told = {status for path in document(app)["paths"].values() for one in path.values() for status in one["responses"]}

    assert {str(status_of(made(cls))) for cls in IN_THE_TREE if cls is not errors.AppError} <= told
    assert len(documented) == len({status for status in told if status >= "400"})


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = errors.__doc__ or ""

    assert [cls.__name__ for cls in IN_THE_TREE if cls.__name__ not in drawn] == []


def sqlalchemy_errors() -> list[type[exc.SQLAlchemyError]]:
    return [cls for cls in vars(exc).values() if inspect.isclass(cls) and issubclass(cls, exc.SQLAlchemyError)]


@pytest.mark.parametrize("cls", sqlalchemy_errors(), ids=lambda cls: cls.__name__)
def test_every_error_of_sqlalchemy_is_mapped_or_ours(cls: type[exc.SQLAlchemyError]) -> None:
    error = cls("SELECT 1", {}, Exception("driver")) if issubclass(cls, exc.DBAPIError) else cls.__new__(cls)
    result = mapped(error)

    assert (result is error) == (cls in OUR_MISTAKES), f"decide what {cls.__name__} is"


def test_a_lost_connection_is_told_as_such_whatever_the_driver_calls_it() -> None:
    error = exc.DBAPIError("SELECT 1", {}, Exception("gone"), connection_invalidated=True)

    assert isinstance(mapped(error), errors.Unavailable)


def test_a_broken_schema_answers_503_and_tells_nothing(app: OpenAPI, user: Actor) -> None:
    with app.app_context():
        db.session.execute(sa.text("ALTER TABLE sessions RENAME TO hidden"))
        db.session.commit()

    body = refused(user.get("/api/v1/sessions"), 503, "database_unavailable")
    assert not {"hidden", "sessions", "SELECT"} & set(str(body).split())


def test_a_mistake_of_ours_answers_500_and_tells_nothing(
    app: OpenAPI, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake(*_: object) -> None:
        raise KeyError("secret detail")

    monkeypatch.setattr(type(app.extensions["unichat"].sessions), "get", mistake)

    body = refused(user.get("/api/v1/sessions/sess_1"), 500, "internal_error")
    assert "secret" not in str(body)
    assert body["request_id"]
