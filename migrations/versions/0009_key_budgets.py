"""Budgets of API keys."""

import sqlalchemy as sa

from migrations.steps import ID, TIME, add_column, create_table, drop_column, drop_table, optional, required

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_MEASURES = ("requests", "tokens", "cost")
_WINDOWS = ("day", "month", "total")


def upgrade() -> None:
    """Apply."""
    add_column("api_keys", sa.Column("budgeted", sa.Boolean, nullable=False, server_default=sa.false()))
    create_table(
        "key_budgets",
        required("key_id", ID),
        *(required(f"{measure}_held", sa.BigInteger) for measure in _MEASURES),
        *(optional(f"{window}_{measure}_limit", sa.BigInteger) for window in _WINDOWS for measure in _MEASURES),
        *(required(f"{window}_{measure}_used", sa.BigInteger) for window in _WINDOWS for measure in _MEASURES),
        required("day_start", sa.Date),
        required("month_start", sa.Date),
        required("created_at", TIME),
        required("updated_at", TIME),
        sa.PrimaryKeyConstraint("key_id", name="pk_key_budgets"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_key_budgets_key_id", ondelete="CASCADE"),
    )


def downgrade() -> None:
    """Undo."""
    drop_table("key_budgets")
    drop_column("api_keys", "budgeted")
