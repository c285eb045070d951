"""Sums of the ledger, which serving nodes fill; an index for what is kept of completions; one less of messages."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from migrations.steps import CODE, ID, NAME, TIME, create_index, create_table, drop_index, drop_table, required

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_COUNTS = (
    "turns",
    "leading_turns",
    "requests",
    "unpriced",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cost",
)
_NAMES = ("grain", "span", "start", "user_id", "key_id", "provider", "model")
_MARK = sa.table("usage_mark", sa.column("id", sa.Integer), sa.column("until", TIME))
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def upgrade() -> None:
    """Apply."""
    create_table(
        "usage_sums",
        required("grain", CODE),
        required("span", CODE),
        required("start", sa.Date),
        required("user_id", ID),
        required("key_id", ID),
        required("provider", CODE),
        required("model", NAME),
        *(required(name, sa.BigInteger) for name in _COUNTS),
        sa.PrimaryKeyConstraint(*_NAMES, name="pk_usage_sums"),
    )
    create_index("usage_sums", "user_id", "grain", "span", "start")
    create_index("usage_sums", "key_id", "grain", "span", "start")
    create_table(
        "usage_mark",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        required("until", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_usage_mark"),
    )
    if op.get_bind().scalar(sa.select(_MARK.c.id)) is None:
        op.get_bind().execute(sa.insert(_MARK).values(id=1, until=_BEGINNING))
    create_index("sessions", "kind", "created_at")
    # No query asks for it; but SQLite took it for those of a session, and read all messages of its owner.
    drop_index("messages", "user_id", "created_at")


def downgrade() -> None:
    """Undo."""
    create_index("messages", "user_id", "created_at")
    drop_index("sessions", "kind", "created_at")
    drop_table("usage_mark")
    drop_table("usage_sums")
