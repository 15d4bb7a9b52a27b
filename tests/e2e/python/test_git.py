"""git inside a sandbox: by commands, and by the SDK's helpers, which are commands too."""


def test_by_commands(sandbox):
    run = sandbox.commands.run
    run("git init -q -b main work && cd work && git config user.email a@example.com && git config user.name A")
    sandbox.files.write("/home/user/work/file", "first\n")
    run("git add file && git commit -q -m first", cwd="/home/user/work")
    sandbox.files.write("/home/user/work/file", "second\n")
    assert "-first\n+second\n" in run("git diff", cwd="/home/user/work").stdout
    run("git commit -q -am second", cwd="/home/user/work")
    assert run("git log --format=%s", cwd="/home/user/work").stdout == "second\nfirst\n"
    run("git clone -q work copy && git -C copy rev-parse HEAD >a && git -C work rev-parse HEAD >b && cmp a b")


def test_by_helpers(sandbox):
    git = sandbox.git
    git.init("/home/user/work", initial_branch="main")
    git.configure_user("A", "a@example.com")
    sandbox.files.write("/home/user/work/file", "text")
    assert [entry.name for entry in git.status("/home/user/work").file_status] == ["file"]
    git.add("/home/user/work")
    git.commit("/home/user/work", "with a 'quoted' message")
    assert git.status("/home/user/work").is_clean
    git.create_branch("/home/user/work", "topic")
    branches = git.branches("/home/user/work")
    assert sorted(branches.branches) == ["main", "topic"] and branches.current_branch == "topic"
    log = sandbox.commands.run("git log --format=%s", cwd="/home/user/work").stdout
    assert log == "with a 'quoted' message\n"


def test_push_to_a_repository_served_inside(sandbox):
    sandbox.commands.run(
        "git init -q --bare hub.git && git clone -q hub.git work 2>/dev/null && cd work && "
        "git config user.email a@example.com && git config user.name A && "
        "echo x >x && git add x && git commit -qm x && git push -q origin HEAD:main"
    )
    assert sandbox.commands.run("git -C hub.git log --format=%s main").stdout == "x\n"
