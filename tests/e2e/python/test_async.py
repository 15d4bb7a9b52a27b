"""The SDK's asyncio half: its own client code, so its own tests."""

import asyncio

import pytest
from e2b import AsyncSandbox, CommandExitException, PtySize, SandboxQuery


def test_the_main_job(mark):
    async def job():
        sandbox = await AsyncSandbox.create(timeout=60, metadata=mark)
        try:
            heard = []
            result = await sandbox.commands.run("echo out; echo err >&2", on_stdout=heard.append)
            assert (result.stdout, result.stderr, heard) == ("out\n", "err\n", ["out\n"])
            await sandbox.files.write("/tmp/f", "text")
            assert await sandbox.files.read("/tmp/f") == "text"
            stream = await sandbox.files.read("/tmp/f", format="stream")
            assert b"".join([block async for block in stream]) == b"text"
            found = await AsyncSandbox.list(query=SandboxQuery(metadata=mark)).next_items()
            assert [item.sandbox_id for item in found] == [sandbox.sandbox_id]
            assert await sandbox.is_running()
        finally:
            assert await sandbox.kill()
        assert not await sandbox.is_running()

    asyncio.run(job())


def test_background_input_and_kill():
    async def job():
        async with await AsyncSandbox.create(timeout=60) as sandbox:
            handle = await sandbox.commands.run("cat", background=True, stdin=True)
            await sandbox.commands.send_stdin(handle.pid, "typed\n")
            await sandbox.commands.close_stdin(handle.pid)
            assert (await handle.wait()).stdout == "typed\n"
            handle = await sandbox.commands.run("exec sleep 1000", background=True)
            assert await handle.kill()
            with pytest.raises(CommandExitException):
                await handle.wait()

    asyncio.run(job())


def test_a_terminal():
    async def job():
        async with await AsyncSandbox.create(timeout=60) as sandbox:
            seen, there = bytearray(), asyncio.Event()

            def hear(data):
                seen.extend(data)
                if b"sum-42" in seen:
                    there.set()

            handle = await sandbox.pty.create(PtySize(rows=24, cols=80), on_data=hear, timeout=20)
            await sandbox.pty.send_stdin(handle.pid, b"echo sum-$((40 + 2))\n")
            await asyncio.wait_for(there.wait(), 20)
            assert await handle.kill()

    asyncio.run(job())


def test_watching():
    async def job():
        async with await AsyncSandbox.create(timeout=60) as sandbox:
            names, there = [], asyncio.Event()

            def hear(event):
                names.append(event.name)
                if "new" in names:
                    there.set()

            await sandbox.files.make_dir("/tmp/w")
            handle = await sandbox.files.watch_dir("/tmp/w", hear)
            await sandbox.files.write("/tmp/w/new", "x")
            await asyncio.wait_for(there.wait(), 20)
            await handle.stop()

    asyncio.run(job())


def test_many_side_by_side():
    async def one(n):
        async with await AsyncSandbox.create(timeout=60) as sandbox:
            return (await sandbox.commands.run(f"echo {n}")).stdout

    async def job():
        assert await asyncio.gather(*(one(n) for n in range(8))) == [f"{n}\n" for n in range(8)]

    asyncio.run(job())
