"""The first schema."""

import sqlalchemy as sa

from migrations.steps import (
    CODE,
    ID,
    LONG_TEXT,
    NAME,
    TIME,
    create_index,
    create_table,
    drop_table,
    exact_text,
    optional,
    required,
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _users()
    _sessions()
    _messages()
    _generations()


def downgrade() -> None:
    """Undo."""
    for table in ("generations", "messages", "sessions", "stream_tickets", "sign_ins", "users", "installation"):
        drop_table(table)


def _owned_by(table: str, owner: str, column: str) -> sa.ForeignKeyConstraint:
    """Rows that go when their owner goes."""
    return sa.ForeignKeyConstraint([column], [f"{owner}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE")


def _users() -> None:
    create_table(
        "installation",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        required("completed_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_installation"),
    )
    create_table(
        "users",
        required("id", ID),
        required("username", NAME),
        required("login_name", exact_text(255)),
        optional("email", exact_text(255)),
        required("password_hash", NAME),
        required("role", CODE),
        required("is_active", sa.Boolean),
        required("created_at", TIME),
        required("updated_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("login_name", name="uq_users_login_name"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    create_table(
        "sign_ins",
        required("id", ID),
        required("user_id", ID),
        required("refresh_hash", CODE),
        required("rotated_at", TIME),
        required("expires_at", TIME),
        optional("revoked_at", TIME),
        required("address", CODE),
        required("created_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_sign_ins"),
        _owned_by("sign_ins", "users", "user_id"),
    )
    create_index("sign_ins", "expires_at")
    create_index("sign_ins", "user_id", "address")
    create_table(
        "stream_tickets",
        required("ticket_hash", CODE),
        required("user_id", ID),
        required("sign_in_id", ID),
        required("session_id", ID),
        required("expires_at", TIME),
        sa.PrimaryKeyConstraint("ticket_hash", name="pk_stream_tickets"),
        _owned_by("stream_tickets", "users", "user_id"),
    )
    create_index("stream_tickets", "expires_at")


def _sessions() -> None:
    create_table(
        "sessions",
        required("id", ID),
        required("user_id", ID),
        required("title", NAME),
        required("title_source", CODE),
        optional("provider", CODE),
        optional("model", NAME),
        required("system_prompt", LONG_TEXT),
        optional("temperature", sa.Double),
        optional("max_tokens", sa.Integer),
        required("pinned", sa.Boolean),
        required("archived", sa.Boolean),
        required("context_start", sa.Integer),
        optional("upstream_provider", CODE),
        optional("upstream_state", NAME),
        required("created_at", TIME),
        required("updated_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        _owned_by("sessions", "users", "user_id"),
    )
    create_index("sessions", "user_id", "archived", "pinned", "updated_at", "id")


def _usage() -> tuple[sa.Column[int] | sa.Column[str], ...]:
    """The tokens that something cost."""
    return (
        optional("prompt_tokens", sa.Integer),
        optional("completion_tokens", sa.Integer),
        optional("cached_tokens", sa.Integer),
        optional("reasoning_tokens", sa.Integer),
        optional("usage_source", CODE),
    )


def _messages() -> None:
    create_table(
        "messages",
        required("id", ID),
        required("session_id", ID),
        required("user_id", ID),
        optional("parent_id", ID),
        optional("position", sa.Integer),
        required("role", CODE),
        required("parts", sa.JSON),
        required("text", LONG_TEXT),
        required("status", CODE),
        optional("end_reason", CODE),
        optional("error_code", CODE),
        optional("provider", CODE),
        optional("model", NAME),
        *_usage(),
        optional("generation_id", ID),
        required("created_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.UniqueConstraint("session_id", "position", name="uq_messages_session_id_position"),
        _owned_by("messages", "sessions", "session_id"),
    )
    create_index("messages", "session_id", "parent_id")
    create_index("messages", "user_id", "created_at")


def _generations() -> None:
    create_table(
        "generations",
        required("id", ID),
        required("session_id", ID),
        required("user_id", ID),
        required("message_id", ID),
        required("owner", CODE),
        required("epoch", sa.Integer),
        required("lease_until", TIME),
        required("stop_requested", sa.Boolean),
        required("status", CODE),
        optional("end_reason", CODE),
        optional("error_code", CODE),
        optional("error_message", sa.String(1000)),
        required("provider", CODE),
        required("model", NAME),
        required("context_limit", sa.Integer),
        *_usage(),
        optional("last_seq", sa.Integer),
        required("created_at", TIME),
        optional("first_token_at", TIME),
        optional("finished_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_generations"),
        _owned_by("generations", "sessions", "session_id"),
    )
    create_index("generations", "session_id", "created_at")
    create_index("generations", "status", "lease_until")
    create_index("generations", "user_id", "status")
