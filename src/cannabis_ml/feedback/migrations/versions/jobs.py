"""Tables of batch jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables of jobs and of their photos."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("language", sa.String(16), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("photos", sa.Integer, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
    )
    op.create_index("jobs_by_end", "jobs", ["expires_at"])
    op.create_table(
        "job_photos",
        sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("suffix", sa.String(8)),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("claimed_until", sa.DateTime()),
        sa.Column("place", sa.Integer),
        sa.Column("result", sa.Text),
    )
    op.create_index("job_photos_by_place", "job_photos", ["place", "number"])
