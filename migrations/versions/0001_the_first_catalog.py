"""The first catalog

Revision 0001, after nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_key_digest")),
        sa.UniqueConstraint("name", name=op.f("uq_api_key_name")),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "running",
                "done",
                "done_with_failures",
                "failed",
                "cancelled",
                name="jobstate",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("paths", sa.JSON(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("snapshot_id", sa.String(length=26), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.String(length=26), nullable=True),
        sa.Column("lease_host", sa.String(length=255), nullable=True),
        sa.Column("lease_boot", sa.String(length=64), nullable=True),
        sa.Column("lease_pid", sa.Integer(), nullable=True),
        sa.Column("lease_pid_start", sa.BigInteger(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_state"), ["state"], unique=False)

    op.create_table(
        "media_root",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media_root")),
        sa.UniqueConstraint("path", name=op.f("uq_media_root_path")),
    )
    op.create_table(
        "segment",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("fingerprint", sa.String(length=128), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("open", "sealed", "retired", name="segmentstate", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segment")),
    )
    with op.batch_alter_table("segment", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_segment_fingerprint"), ["fingerprint"], unique=False)

    op.create_table(
        "snapshot",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("fingerprint", sa.String(length=128), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column(
            "state",
            sa.Enum("published", "retired", "corrupt", name="snapshotstate", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column("videos", sa.Integer(), nullable=False),
        sa.Column("clips", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
    )
    with op.batch_alter_table("snapshot", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_snapshot_fingerprint"), ["fingerprint"], unique=False)

    op.create_table(
        "video",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("content_hash", sa.String(length=128), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "probing",
                "decoding",
                "encoding",
                "committing",
                "ready",
                "partial",
                "failed",
                "missing",
                "deleted",
                name="videostate",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("format", sa.String(length=64), nullable=True),
        sa.Column("duration_s", sa.Double(), nullable=True),
        sa.Column("has_video", sa.Boolean(), nullable=False),
        sa.Column("has_audio", sa.Boolean(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("collection", sa.String(length=255), nullable=True),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("missing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_video")),
        sa.UniqueConstraint("content_hash", name=op.f("uq_video_content_hash")),
    )
    with op.batch_alter_table("video", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_video_added_at"), ["added_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_video_collection"), ["collection"], unique=False)
        batch_op.create_index(batch_op.f("ix_video_duration_s"), ["duration_s"], unique=False)
        batch_op.create_index(batch_op.f("ix_video_recorded_at"), ["recorded_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_video_state"), ["state"], unique=False)

    op.create_table(
        "clip",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("video_id", sa.String(length=36), nullable=False),
        sa.Column("fingerprint", sa.String(length=128), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("start_s", sa.Double(), nullable=False),
        sa.Column("end_s", sa.Double(), nullable=False),
        sa.Column("segment_id", sa.String(length=26), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("crc32", sa.BigInteger(), nullable=False),
        sa.Column("coarse_offset", sa.BigInteger(), nullable=False),
        sa.Column("coarse_length", sa.Integer(), nullable=False),
        sa.Column("coarse_crc32", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["segment_id"], ["segment.id"], name=op.f("fk_clip_segment_id_segment")),
        sa.ForeignKeyConstraint(["video_id"], ["video.id"], name=op.f("fk_clip_video_id_video"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clip")),
        sa.UniqueConstraint("video_id", "fingerprint", "ordinal", name=op.f("uq_clip_video_id_fingerprint_ordinal")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("clip", schema=None) as batch_op:
        batch_op.create_index("ix_clip_fingerprint_video_id", ["fingerprint", "video_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_clip_segment_id"), ["segment_id"], unique=False)

    op.create_table(
        "file_failure",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("root_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=True),
        sa.Column("video_id", sa.String(length=36), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["root_id"], ["media_root.id"], name=op.f("fk_file_failure_root_id_media_root")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_file_failure")),
        sa.UniqueConstraint("root_id", "path", name=op.f("uq_file_failure_root_id_path")),
    )
    with op.batch_alter_table("file_failure", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_file_failure_video_id"), ["video_id"], unique=False)

    op.create_table(
        "job_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.String(length=26), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_event_job_id_job"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_event")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("job_event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_event_job_id"), ["job_id"], unique=False)

    op.create_table(
        "job_file",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.String(length=26), nullable=False),
        sa.Column("root_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "probing",
                "decoding",
                "encoding",
                "committing",
                "ready",
                "partial",
                "failed",
                "missing",
                "deleted",
                name="videostate",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("video_id", sa.String(length=36), nullable=True),
        sa.Column("in_hand", sa.Boolean(), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_file_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["root_id"], ["media_root.id"], name=op.f("fk_job_file_root_id_media_root")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_file")),
        sa.UniqueConstraint("job_id", "root_id", "path", name=op.f("uq_job_file_job_id_root_id_path")),
    )
    with op.batch_alter_table("job_file", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_file_job_id"), ["job_id"], unique=False)

    op.create_table(
        "video_tag",
        sa.Column("video_id", sa.String(length=36), nullable=False),
        sa.Column("tag", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["video_id"], ["video.id"], name=op.f("fk_video_tag_video_id_video"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("video_id", "tag", name=op.f("pk_video_tag")),
    )
    with op.batch_alter_table("video_tag", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_video_tag_tag"), ["tag"], unique=False)

    op.create_table(
        "video_uri",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("video_id", sa.String(length=36), nullable=False),
        sa.Column("root_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("missing_since", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["root_id"], ["media_root.id"], name=op.f("fk_video_uri_root_id_media_root")),
        sa.ForeignKeyConstraint(
            ["video_id"], ["video.id"], name=op.f("fk_video_uri_video_id_video"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_video_uri")),
        sa.UniqueConstraint("root_id", "path", name=op.f("uq_video_uri_root_id_path")),
    )
    with op.batch_alter_table("video_uri", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_video_uri_path"), ["path"], unique=False)
        batch_op.create_index(batch_op.f("ix_video_uri_video_id"), ["video_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("video_uri", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_video_uri_video_id"))
        batch_op.drop_index(batch_op.f("ix_video_uri_path"))

    op.drop_table("video_uri")
    with op.batch_alter_table("video_tag", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_video_tag_tag"))

    op.drop_table("video_tag")
    with op.batch_alter_table("job_file", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_file_job_id"))

    op.drop_table("job_file")
    with op.batch_alter_table("job_event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_event_job_id"))

    op.drop_table("job_event")
    with op.batch_alter_table("file_failure", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_file_failure_video_id"))

    op.drop_table("file_failure")
    with op.batch_alter_table("clip", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_clip_segment_id"))
        batch_op.drop_index("ix_clip_fingerprint_video_id")

    op.drop_table("clip")
    with op.batch_alter_table("video", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_video_state"))
        batch_op.drop_index(batch_op.f("ix_video_recorded_at"))
        batch_op.drop_index(batch_op.f("ix_video_duration_s"))
        batch_op.drop_index(batch_op.f("ix_video_collection"))
        batch_op.drop_index(batch_op.f("ix_video_added_at"))

    op.drop_table("video")
    with op.batch_alter_table("snapshot", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_snapshot_fingerprint"))

    op.drop_table("snapshot")
    with op.batch_alter_table("segment", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_segment_fingerprint"))

    op.drop_table("segment")
    op.drop_table("media_root")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_state"))

    op.drop_table("job")
    op.drop_table("api_key")
