"""How Alembic runs here: on its own connection, with batch mode where the database needs it."""

from typing import Any

import sqlalchemy as sa
from alembic import context

import models
from models.database import UtcDateTime

config = context.config
url = config.attributes.get("url")
if url is None:  # through the Flask CLI
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
