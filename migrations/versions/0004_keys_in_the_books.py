"""The ledger knows which API key asked."""

import sqlalchemy as sa

from migrations.steps import ID, add_column, create_index, drop_column, drop_index, optional

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    add_column("ledger", optional("key_id", ID))
    add_column("ledger", sa.Column("key_budgeted", sa.Boolean, nullable=False, server_default=sa.false()))
    create_index("ledger", "key_id", "created_at")


def downgrade() -> None:
    """Undo."""
    drop_index("ledger", "key_id", "created_at")
    drop_column("ledger", "key_budgeted")
    drop_column("ledger", "key_id")
