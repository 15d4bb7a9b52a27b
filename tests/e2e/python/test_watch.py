"""Watching directories."""

import pytest
from e2b import FilesystemEventType as Kind
from e2b import FileNotFoundException, InvalidArgumentException, SandboxException


def collect(handle, until, done):
    """Events until `done(events)` holds; then all of them."""
    events = []

    def more():
        events.extend(handle.get_new_events())
        return done(events)

    until(more, f"the event (so far {[(e.type, e.name) for e in events]})")
    return events


def kinds(events, name):
    return [event.type for event in events if event.name == name]


def test_a_new_file_is_created_changed_and_written(sandbox, until):
    sandbox.files.make_dir("/home/user/w")
    handle = sandbox.files.watch_dir("/home/user/w")
    sandbox.files.write("/home/user/w/new.txt", "text")
    events = collect(handle, until, lambda seen: Kind.WRITE in kinds(seen, "new.txt"))
    seen = kinds(events, "new.txt")
    assert seen[0] == Kind.CREATE
    assert Kind.CHMOD in seen and Kind.WRITE in seen


def test_removing_and_renaming(sandbox, until):
    sandbox.files.write("/tmp/w/a", "")
    sandbox.files.write("/tmp/w/b", "")
    handle = sandbox.files.watch_dir("/tmp/w")
    sandbox.files.remove("/tmp/w/a")
    collect(handle, until, lambda seen: Kind.REMOVE in kinds(seen, "a"))
    sandbox.files.rename("/tmp/w/b", "/tmp/w/c")
    collect(handle, until, lambda seen: Kind.RENAME in kinds(seen, "b") and Kind.CREATE in kinds(seen, "c"))


def test_what_commands_do_is_seen(sandbox, until):
    sandbox.files.make_dir("/tmp/w")
    handle = sandbox.files.watch_dir("/tmp/w")
    sandbox.commands.run("echo x >/tmp/w/shell && chmod 600 /tmp/w/shell")
    events = collect(handle, until, lambda seen: Kind.CHMOD in kinds(seen, "shell"))
    assert kinds(events, "shell")[0] == Kind.CREATE
    assert Kind.WRITE in kinds(events, "shell")


def test_not_recursive(sandbox, until):
    sandbox.files.make_dir("/tmp/w/inner")
    handle = sandbox.files.watch_dir("/tmp/w")
    sandbox.files.write("/tmp/w/inner/unseen", "")
    sandbox.files.write("/tmp/w/seen", "")
    events = collect(handle, until, lambda seen: Kind.WRITE in kinds(seen, "seen") or Kind.CHMOD in kinds(seen, "seen"))
    assert not [event for event in events if "unseen" in event.name]


def test_recursive(sandbox, until):
    sandbox.files.make_dir("/tmp/w/one/two")
    handle = sandbox.files.watch_dir("/tmp/w", recursive=True)
    sandbox.files.write("/tmp/w/one/two/deep", "x")
    collect(handle, until, lambda seen: Kind.CREATE in kinds(seen, "one/two/deep"))


def test_recursive_follows_new_directories(sandbox, until):
    sandbox.files.make_dir("/tmp/w")
    handle = sandbox.files.watch_dir("/tmp/w", recursive=True)
    sandbox.files.make_dir("/tmp/w/later")
    collect(handle, until, lambda seen: Kind.CREATE in kinds(seen, "later"))
    sandbox.files.write("/tmp/w/later/file", "x")
    collect(handle, until, lambda seen: Kind.CREATE in kinds(seen, "later/file"))


def test_entries_on_demand(sandbox, until):
    sandbox.files.make_dir("/tmp/w")
    handle = sandbox.files.watch_dir("/tmp/w", include_entry=True)
    sandbox.files.write("/tmp/w/file", "12345")
    events = collect(handle, until, lambda seen: any(e.entry and e.entry.size == 5 for e in seen))
    entry = [event.entry for event in events if event.entry][-1]
    assert (entry.name, entry.path) == ("file", "/tmp/w/file")


def test_stop(sandbox):
    sandbox.files.make_dir("/tmp/w")
    handle = sandbox.files.watch_dir("/tmp/w")
    handle.stop()
    with pytest.raises(SandboxException):
        handle.get_new_events()


def test_what_cannot_be_watched(sandbox):
    with pytest.raises(FileNotFoundException):
        sandbox.files.watch_dir("/no/such/folder")
    sandbox.files.write("/tmp/file", "")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.watch_dir("/tmp/file")
