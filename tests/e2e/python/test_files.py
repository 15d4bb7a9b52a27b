"""Files: every format in and out, directories, links, owners."""

import hashlib
import io

import pytest
from e2b import FileNotFoundException, FileType, InvalidArgumentException, NotFoundException, SandboxException

ODD = bytes(range(256)) * 41


def test_text_there_and_back(sandbox):
    text = "first line\nzweite Zeile ☃ 🚀\n\ttabbed\n"
    written = sandbox.files.write("/home/user/note.txt", text)
    assert (written.name, written.path, written.type) == ("note.txt", "/home/user/note.txt", FileType.FILE)
    assert sandbox.files.read("/home/user/note.txt") == text
    assert sandbox.commands.run("cat note.txt").stdout == text


def test_bytes_there_and_back(sandbox):
    sandbox.files.write("/tmp/odd", ODD)
    assert bytes(sandbox.files.read("/tmp/odd", format="bytes")) == ODD
    assert b"".join(sandbox.files.read("/tmp/odd", format="stream")) == ODD


def test_a_stream_in(sandbox):
    sandbox.files.write("/tmp/odd", io.BytesIO(ODD))
    assert bytes(sandbox.files.read("/tmp/odd", format="bytes")) == ODD


def test_raw_and_compressed_bodies(sandbox):
    sandbox.files.write("/tmp/raw", ODD, use_octet_stream=True)
    sandbox.files.write("/tmp/squeezed", ODD, gzip=True)
    assert bytes(sandbox.files.read("/tmp/raw", format="bytes")) == ODD
    assert bytes(sandbox.files.read("/tmp/squeezed", format="bytes")) == ODD
    assert bytes(sandbox.files.read("/tmp/squeezed", format="bytes", gzip=True)) == ODD


def test_a_large_file(sandbox):
    data = ODD * 800
    sandbox.files.write("/tmp/large", data)
    digest = sandbox.commands.run("sha256sum /tmp/large").stdout.split()[0]
    assert digest == hashlib.sha256(data).hexdigest()
    assert bytes(sandbox.files.read("/tmp/large", format="bytes")) == data


def test_an_empty_file(sandbox):
    sandbox.files.write("/tmp/empty", "")
    assert sandbox.files.get_info("/tmp/empty").size == 0
    assert sandbox.files.read("/tmp/empty") == ""
    assert bytes(sandbox.files.read("/tmp/empty", format="bytes")) == b""


def test_files_whose_size_stat_does_not_know(sandbox):
    told = sandbox.files.read("/proc/sys/kernel/random/boot_id")
    assert told == sandbox.commands.run("cat /proc/sys/kernel/random/boot_id").stdout
    assert len(told.strip()) == 36


def test_overwriting_shortens_and_keeps_the_mode(sandbox):
    sandbox.files.write("/tmp/f", "a longer text")
    sandbox.commands.run("chmod 751 /tmp/f")
    sandbox.files.write("/tmp/f", "short")
    assert sandbox.files.read("/tmp/f") == "short"
    assert sandbox.files.get_info("/tmp/f").mode == 0o751


def test_writing_makes_the_parents(sandbox):
    sandbox.files.write("/home/user/a/b/c.txt", "deep")
    assert sandbox.files.read("a/b/c.txt") == "deep"
    info = sandbox.files.get_info("/home/user/a")
    assert (info.type, info.owner, info.mode) == (FileType.DIR, "user", 0o755)


def test_relative_and_home_paths(sandbox):
    sandbox.files.write("plain.txt", "relative")
    assert sandbox.files.read("~/plain.txt") == "relative"
    assert sandbox.files.read("/home/user/plain.txt") == "relative"
    sandbox.files.write("mine.txt", "of root", user="root")
    assert sandbox.files.read("/root/mine.txt", user="root") == "of root"
    assert sandbox.files.get_info("/root/mine.txt", user="root").owner == "root"


