"""Claims of turns by idempotency keys."""

import sqlalchemy as sa

from migrations.steps import CODE, ID, TIME, create_index, create_table, drop_table, required

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    create_table(
        "claims",
        required("key_hash", CODE),
        required("user_id", ID),
        required("request_hash", CODE),
        required("session_id", ID),
        required("message_id", ID),
        required("generation_id", ID),
        required("expires_at", TIME),
        sa.PrimaryKeyConstraint("key_hash", name="pk_claims"),
    )
    create_index("claims", "expires_at")


def downgrade() -> None:
    """Undo."""
    drop_table("claims")
