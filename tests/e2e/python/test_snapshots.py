"""Snapshots and forks."""

import uuid

import pytest
from e2b import NotFoundException, Sandbox, SandboxException


def boot_id(sandbox):
    return sandbox.files.read("/proc/sys/kernel/random/boot_id")


def ids(**options):
    pages, found = Sandbox.list_snapshots(**options), []
    while pages.has_next:
        found += [item.snapshot_id for item in pages.next_items()]
    return found


@pytest.fixture
def snap():
    """Takes snapshots, and deletes them when the test is over."""
    made = []

    def create(sandbox, **options):
        made.append(sandbox.create_snapshot(**options))
        return made[-1]

    yield create
    for one in made:
        Sandbox.delete_snapshot(one.snapshot_id)


def test_a_snapshot_is_a_template(make, snap):
    source = make()
    source.files.write("/home/user/state.txt", "as it was")
    source.commands.run("rm /etc/motd 2>/dev/null; mkdir -p /tmp/a/b && echo deep >/tmp/a/b/c", user="root")
    snapshot = snap(source)
    source.files.write("/home/user/state.txt", "changed later")
    assert source.is_running(), "the source runs on"
    first, second = make(snapshot.snapshot_id), make(snapshot.snapshot_id)
    for child in (first, second):
        assert child.files.read("/home/user/state.txt") == "as it was"
        assert child.files.read("/tmp/a/b/c") == "deep\n"
    # Each has a disk of its own.
    first.files.write("/home/user/state.txt", "mine")
    assert second.files.read("/home/user/state.txt") == "as it was"
    assert boot_id(first) != boot_id(source)


def test_parents_may_go(make, snap):
    """Snapshot of a child of a snapshot: each outlives all it came from."""
    source = make()
    source.files.write("/home/user/1", "one")
    first = snap(source)
    child = make(first.snapshot_id)
    child.files.write("/home/user/2", "two")
    second = snap(child)
    assert source.kill() and Sandbox.delete_snapshot(first.snapshot_id) is True
    assert child.files.read("/home/user/1") == "one"
    assert child.kill()
    grandchild = make(second.snapshot_id)
    assert [grandchild.files.read(f"/home/user/{n}") for n in (1, 2)] == ["one", "two"]
    assert Sandbox.delete_snapshot(second.snapshot_id) is True
    assert Sandbox.delete_snapshot(second.snapshot_id) is False
    assert grandchild.files.read("/home/user/2") == "two"
    with pytest.raises((NotFoundException, SandboxException)):
        Sandbox.create(second.snapshot_id)


def test_lists_know_where_they_came_from(make, snap):
    source, other = make(), make()
    mine = [snap(source).snapshot_id for _ in range(3)]
    foreign = snap(other).snapshot_id
    assert ids(sandbox_id=source.sandbox_id) == mine[::-1]
    assert ids(sandbox_id=source.sandbox_id, limit=2) == mine[::-1], "page by page"
    assert ids(sandbox_id=other.sandbox_id) == [foreign]
    assert set(mine + [foreign]) <= set(ids())


def test_a_name_means_the_newest(make, snap):
    name = f"work-{uuid.uuid4().hex[:8]}"
    source = make()
    source.files.write("/tmp/n", "1")
    first = snap(source, name=name)
    assert first.names == [f"local/{name}"] and first.snapshot_id == f"local/{name}:default"
    source.files.write("/tmp/n", "2")
    second = snap(source, name=name)
    assert second.snapshot_id == first.snapshot_id
    assert [make(n).files.read("/tmp/n") for n in (name, second.snapshot_id)] == ["2", "2"]
    newest, older = ids(sandbox_id=source.sandbox_id)
    assert newest == second.snapshot_id
    assert make(older).files.read("/tmp/n") == "1"
    with pytest.raises(SandboxException):
        source.create_snapshot(name="base")
    with pytest.raises(SandboxException):
        source.create_snapshot(name="no such/name")


def test_only_what_runs_can_be_copied(make):
    sandbox = make()
    sandbox.pause()
    with pytest.raises(SandboxException):
        sandbox.create_snapshot()
    with pytest.raises(SandboxException):
        sandbox.fork()
    with pytest.raises(NotFoundException):
        Sandbox.create_snapshot("i" + "0" * 20)


def test_forks_begin_where_the_source_is(make):
    source = make(envs={"COLOUR": "green"}, metadata={"of": "source"})
    source.files.write("/home/user/state.txt", "as it was")
    source.commands.run("sleep 1000", background=True)
    boot, end = boot_id(source), source.get_info().end_at
    forks = source.fork(count=5, timeout=60)
    try:
        assert len(forks) == 5 and all(isinstance(fork, Sandbox) for fork in forks)
        assert len({fork.sandbox_id for fork in forks} | {source.sandbox_id}) == 6
        for number, fork in enumerate(forks):
            assert fork.files.read("/home/user/state.txt") == "as it was"
            assert fork.commands.run("echo $COLOUR").stdout == "green\n"
            fork.files.write("/home/user/state.txt", str(number))
            # Here a fork carries the disk; processes start afresh.
            assert boot_id(fork) != boot
            assert fork.commands.run("pgrep -x sleep || echo none").stdout == "none\n"
        assert [fork.files.read("/home/user/state.txt") for fork in forks] == list("01234")
        assert source.files.read("/home/user/state.txt") == "as it was"
        assert (boot_id(source), source.get_info().end_at) == (boot, end), "the source is as it was"
        assert source.commands.run("pgrep -x sleep >/dev/null && echo runs").stdout == "runs\n"
        assert forks[0].get_info().metadata == {"of": "source"}
        assert source.kill()
        assert forks[1].files.read("/home/user/state.txt") == "1"
    finally:
        for fork in forks:
            if isinstance(fork, Sandbox):
                fork.kill()
    assert ids(sandbox_id=source.sandbox_id) == [], "what carried them is gone"


def test_counts_have_bounds(make, api):
    path = f"/sandboxes/{make().sandbox_id}/fork"
    for bad in ({"count": 0}, {"count": 101}, {"count": "two"}, {"timeout": 0}):
        api.post(path, json=bad).error(400)


def test_what_is_no_snapshot_is_not_deleted(api):
    assert Sandbox.delete_snapshot("no-such-snapshot") is False
    api.ask("DELETE", "/templates/base").error(501)
