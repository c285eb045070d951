"""Models that are registered at run time, and stamps of what nodes keep in memory."""

import sqlalchemy as sa

from migrations.steps import (
    CODE,
    ID,
    LONG_TEXT,
    NAME,
    TIME,
    add_stamp,
    create_index,
    create_table,
    drop_table,
    exact_text,
    optional,
    required,
)

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    create_table(
        "models",
        required("id", ID),
        optional("owner_id", ID),
        required("holder", ID),
        required("public_name", exact_text(255)),
        required("aliases", sa.JSON),
        required("kind", CODE),
        required("base_url", sa.String(500)),
        optional("api_key", LONG_TEXT),
        required("key_hint", CODE),
        required("upstream_model", NAME),
        optional("context_window", sa.Integer),
        optional("max_output", sa.Integer),
        required("capabilities", sa.JSON),
        required("visible_to", CODE),
        required("enabled", sa.Boolean),
        required("created_at", TIME),
        required("updated_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("holder", "public_name", name="uq_models_holder_public_name"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_models_owner_id", ondelete="CASCADE"),
    )
    create_index("models", "owner_id")
    create_table(
        "stamps",
        required("name", CODE),
        required("number", sa.BigInteger),
        sa.PrimaryKeyConstraint("name", name="pk_stamps"),
    )
    add_stamp("models")


def downgrade() -> None:
    """Undo."""
    drop_table("stamps")
    drop_table("models")
