"""Embeddings of answers, and the rates at which photos are drawn for audit."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add a column of submissions and a table."""
    op.add_column("submissions", sa.Column("embedding", sa.LargeBinary))
    op.create_table(
        "audit_weeks",
        sa.Column("week", sa.String(10), primary_key=True),
        sa.Column("rate", sa.Double, nullable=False),
    )
