"""The books: the ledger, prices, budgets."""

import sqlalchemy as sa

from migrations.steps import (
    CODE,
    ID,
    NAME,
    TIME,
    create_index,
    create_table,
    drop_table,
    exact_text,
    optional,
    required,
)

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MEASURES = ("requests", "tokens", "cost")


def upgrade() -> None:
    """Apply."""
    _ledger()
    _prices()
    _budgets()


def downgrade() -> None:
    """Undo."""
    for table in ("budgets", "prices", "ledger"):
        drop_table(table)


def _ledger() -> None:
    tokens = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    prices = ("input_price", "cached_price", "output_price", "reasoning_price")
    create_table(
        "ledger",
        required("id", ID),
        required("user_id", ID),
        optional("session_id", ID),
        required("generation_id", ID),
        required("attempt", sa.Integer),
        required("kind", CODE),
        required("provider", CODE),
        required("model", NAME),
        required("public_model", NAME),
        required("state", CODE),
        optional("source", CODE),
        optional("end_reason", CODE),
        optional("error_code", CODE),
        *(optional(name, sa.Integer) for name in tokens),
        *(optional(name, sa.BigInteger) for name in prices),
        *(required(name, sa.BigInteger) for name in ("cost", "held_tokens", "held_cost")),
        required("budgeted", sa.Boolean),
        required("created_at", TIME),
        optional("settled_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_ledger"),
        sa.UniqueConstraint("generation_id", "attempt", "kind", name="uq_ledger_generation_id_attempt_kind"),
    )
    create_index("ledger", "user_id", "created_at")
    create_index("ledger", "created_at")
    create_index("ledger", "state", "created_at")


def _prices() -> None:
    create_table(
        "prices",
        required("provider", CODE),
        required("model", exact_text(255)),
        *(required(name, sa.BigInteger) for name in ("input", "output", "cached", "reasoning", "image")),
        required("updated_by", ID),
        required("updated_at", TIME),
        sa.PrimaryKeyConstraint("provider", "model", name="pk_prices"),
    )


def _budgets() -> None:
    windows = ("day", "month", "total")
    create_table(
        "budgets",
        required("user_id", ID),
        *(required(f"{measure}_held", sa.BigInteger) for measure in _MEASURES),
        *(optional(f"{window}_{measure}_limit", sa.BigInteger) for window in windows for measure in _MEASURES),
        *(required(f"{window}_{measure}_used", sa.BigInteger) for window in windows for measure in _MEASURES),
        required("day_start", sa.Date),
        required("month_start", sa.Date),
        required("created_at", TIME),
        required("updated_at", TIME),
        sa.PrimaryKeyConstraint("user_id", name="pk_budgets"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_budgets_user_id", ondelete="CASCADE"),
    )
