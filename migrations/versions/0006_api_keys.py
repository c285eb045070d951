"""API keys."""

import sqlalchemy as sa

from migrations.steps import CODE, ID, NAME, TIME, create_index, create_table, drop_table, optional, required

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    create_table(
        "api_keys",
        required("id", ID),
        required("user_id", ID),
        required("name", NAME),
        required("prefix", CODE),
        required("key_hash", CODE),
        required("scopes", sa.JSON),
        optional("models", sa.JSON),
        optional("addresses", sa.JSON),
        *(optional(name, sa.Integer) for name in ("requests_per_minute", "tokens_per_minute", "parallel_requests")),
        required("disabled", sa.Boolean),
        *(optional(name, TIME) for name in ("expires_at", "revoked_at", "last_used_at")),
        required("created_by", ID),
        required("created_at", TIME),
        required("updated_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("key_hash", name="uq_api_keys_key_hash"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_api_keys_user_id", ondelete="CASCADE"),
    )
    create_index("api_keys", "user_id", "id")


def downgrade() -> None:
    """Undo."""
    drop_table("api_keys")
