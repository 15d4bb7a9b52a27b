"""Terminals."""

import pytest
from e2b import CommandExitException, PtySize


class Screen:
    """Reads a terminal until a text comes; the terminal's own time limit ends a wait in vain."""

    def __init__(self, handle):
        self.events, self.seen = iter(handle), b""

    def read_until(self, text):
        while text not in self.seen:
            self.seen += next(self.events)[2] or b""
        head, _, self.seen = self.seen.partition(text)
        return head + text


def type_in(sandbox, handle, line):
    sandbox.pty.send_stdin(handle.pid, line.encode() + b"\n")


def test_echo(sandbox):
    handle = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=20)
    screen = Screen(handle)
    type_in(sandbox, handle, "echo $((40 + 2))-answer")
    screen.read_until(b"42-answer")
    type_in(sandbox, handle, "exit 6")
    with pytest.raises(CommandExitException) as end:
        handle.wait()
    assert end.value.exit_code == 6


def test_it_is_a_terminal_of_the_asked_size(sandbox):
    handle = sandbox.pty.create(PtySize(rows=31, cols=97), timeout=20)
    screen = Screen(handle)
    type_in(sandbox, handle, "[ -t 0 ] && [ -t 1 ] && stty size && echo TERM=$TERM,")
    screen.read_until(b"31 97")
    screen.read_until(b"TERM=xterm-256color,")
    handle.kill()


def test_resize(sandbox):
    handle = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=20)
    screen = Screen(handle)
    sandbox.pty.resize(handle.pid, PtySize(rows=50, cols=132))
    type_in(sandbox, handle, "stty size")
    screen.read_until(b"50 132")
    handle.kill()


def test_surroundings(sandbox):
    sandbox.files.make_dir("/tmp/here")
    handle = sandbox.pty.create(
        PtySize(rows=24, cols=200), cwd="/tmp/here", envs={"MINE": "yes"}, user="root", timeout=20
    )
    screen = Screen(handle)
    type_in(sandbox, handle, 'printf "<%s %s %s>\\n" "$(id -un)" "$PWD" "$MINE"')
    screen.read_until(b"<root /tmp/here yes>")
    handle.kill()


def test_interrupt_from_the_keyboard(sandbox):
    handle = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=20)
    screen = Screen(handle)
    # Whoever says "begin" is in the foreground already and does not take the signal as bash does.
    type_in(sandbox, handle, """sh -c 'echo begin-$((1 + 1)); exec sleep 1000'""")
    screen.read_until(b"begin-2")
    sandbox.pty.send_stdin(handle.pid, b"\x03")
    type_in(sandbox, handle, "echo after-$((2 + 2))")
    screen.read_until(b"after-4")
    handle.kill()


def test_reconnect(sandbox):
    first = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=20)
    type_in(sandbox, first, "KEPT=from-before")
    first.disconnect()
    again = sandbox.pty.connect(first.pid, timeout=20)
    assert again.pid == first.pid
    screen = Screen(again)
    type_in(sandbox, again, "echo [$KEPT]")
    screen.read_until(b"[from-before]")
    again.kill()


def test_kill(sandbox):
    handle = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=20)
    assert handle.pid in [process.pid for process in sandbox.commands.list()]
    assert sandbox.pty.kill(handle.pid) is True
    with pytest.raises(CommandExitException):
        handle.wait()
    assert sandbox.pty.kill(handle.pid) is False


def test_much_output_comes_whole(sandbox):
    handle = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=30)
    screen = Screen(handle)
    type_in(sandbox, handle, "stty -echo; seq 1 20000; echo last-$((1 + 1))")
    shown = screen.read_until(b"last-2")
    assert b"\r\n12345\r\n" in shown and b"\r\n20000\r\n" in shown
    handle.kill()
