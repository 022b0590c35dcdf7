"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make people, photos, submissions, opinions and what belongs to them."""
    op.create_table(
        "people",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("pseudonym", sa.String(128), nullable=False, unique=True),
        sa.Column("since", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "photos",
        sa.Column("photo_id", sa.String(64), primary_key=True),
        sa.Column("kept", sa.Boolean, nullable=False),
        sa.Column("suffix", sa.String(8)),
        sa.Column("bytes", sa.Integer),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("received_at", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "uploads",
        sa.Column("photo_id", sa.String(64), sa.ForeignKey("photos.photo_id"), primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("people.id"), primary_key=True),
        sa.Column("sent_sha256", sa.String(64), primary_key=True),
        sa.Column("consent", sa.Boolean, nullable=False),
    )
    op.create_index("uploads_by_person", "uploads", ["person_id"])
    op.create_index("uploads_by_hash", "uploads", ["sent_sha256"])
    op.create_table(
        "submissions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("people.id"), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("photo_id", sa.String(64), sa.ForeignKey("photos.photo_id"), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("seen_answer", sa.Boolean, nullable=False),
        sa.Column("annotator", sa.String(16), nullable=False),
        sa.Column("bundle_id", sa.String(128)),
        sa.Column("tier", sa.String(128)),
        sa.Column("decision", sa.String(128)),
        sa.Column("outputs", sa.Text),
        sa.Column("device", sa.String(100)),
        sa.Column("region", sa.String(100)),
        sa.Column("metadata", sa.Text),
        sa.UniqueConstraint("person_id", "key"),
    )
    op.create_index("submissions_by_photo", "submissions", ["photo_id"])
    op.create_table(
        "opinions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("submission_id", sa.Integer, sa.ForeignKey("submissions.id"), nullable=False),
        sa.Column("photo_id", sa.String(64), nullable=False),
        sa.Column("person_id", sa.Integer, nullable=False),
        sa.Column("head", sa.String(200), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("confidence", sa.Double),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("answered", sa.Text, nullable=False),
        sa.Column("answered_confidence", sa.Double),
        sa.Column("replaced", sa.Integer, nullable=False),
        sa.UniqueConstraint("photo_id", "person_id", "head", "replaced"),
    )
    op.create_index("opinions_by_submission", "opinions", ["submission_id"])
    op.create_table(
        "marks",
        sa.Column("photo_id", sa.String(64), sa.ForeignKey("photos.photo_id"), primary_key=True),
        sa.Column("purpose", sa.String(16), primary_key=True),
        sa.Column("head", sa.String(200), primary_key=True),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("probability", sa.Double),
        sa.Column("at", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "tombstones",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "removals",
        sa.Column("photo_id", sa.String(64), primary_key=True),
        sa.Column("suffix", sa.String(8), nullable=False),
    )