def test_awkward_names(sandbox):
    for name in ("with space", "per%20cent", "ünï ☃", "a+b&c=d?e#f", "-rf", "new\nline"):
        sandbox.files.write(f"/tmp/names/{name}", name)
        assert sandbox.files.read(f"/tmp/names/{name}") == name
    assert len(sandbox.files.list("/tmp/names")) == 6


def test_many_at_once(sandbox):
    files = [{"path": f"/tmp/many/{n}.txt", "data": f"number {n}"} for n in range(20)]
    written = sandbox.files.write_files(files)
    assert [item.path for item in written] == [item["path"] for item in files]
    for item in files:
        assert sandbox.files.read(item["path"]) == item["data"]
    assert sandbox.files.write_files([]) == []


def test_reading_what_is_not_there(sandbox):
    with pytest.raises(FileNotFoundException) as failure:
        sandbox.files.read("/no/such/file")
    assert "/no/such/file" in str(failure.value)
    with pytest.raises(NotFoundException):
        sandbox.files.read("/no/such/file", format="bytes")


def test_a_directory_is_no_file(sandbox):
    with pytest.raises(SandboxException):
        sandbox.files.read("/tmp")
    with pytest.raises(SandboxException):
        sandbox.files.write("/tmp", "over a directory")
    assert sandbox.files.get_info("/tmp").type == FileType.DIR


def test_what_belongs_to_root_stays_so(sandbox):
    sandbox.files.write("/root/secret", "hidden", user="root")
    sandbox.commands.run("chmod 600 /root/secret && chmod 700 /root", user="root")
    with pytest.raises(SandboxException):
        sandbox.commands.run("cat /root/secret")
    with pytest.raises(SandboxException):
        sandbox.commands.run("echo x >/usr/bin/planted")


def test_info(sandbox):
    sandbox.files.write("/home/user/f.bin", b"12345")
    sandbox.commands.run("chmod 640 f.bin")
    info = sandbox.files.get_info("/home/user/f.bin")
    assert (info.name, info.path, info.type, info.size) == ("f.bin", "/home/user/f.bin", FileType.FILE, 5)
    assert (info.mode, info.permissions, info.owner, info.group) == (0o640, "-rw-r-----", "user", "user")
    assert info.symlink_target is None
    stamp = int(sandbox.commands.run("stat -c %Y f.bin").stdout)
    assert int(info.modified_time.timestamp()) == stamp
    folder = sandbox.files.get_info("/home/user")
    assert (folder.type, folder.permissions[0]) == (FileType.DIR, "d")
    with pytest.raises(FileNotFoundException):
        sandbox.files.get_info("/no/such/file")


def test_links(sandbox):
    sandbox.commands.run("cd /tmp && echo text >aim && ln -s aim link && mkdir box && ln -s box lane")
    link = sandbox.files.get_info("/tmp/link")
    assert link.symlink_target == "/tmp/aim"
    assert link.permissions.startswith("L")
    assert sandbox.files.read("/tmp/link") == "text\n"
    assert sandbox.files.get_info("/tmp/lane").symlink_target == "/tmp/box"
    sandbox.commands.run("cd /tmp && ln -s nowhere lost")
    names = {entry.name for entry in sandbox.files.list("/tmp")}
    assert {"aim", "link", "box", "lane"} <= names


def test_exists(sandbox):
    assert sandbox.files.exists("/home/user") is True
    assert sandbox.files.exists("/home/user/not-yet") is False
    sandbox.files.write("/home/user/not-yet", "")
    assert sandbox.files.exists("/home/user/not-yet") is True


def test_list_by_depth(sandbox):
    sandbox.commands.run("mkdir -p /tmp/t/a/b/c && touch /tmp/t/1 /tmp/t/a/2 /tmp/t/a/b/3")

    def seen(**depth):
        return sorted(entry.path for entry in sandbox.files.list("/tmp/t", **depth))

    assert seen() == seen(depth=1) == ["/tmp/t/1", "/tmp/t/a"]
    assert seen(depth=2) == ["/tmp/t/1", "/tmp/t/a", "/tmp/t/a/2", "/tmp/t/a/b"]
    assert seen(depth=9) == sorted(
        ["/tmp/t/1", "/tmp/t/a", "/tmp/t/a/2", "/tmp/t/a/b", "/tmp/t/a/b/3", "/tmp/t/a/b/c"]
    )
    kinds = {entry.name: entry.type for entry in sandbox.files.list("/tmp/t")}
    assert kinds == {"1": FileType.FILE, "a": FileType.DIR}
    with pytest.raises(InvalidArgumentException):
        sandbox.files.list("/tmp/t", depth=0)


