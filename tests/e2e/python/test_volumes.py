"""Volumes: made, mounted in many sandboxes, read and written from outside."""

import asyncio
import datetime
import io
import os
import uuid

import pytest
from e2b import AsyncVolume, NotFoundException, Sandbox, SandboxException, Volume, VolumeException

os.environ.setdefault("E2B_VOLUME_API_URL", os.environ["E2B_API_URL"])


@pytest.fixture
def fresh():
    """Makes volumes, and removes them when the test and its sandboxes are over."""
    made = []

    def create():
        made.append(Volume.create(f"test-{uuid.uuid4().hex}"))
        return made[-1]

    yield create
    for one in made:
        Volume.destroy(one.volume_id)


@pytest.fixture
def mounted(fresh, make):
    """A volume, and a function that makes sandboxes with it."""
    one = fresh()

    def with_it(**options):
        return make(volume_mounts={"/mnt/data": one}, **options)

    return one, with_it


def test_made_listed_described_and_destroyed(fresh):
    one, other = fresh(), fresh()
    assert one.volume_id != other.volume_id and one.token and one.token != other.token
    ids = {found.volume_id: found.name for found in Volume.list()}
    assert ids[one.volume_id] == one.name and other.volume_id in ids
    info = Volume.get_info(one.volume_id)
    assert (info.volume_id, info.name, info.token) == (one.volume_id, one.name, one.token)
    again = Volume.connect(one.volume_id)
    assert (again.name, again.token) == (one.name, one.token)
    with pytest.raises(VolumeException):
        Volume.create(one.name)
    with pytest.raises(VolumeException):
        Volume.create("no such/name")
    assert Volume.destroy(one.volume_id) is True
    assert Volume.destroy(one.volume_id) is False
    with pytest.raises(NotFoundException):
        Volume.get_info(one.volume_id)
    with pytest.raises(NotFoundException):
        one.list("/")


def test_content_without_any_sandbox(fresh):
    one = fresh()
    assert one.list("/") == []
    entry = one.write_file("/note.txt", "Zeile ☃\n")
    assert (entry.name, entry.path, entry.type.value, entry.size) == ("note.txt", "/note.txt", "file", 10)
    assert entry.mode == 0o644 and (entry.uid, entry.gid) == (1000, 1000)
    assert isinstance(entry.mtime, datetime.datetime) and entry.mtime.tzinfo
    assert one.read_file("/note.txt") == "Zeile ☃\n"
    assert one.read_file("note.txt", format="bytes") == "Zeile ☃\n".encode()
    one.write_file("/note.txt", b"")
    assert one.read_file("/note.txt") == ""
    block = bytes(range(256)) * 4096
    one.write_file("/large", io.BytesIO(block), mode=0o600, uid=0, gid=0)
    assert b"".join(one.read_file("/large", format="stream")) == block
    made = one.make_dir("/a/b/c", force=True, mode=0o700)
    assert (made.type.value, made.mode) == ("directory", 0o700)
    with pytest.raises(NotFoundException):
        one.make_dir("/x/y")
    with pytest.raises(VolumeException):
        one.make_dir("/a")
    assert [found.path for found in one.list("/")] == ["/a", "/large", "/note.txt"]
    assert [found.path for found in one.list("/a", depth=5)] == ["/a/b", "/a/b/c"]
    changed = one.update_metadata("/note.txt", uid=1, gid=2, mode=0o640)
    assert (changed.uid, changed.gid, changed.mode) == (1, 2, 0o640)
    assert one.exists("/large") and not one.exists("/nothing")
    one.remove("/a")
    one.remove("/large")
    with pytest.raises(NotFoundException):
        one.remove("/large")
    assert [found.name for found in one.list("/")] == ["note.txt"]
    assert one.get_info("/").type.value == "directory"
    for wrong in (lambda: one.read_file("/nothing"), lambda: one.list("/nothing")):
        with pytest.raises(NotFoundException):
            wrong()
    with pytest.raises(VolumeException):
        one.list("/note.txt")


