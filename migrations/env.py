"""How Alembic runs here: on a connection of its own, and in batch mode, which SQLite needs to alter a table."""

from typing import Any

import sqlalchemy as sa
from alembic import context

import models
from models.database import UtcDateTime

url = context.config.attributes.get("url")
if url is None:  # through `flask --app app db ...`
    from flask import current_app

    url = current_app.config["SQLALCHEMY_DATABASE_URI"]


def _render_item(kind: str, item: object, autogen: Any) -> str | bool:
    """Our own column type, written with its import."""
    if kind == "type" and isinstance(item, UtcDateTime):
        autogen.imports.add("from models.database import UtcDateTime")
        return "UtcDateTime()"
    return False


engine = sa.create_engine(url, poolclass=sa.NullPool)
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=models.db.metadata,
        render_as_batch=True,
        compare_type=True,
        render_item=_render_item,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