def test_list_of_what_is_no_directory(sandbox):
    with pytest.raises(FileNotFoundException):
        sandbox.files.list("/no/such/folder")
    sandbox.files.write("/tmp/file", "")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.list("/tmp/file")


def test_an_empty_directory(sandbox):
    assert sandbox.files.make_dir("/tmp/hollow") is True
    assert sandbox.files.list("/tmp/hollow") == []


def test_make_dir(sandbox):
    assert sandbox.files.make_dir("/home/user/x/y/z") is True
    assert sandbox.files.make_dir("/home/user/x/y/z") is False
    info = sandbox.files.get_info("/home/user/x/y")
    assert (info.type, info.owner) == (FileType.DIR, "user")
    sandbox.files.write("/home/user/x/file", "")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.make_dir("/home/user/x/file")


def test_rename(sandbox):
    sandbox.files.write("/tmp/old", "moved")
    entry = sandbox.files.rename("/tmp/old", "/tmp/fresh/new")
    assert (entry.name, entry.path) == ("new", "/tmp/fresh/new")
    assert sandbox.files.read("/tmp/fresh/new") == "moved"
    assert not sandbox.files.exists("/tmp/old")
    sandbox.files.rename("/tmp/fresh", "/tmp/folder")
    assert sandbox.files.read("/tmp/folder/new") == "moved"
    with pytest.raises(FileNotFoundException):
        sandbox.files.rename("/tmp/old", "/tmp/other")


def test_remove(sandbox):
    sandbox.files.write("/tmp/r/a/b", "")
    sandbox.files.remove("/tmp/r/a/b")
    assert not sandbox.files.exists("/tmp/r/a/b")
    sandbox.files.remove("/tmp/r")
    assert not sandbox.files.exists("/tmp/r")
    sandbox.files.remove("/tmp/r")


def test_metadata_of_a_file(sandbox):
    sandbox.files.write("/home/user/m", "x", metadata={"Origin": "a test", "n": "1"})
    info = sandbox.files.get_info("/home/user/m")
    assert info.metadata == {"origin": "a test", "n": "1"}
    sandbox.files.write("/home/user/m", "y")
    assert not sandbox.files.get_info("/home/user/m").metadata


def test_parts_of_a_file(sandbox, agent):
    sandbox.files.write("/tmp/digits", "0123456789")
    answer = agent(sandbox).get("/files?path=/tmp/digits", headers={"Range": "bytes=2-5"})
    assert (answer.status, answer.body) == (206, b"2345")
    assert answer.headers["Content-Range"] == "bytes 2-5/10"
    whole = agent(sandbox).get("/files?path=/tmp/digits")
    assert (whole.status, whole.body, whole.headers["Content-Length"]) == (200, b"0123456789", "10")
    sandbox.files.write("/tmp/empty", "")
    empty = agent(sandbox).get("/files?path=/tmp/empty")
    assert (empty.status, empty.body, empty.headers["Content-Length"]) == (200, b"", "0")


def test_uploads_that_cannot_be(sandbox, agent):
    plain = agent(sandbox)
    raw = {"Content-Type": "application/octet-stream"}
    plain.post("/files", body=b"x", headers=raw).error(400)
    plain.post("/files?path=/tmp/x", body=b"x", headers={"Content-Type": "text/plain"}).error(400)
    plain.post("/files?path=/tmp/x&username=nobody-such", body=b"x", headers=raw).error(401)
    plain.get("/files?path=/tmp").error(400)
    plain.get("/files?path=/no/such").error(404)
    assert not sandbox.files.exists("/tmp/x")