def test_two_sandboxes_and_the_outside_see_the_same_files(mounted):
    one, with_it = mounted
    first, second = with_it(), with_it()
    first.commands.run("echo from the first >/mnt/data/shared && mkdir /mnt/data/d")
    assert second.files.read("/mnt/data/shared") == "from the first\n"
    second.files.write("/mnt/data/d/answer", "from the second")
    assert first.files.read("/mnt/data/d/answer") == "from the second"
    # Read and written from outside, while it is mounted.
    assert one.read_file("/shared") == "from the first\n"
    assert one.get_info("/shared").uid == 1000
    one.write_file("/d/outside", "from outside")
    assert first.commands.run("cat /mnt/data/d/outside && rm /mnt/data/d/outside").stdout == "from outside"
    assert not one.exists("/d/outside")
    info = first.get_info()
    mounts = getattr(info, "volume_mounts", None)
    if mounts is not None:
        assert [(m.name, m.path) if not isinstance(m, dict) else (m["name"], m["path"]) for m in mounts] == [
            (one.name, "/mnt/data")
        ]
    # Links lead nowhere outside of it.
    first.commands.run("ln -s /etc/passwd /mnt/data/link && ln -s ../../../etc /mnt/data/up")
    link = one.get_info("/link")
    assert (link.type.value, link.target) == ("symlink", "/etc/passwd")
    for path in ("/link", "/up/passwd", "/../etc/passwd"):
        with pytest.raises(NotFoundException):
            one.read_file(path)


def test_it_outlives_its_sandboxes(mounted):
    one, with_it = mounted
    first = with_it()
    first.commands.run("echo kept >/mnt/data/file && sync")
    first.kill()
    assert with_it().files.read("/mnt/data/file") == "kept\n"


def test_it_is_not_removed_while_mounted(mounted, make, until):
    one, with_it = mounted
    sandbox = with_it()
    with pytest.raises(VolumeException, match="mounted"):
        Volume.destroy(one.volume_id)
    sandbox.files.write("/mnt/data/still", "there")
    assert one.read_file("/still") == "there"
    sandbox.kill()
    assert Volume.destroy(one.volume_id) is True
    with pytest.raises(SandboxException):
        with_it()


def test_a_paused_sandbox_keeps_it(mounted, api):
    one, with_it = mounted
    sandbox = with_it()
    sandbox.files.write("/mnt/data/file", "before")
    for memory in (True, False):
        assert api.post(f"/sandboxes/{sandbox.sandbox_id}/pause", json={"memory": memory}).status == 204
        with pytest.raises(VolumeException, match="mounted"):
            Volume.destroy(one.volume_id)
        one.write_file("/file", f"meanwhile {memory}")
        again = Sandbox.connect(sandbox.sandbox_id, timeout=120)
        assert again.files.read("/mnt/data/file") == f"meanwhile {memory}"
    sandbox.kill()
    assert Volume.destroy(one.volume_id) is True


def test_what_cannot_be_mounted_is_refused(fresh):
    one = fresh()
    for place in ("relative", "/", "/proc/x", "/a/../b"):
        with pytest.raises(SandboxException, match="volumeMounts"):
            Sandbox.create(volume_mounts={place: one})
    with pytest.raises(SandboxException, match="one below the other"):
        Sandbox.create(volume_mounts={"/x": one, "/x/y": one})


def test_only_its_own_token_opens_it(fresh):
    one, other = fresh(), fresh()
    stranger = Volume(one.volume_id, one.name, other.token)
    with pytest.raises(Exception, match="token"):
        stranger.list("/")


def test_asynchronously():
    async def job():
        one = await AsyncVolume.create(f"test-{uuid.uuid4().hex}")
        try:
            await one.write_file("/f", "text")
            assert await one.read_file("/f") == "text"
            assert [entry.name for entry in await one.list("/")] == ["f"]
            await one.remove("/f")
            assert not await one.exists("/f")
        finally:
            assert await AsyncVolume.destroy(one.volume_id)

    asyncio.run(job())
