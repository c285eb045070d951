"""Routes and server prompts that are set at run time."""

import sqlalchemy as sa

from migrations.steps import ID, LONG_TEXT, TIME, add_stamp, create_table, drop_stamp, drop_table, exact_text, required

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    create_table(
        "routes",
        required("name", exact_text(255)),
        required("targets", sa.JSON),
        required("updated_by", ID),
        required("updated_at", TIME),
        sa.PrimaryKeyConstraint("name", name="pk_routes"),
    )
    create_table(
        "server_prompts",
        required("public_model", exact_text(255)),
        required("text", LONG_TEXT),
        required("updated_by", ID),
        required("updated_at", TIME),
        sa.PrimaryKeyConstraint("public_model", name="pk_server_prompts"),
    )
    add_stamp("routes")
    add_stamp("server_prompts")


def downgrade() -> None:
    """Undo."""
    for name in ("server_prompts", "routes"):
        drop_table(name)
        drop_stamp(name)
