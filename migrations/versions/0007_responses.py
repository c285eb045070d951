"""Hidden sessions, and responses that clients may ask for again."""

import sqlalchemy as sa
from alembic import op

from migrations.steps import (
    CODE,
    ID,
    TIME,
    add_column,
    create_index,
    create_table,
    drop_column,
    drop_index,
    drop_table,
    optional,
    required,
)

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OLD_ORDER = ("user_id", "archived", "pinned", "updated_at", "id")
_ORDER = ("user_id", "kind", "archived", "pinned", "updated_at", "id")


def upgrade() -> None:
    """Apply."""
    add_column("sessions", sa.Column("kind", CODE, nullable=False, server_default="chat"))
    create_index("sessions", *_ORDER)  # before the other goes: MySQL wants one for the foreign key at all times
    drop_index("sessions", *_OLD_ORDER)
    create_table(
        "responses",
        required("id", ID),
        required("session_id", ID),
        required("user_id", ID),
        optional("key_id", ID),
        required("generation_id", ID),
        required("message_id", ID),
        optional("previous_response_id", ID),
        required("request", sa.JSON),
        required("background", sa.Boolean),
        required("created_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_responses"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_responses_session_id", ondelete="CASCADE"),
    )
    create_index("responses", "session_id")
    create_index("responses", "user_id", "previous_response_id")
    create_index("responses", "generation_id")


def downgrade() -> None:
    """Undo. What was hidden goes: an older version would show it as chats."""
    drop_table("responses")
    if "kind" in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("sessions")}:
        op.execute("DELETE FROM sessions WHERE kind <> 'chat'")
    create_index("sessions", *_OLD_ORDER)
    drop_index("sessions", *_ORDER)
    drop_column("sessions", "kind")
