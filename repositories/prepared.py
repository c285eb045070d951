"""Statements that are built and compiled once, not at every use: most of what a short one costs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, Any]


class Result(Protocol):
    """What a statement has come to."""

    @property
    def rowcount(self) -> int:
        """How many rows it found."""

    def fetchall(self) -> Sequence[Any]:
        """All of its rows, as the driver gives them."""


class Executes(Protocol):
    """A connection with an open transaction: one under SQLAlchemy's (:mod:`repositories.plain`), or SQLite's own."""

    @property
    def dialect(self) -> sa.Dialect:
        """What kind of database it leads to."""

    def exec_driver_sql(self, statement: str, parameters: Any = None, /) -> Result:
        """Execute it; with a list of parameters, once for each."""


class Prepared:
    """A statement with named parameters (``sa.bindparam``) for every kind of database.

    Rows come as the driver gives them: it is for columns that need no conversion.
    """

    def __init__(self, statement: sa.UpdateBase | sa.Select[Any]) -> None:
        self._statement = statement
        self._forms: dict[str, Form] = {}

    def on(self, connection: Executes, values: Values | Sequence[Values]) -> Result:
        """Execute it with these parameters; with a sequence, once for each."""
        form = self.form(connection.dialect)
        if isinstance(values, Mapping):
            return connection.exec_driver_sql(form.sql, form.bind(values))
        if len(values) == 1:
            return connection.exec_driver_sql(form.sql, form.bind(values[0]))
        return connection.exec_driver_sql(form.sql, [form.bind(one) for one in values])

    def form(self, dialect: sa.Dialect) -> "Form":
        """As a database of that kind takes it."""
        form = self._forms.get(dialect.name)
        if form is None:
            form = self._forms[dialect.name] = Form(self._statement, dialect)
        return form


class Form:
    """A compiled statement: its text, and how its parameters are put."""

    def __init__(self, statement: sa.UpdateBase | sa.Select[Any], dialect: sa.Dialect) -> None:
        compiled: SQLCompiler = statement.compile(dialect=dialect)
        self.sql = compiled.string
        names = compiled.bind_names
        self._positional = bool(compiled.positional)
        self._names = (compiled.positiontup or []) if compiled.positional else list(names.values())
        processors = {name: bind.type.dialect_impl(dialect).bind_processor(dialect) for bind, name in names.items()}
        self._processors = {name: process for name, process in processors.items() if process}
        self._constants = {name: bind.effective_value for bind, name in names.items() if not bind.required}

    def bind(self, values: Values) -> Any:
        """The parameters as the driver takes them."""
        told = {**self._constants, **values}
        for name, process in self._processors.items():
            told[name] = process(told[name])
        if self._positional:
            return tuple([told[name] for name in self._names])
        return {name: told[name] for name in self._names}
