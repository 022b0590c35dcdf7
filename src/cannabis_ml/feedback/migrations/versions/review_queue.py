"""The queue of photos that wait for a person, and opinions that were taken back."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables of the queue; note when a submission was taken back."""
    op.create_table(
        "queue",
        sa.Column("photo_id", sa.String(64), sa.ForeignKey("photos.photo_id"), primary_key=True),
        sa.Column("source", sa.String(16), primary_key=True),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("blind", sa.Boolean, nullable=False),
        sa.Column("suggestion", sa.Text),
        sa.Column("at", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "added_photos",
        sa.Column("photo_id", sa.String(64), sa.ForeignKey("photos.photo_id"), primary_key=True),
        sa.Column("sent_sha256", sa.String(64), primary_key=True),
    )
    op.create_index("added_photos_by_hash", "added_photos", ["sent_sha256"])
    op.add_column("submissions", sa.Column("withdrawn_at", sa.DateTime()))
