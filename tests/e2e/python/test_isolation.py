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


def test_what_root_does_to_usr_stays_inside(make):
    """Packages can be installed: /usr is the host's, below a layer of the sandbox's own."""
    first, second = make(), make()
    name, mode = f"planted-{uuid.uuid4().hex}", os.stat("/usr/bin/env").st_mode
    changes = f"echo own >/usr/bin/{name}; chmod 701 /usr/bin/env; echo own >>/usr/bin/env; rm /usr/bin/tac"
    first.commands.run(changes, user="root")
    look = f"ls /usr/bin/{name} 2>/dev/null; stat -c %a /usr/bin/env; ls /usr/bin/tac 2>/dev/null; true"
    assert first.commands.run(look).stdout == f"/usr/bin/{name}\n701\n"
    assert second.commands.run(look).stdout == f"{mode & 0o7777:o}\n/usr/bin/tac\n"
    assert not os.path.exists(f"/usr/bin/{name}")
    assert os.stat("/usr/bin/env").st_mode == mode
    assert os.path.exists("/usr/bin/tac")


def test_the_hosts_usr_is_not_writable_for_a_plain_user(sandbox):
    done = sandbox.commands.run("touch /usr/bin/x 2>/dev/null && echo written || echo refused")
    assert done.stdout == "refused\n"


def users_of(argument):
    """The host's ids of those who run a program with this argument."""
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/cmdline") as file:
                if argument not in file.read().split("\0"):
                    continue
            with open(f"/proc/{entry}/status") as file:
                (line,) = [line for line in file if line.startswith("Uid:")]
            found |= set(line.split()[1:])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_root_inside_is_nobody_outside(sandbox, until):
    # A number of seconds that nothing else waits.
    seconds = str(10**9 + uuid.uuid4().int % 10**8)
    handle = sandbox.commands.run(f"exec sleep {seconds}", background=True, user="root")
    owners = until(lambda: users_of(seconds), "the command")
    assert len(owners) == 1 and int(owners.pop()) >= 1 << 16
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
