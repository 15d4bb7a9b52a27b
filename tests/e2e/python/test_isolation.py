"""What one sandbox sees of another and of the host: nothing."""

import os
import uuid


def test_files_are_apart(make):
    first, second = make(), make()
    for path in ("/home/user/own", "/tmp/own", "/var/tmp/own"):
        first.files.write(path, "of the first")
        assert not second.files.exists(path)
    first.commands.run("echo x >/etc/own; echo x >/root/own", user="root")
    assert not second.files.exists("/etc/own")
    assert not second.files.exists("/root/own", user="root")


def test_processes_are_apart(make):
    first, second = make(), make()
    secret = uuid.uuid4().hex
    first.commands.run(f"exec -a {secret} sleep 1000", background=True)
    listing = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true"
    assert secret in first.commands.run(listing).stdout
    assert secret not in second.commands.run(listing, user="root").stdout
    assert [p.args for p in second.commands.list()] == []


def test_the_first_process_is_the_agent(sandbox):
    pids = sandbox.commands.run("ls /proc | grep -x '[0-9]*' | sort -n | head -1").stdout
    assert pids == "1\n"


def test_host_names_and_ids_are_apart(make):
    first, second = make(), make()
    look = "readlink /proc/self/ns/{pid,mnt,net,uts,ipc,user,cgroup} 2>/dev/null"
    one, two = (s.commands.run(look).stdout.split() for s in (first, second))
    mine = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "mnt", "net", "uts", "ipc", "user")]
    assert len(one) == len(two) == 7
    assert not set(one) & set(two)
    assert not set(one) & set(mine)


def test_nothing_of_the_host_is_inside(sandbox, tmp_path):
    secret = f"host-{uuid.uuid4().hex}"
    planted = [str(tmp_path / secret)]
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        planted.append(f"{folder}/{secret}")
    for path in planted:
        with open(path, "w") as file:
            file.write(secret)
    try:
        for path in planted:
            assert not sandbox.files.exists(path, user="root"), path
    finally:
        for path in planted:
            os.unlink(path)
    host_name = os.uname().nodename
    assert sandbox.commands.run("hostname").stdout.strip() != host_name


def test_usr_is_read_only_even_for_root(sandbox):
    name = f"planted-{uuid.uuid4().hex}"
    done = sandbox.commands.run(f"touch /usr/bin/{name} 2>/dev/null && echo written || echo refused", user="root")
    assert done.stdout == "refused\n"
    assert not os.path.exists(f"/usr/bin/{name}")
    done = sandbox.commands.run("chmod 777 /usr/bin/env 2>/dev/null && echo changed || echo refused", user="root")
    assert done.stdout == "refused\n"


def test_root_inside_is_nobody_outside(sandbox):
    handle = sandbox.commands.run("exec sleep 987654", background=True, user="root")
    owners = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline") as file:
                if "987654" not in file.read().split("\0"):
                    continue
            owners.add(os.stat(f"/proc/{entry}").st_uid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    assert owners and 0 not in owners
    handle.kill()


def test_mounting_and_loading_are_refused(sandbox):
    for tried in (
        "mount -t tmpfs none /mnt",
        "unshare -U true",
        "unshare -m true",
        "chroot / sh -c 'mount -t proc proc /mnt'",
        "mknod /tmp/sda b 8 0 && head -c1 /tmp/sda",
        "dmesg",
        "swapoff -a && echo 1 >/proc/sys/kernel/sysrq",
    ):
        done = sandbox.commands.run(f"({tried}) >/dev/null 2>&1 && echo allowed || echo refused", user="root")
        assert done.stdout == "refused\n", tried
