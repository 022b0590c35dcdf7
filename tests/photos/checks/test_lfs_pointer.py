"""A Git LFS pointer is told apart from other text, with the command that helps."""

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 18234\n"


def test_pointer(told):
    assert "git lfs pull" in told(POINTER)["lfs_pointer"]


def test_other_text(told):
    assert "lfs_pointer" not in told(b"see https://git-lfs.github.com/spec/v1")
