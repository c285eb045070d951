"""Tools of the server that an API key allows."""

import sqlalchemy as sa

from migrations.steps import add_column, drop_column, optional

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    add_column("api_keys", optional("tools", sa.JSON))


def downgrade() -> None:
    """Undo."""
    drop_column("api_keys", "tools")
