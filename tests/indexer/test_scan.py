"""Scanning must find every media file once and never leave the roots (T13)."""

import os
from pathlib import Path

import pytest

from indexer.errors import OutsideMediaRoot, PathNotFound
from indexer.scan import Found, resolve, scan


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(found: list[Found]) -> list[str]:
    return sorted(one.path for one in found)


def look(*paths: Path, roots: list[Path] | None = None) -> list[Found]:
    roots = roots or []
    return list(scan([resolve(path, roots, owner=True) for path in paths], roots))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    return folder


def test_media_files_are_found_at_any_depth_and_others_ignored(root: Path) -> None:
    for name in ("a.mp4", "deep/er/b.MKV", "c.wav", "notes.txt", "manifest.jsonl", "b.jpg", ".c.mp4", ".git/d.mp4"):
        touch(root / name)
    assert names(look(root)) == ["a.mp4", "c.wav", "deep/er/b.MKV"]


def test_a_file_given_alone_has_its_folder_as_root(root: Path) -> None:
    touch(root / "other.mp4")
    found = look(touch(root / "a.mp4"))
    assert [(one.root, one.path) for one in found] == [(root, "a.mp4")]


def test_overlapping_paths_give_each_file_once(root: Path) -> None:
    touch(root / "sub" / "a.mp4")
    assert len(look(root, root / "sub", root / "sub" / "a.mp4")) == 1


def test_a_file_keeps_its_root_when_one_is_added_around_it(root: Path) -> None:
    touch(root / "sub" / "a.mp4")
    inner = look(root / "sub")
    outer = look(root, roots=[root / "sub"])
    assert [(one.root, one.path) for one in outer] == [(one.root, one.path) for one in inner]


@pytest.mark.timeout(60)  # with one look at every scope for every file it takes many minutes
def test_thousands_of_files_may_be_named_one_by_one(root: Path) -> None:
    paths = [touch(root / f"{number}.mp4") for number in range(3000)]
    assert len(look(*paths)) == len(look(*paths, roots=[root])) == 3000


def test_links_inside_the_root_count_once_and_links_out_are_refused(root: Path, tmp_path: Path) -> None:
    touch(root / "a.mp4")
    secret = touch(tmp_path / "outside" / "secret.mp4")
    (root / "again.mp4").symlink_to(root / "a.mp4")
    (root / "out.mp4").symlink_to(secret)
    (root / "folder").symlink_to(secret.parent)
    (root / "loop").symlink_to(root)
    (root / "self.mp4").symlink_to(root / "self.mp4")
    (root / "nowhere.mp4").symlink_to(root / "gone.mp4")
    found = {one.path: one.problem and one.problem[0] for one in look(root)}
    assert found == {
        "a.mp4": None,
        "out.mp4": "outside_media_root",
        "self.mp4": "unreadable",
        "nowhere.mp4": "unreadable",
    }


def test_what_is_no_regular_file_is_refused_without_opening_it(root: Path) -> None:
    os.mkfifo(root / "pipe.mp4")
    (root / "zero.mp4").symlink_to("/dev/zero")
    found = {one.path: one.problem and one.problem[0] for one in look(root, roots=[Path("/dev"), root])}
    assert found == {"pipe.mp4": "not_a_file", "zero.mp4": "not_a_file"}


@pytest.mark.parametrize(
    "given",
    [
        "../secret.mp4", "sub/../../secret.mp4", "/etc/passwd", "..", "sub/../..", "/", "link/secret.mp4",
        "http://127.0.0.1:9/a.mp4", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_paths_through_the_api_cannot_leave_the_roots(root: Path, tmp_path: Path, given: str) -> None:
    touch(tmp_path / "secret.mp4")
    (root / "sub").mkdir()
    (root / "link").symlink_to(tmp_path)
    try:
        scope = resolve(given, [root], owner=False)
    except (OutsideMediaRoot, PathNotFound):
        return
    assert scope.root == root and not scope.exists  # a strange name inside the root that nothing answers to
    assert list(scan([scope], [root])) == []


@pytest.mark.parametrize("given", ["a\0.mp4", "a" * 4096, "%2e%2e/secret.mp4", "%2e%2e%2fsecret.mp4"])
def test_strange_names_are_names(root: Path, tmp_path: Path, given: str) -> None:
    touch(tmp_path / "secret.mp4")
    try:
        scope = resolve(given, [root], owner=False)
    except PathNotFound:
        return
    assert not scope.exists


def test_relative_paths_through_the_api_belong_to_the_root_that_has_them(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    touch(other / "b.mp4")
    scope = resolve("b.mp4", [root, other], owner=False)
    assert (scope.root, scope.path, scope.is_file) == (other, "b.mp4", True)


def test_others_are_not_told_what_lies_outside_the_roots(root: Path, tmp_path: Path) -> None:
    touch(tmp_path / "secret.mp4")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for given in ("secret.mp4", "nowhere", "loop"):
        with pytest.raises(OutsideMediaRoot):
            resolve(tmp_path / given, [root], owner=False)


def test_the_owner_is_told_of_a_path_that_does_not_exist(root: Path) -> None:
    with pytest.raises(PathNotFound, match="nowhere"):
        resolve(root / "nowhere", [], owner=True)


def test_a_known_folder_that_is_gone_is_no_error(root: Path) -> None:
    scope = resolve(root / "gone", [root], owner=True)
    assert not scope.exists and list(scan([scope], [root])) == []


def test_names_that_are_no_text_survive(root: Path) -> None:
    raw = os.fsencode(root) + b"/caf\xe9.mp4"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    (found,) = look(root)
    found.path.encode("utf-8")  # fit for the catalog and for JSON
    assert os.fsencode(found.file_path) == raw
    assert resolve(str(found.root / found.path), [root], owner=False).exists


def test_folders_of_our_own_are_left_out(root: Path) -> None:
    touch(root / "data" / "uploads" / "a.mp4")
    scopes = [resolve(root, [], owner=True)]
    assert list(scan(scopes, [root], skip=[root / "data"])) == []
    uploads = [resolve(root / "data" / "uploads", [], owner=True)]
    assert len(list(scan(uploads, [root], skip=[root / "data"]))) == 1
