"""What can be seen of a sandbox from outside: metrics, logs, events."""

import json
from datetime import datetime, timedelta, timezone

import pytest
from e2b import CommandExitException, Sandbox

MIB = 1024 * 1024


def test_metrics_of_one_sandbox(make):
    sandbox = make()
    sandbox.commands.run("head -c 50M /dev/zero | sha256sum")
    samples = sandbox.get_metrics()
    assert len(samples) >= 1
    newest = samples[-1]
    info = sandbox.get_info()
    assert newest.cpu_count == info.cpu_count
    assert newest.mem_total == info.memory_mb * MIB
    assert 0 < newest.mem_used < newest.mem_total
    assert newest.mem_cache >= 0 and newest.disk_total > 0 and newest.disk_used >= 0
    assert 0 <= newest.cpu_used_pct
    assert abs(newest.timestamp - datetime.now(timezone.utc)) < timedelta(minutes=1)
    assert Sandbox.get_metrics(sandbox.sandbox_id)[0].timestamp == samples[0].timestamp


def test_metrics_between_two_times(make):
    sandbox = make()
    first = sandbox.get_metrics()[0].timestamp
    assert sandbox.get_metrics(start=first, end=first)[0].timestamp == first
    hour = timedelta(hours=1)
    assert sandbox.get_metrics(start=first - 2 * hour, end=first - hour) == []


def test_a_series_grows_by_itself(make, until):
    sandbox = make()
    first = sandbox.get_metrics()[0].timestamp
    later = until(lambda: [s for s in sandbox.get_metrics() if s.timestamp > first], "a second sample")
    assert later[0].timestamp - first <= timedelta(seconds=15)


def test_what_a_sandbox_writes_is_counted(make, until):
    sandbox = make()
    sandbox.commands.run("head -c 32M /dev/urandom > ~/data")
    counted = until(lambda: [s for s in sandbox.get_metrics() if s.disk_used >= 32 * MIB], "its 32 MiB to be counted", seconds=90)
    assert counted[-1].disk_used < 64 * MIB


def test_metrics_of_many_at_once(make, api):
    ids = [make().sandbox_id for _ in range(2)]
    answer = api.get(f"/sandboxes/metrics?sandbox_ids={','.join(ids)},i{'0' * 20}")
    assert answer.status == 200
    found = answer.json["sandboxes"]
    assert sorted(found) == sorted(ids)
    fields = "timestamp timestampUnix cpuCount cpuUsedPct memUsed memTotal memCache diskUsed diskTotal".split()
    assert set(fields) <= set(found[ids[0]])
    api.get("/sandboxes/metrics").error(400)
    api.get("/sandboxes/metrics?sandbox_ids=" + ",".join([ids[0]] * 101)).error(400)


def test_logs_as_the_command_line_reads_them(make, api):
    sandbox = make(envs={"SECRET": "dont-log-me"})
    with pytest.raises(CommandExitException):
        sandbox.commands.run("echo also-not-me; exit 3")
    answer = api.get(f"/sandboxes/{sandbox.sandbox_id}/logs?start=0&limit=1000").json
    lines = [json.loads(entry["line"]) for entry in answer["logs"]]
    assert len(lines) == len(answer["logEntries"])
    assert all(line["level"] in ("debug", "info", "warn", "error") and line["logger"] for line in lines)
    assert lines[0]["message"] == "sandbox created"
    ended = [line for line in lines if line["message"] == "process ended"]
    assert ended[-1]["exit_code"] == "3" and ended[-1]["user"] == "user"
    text = json.dumps(answer)
    assert "dont-log-me" not in text and "also-not-me" not in text
    times = [datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00")) for entry in answer["logs"]]
    assert times == sorted(times)
    last = int(times[-1].timestamp() * 1000) + 1
    assert api.get(f"/sandboxes/{sandbox.sandbox_id}/logs?start={last}").json["logs"] == []


def test_logs_of_the_second_version(make, api):
    sandbox = make()
    sandbox.commands.run("true")

    def logs(query):
        return api.get(f"/v2/sandboxes/{sandbox.sandbox_id}/logs?{query}").json["logs"]

    everything = logs("")
    assert [entry["message"] for entry in everything][0] == "sandbox created"
    assert {"timestamp", "message", "level", "fields"} == set(everything[0])
    assert logs("direction=backward&limit=1") == everything[-1:]
    assert logs("search=process") == [e for e in everything if "process" in e["message"]]
    assert logs("level=error") == []
    api.get(f"/v2/sandboxes/{sandbox.sandbox_id}/logs?direction=sideways").error(400)


def test_a_killed_sandbox_leaves_its_life_in_the_logs(make, api):
    sandbox = make()
    sandbox.kill()
    messages = [e["message"] for e in api.get(f"/v2/sandboxes/{sandbox.sandbox_id}/logs").json["logs"]]
    assert messages[0] == "sandbox created" and messages[-1].startswith("sandbox ended (request)")
    api.get(f"/v2/sandboxes/i{'0' * 20}/logs").error(404)


def test_events_of_a_life(make, mark, api):
    sandbox = make(metadata=mark)
    sandbox.set_timeout(900)
    sandbox.kill()
    path = f"/events/sandboxes/{sandbox.sandbox_id}"
    events = api.get(f"{path}?orderAsc=true").json
    assert [event["type"] for event in events] == [
        "sandbox.lifecycle.created",
        "sandbox.lifecycle.updated",
        "sandbox.lifecycle.killed",
    ]
    assert len({event["id"] for event in events}) == 3
    assert len({event["sandboxExecutionId"] for event in events}) == 1
    assert all(event["sandboxId"] == sandbox.sandbox_id for event in events)
    assert all(event["eventData"]["sandbox_metadata"] == mark for event in events)
    execution = events[-1]["eventData"]["execution"]
    assert execution["vcpu_count"] >= 1 and execution["memory_mb"] >= 64 and execution["execution_time"] >= 0
    newest = api.get(f"{path}?limit=1").json
    assert newest == events[-1:]
    assert api.get(f"{path}?types=sandbox.lifecycle.updated").json == events[1:2]
    assert sandbox.sandbox_id in {e["sandboxId"] for e in api.get("/events/sandboxes?limit=100").json}


def test_a_pause_is_told_and_its_logs_stay(make, api):
    sandbox = make()
    sandbox.commands.run("true")
    assert api.post(f"/sandboxes/{sandbox.sandbox_id}/pause").status == 204
    counted = len(sandbox.get_metrics())
    lines = api.get(f"/v2/sandboxes/{sandbox.sandbox_id}/logs").json["logs"]
    messages = [line["message"] for line in lines]
    assert "process ended" in messages and messages[-1].startswith("sandbox paused")
    Sandbox.connect(sandbox.sandbox_id)
    events = api.get(f"/events/sandboxes/{sandbox.sandbox_id}?orderAsc=true").json
    kinds = [event["type"].split(".")[-1] for event in events]
    assert kinds == ["created", "paused", "resumed"]
    assert events[1]["eventData"]["execution"]["execution_time"] >= 0
    assert events[0]["sandboxExecutionId"] == events[1]["sandboxExecutionId"] != events[2]["sandboxExecutionId"]
    assert len(sandbox.get_metrics()) >= counted


def events(api, sandbox_id):
    """The events of a sandbox's life, oldest first: the last word of each type, and what it holds."""
    found = api.get(f"/events/sandboxes/{sandbox_id}?orderAsc=true&limit=100").json
    return [(event["type"].split(".")[-1], event["eventData"]) for event in found]


def test_a_resume_says_what_it_found(make, api):
    sandbox = make()
    for memory in (True, False):
        sandbox.pause(keep_memory=memory)
        detail = api.get(f"/sandboxes/{sandbox.sandbox_id}").json
        assert detail["pauseMode"] == ("full" if memory else "filesystem")
        sandbox.connect()
        assert "pauseMode" not in api.get(f"/sandboxes/{sandbox.sandbox_id}").json
    seen = [(kind, data["memory"], data.get("reason")) for kind, data in events(api, sandbox.sandbox_id)[1:]]
    assert seen == [
        ("paused", True, "request"),
        ("resumed", True, None),
        ("paused", False, "request"),
        ("resumed", False, None),
    ]


def test_a_snapshot_is_told_of_its_source(make, mark, api):
    source = make(metadata=mark)
    snapshot = source.create_snapshot()
    try:
        _, (kind, data) = events(api, source.sandbox_id)
        assert kind == "checkpointed"
        assert f"{data['snapshot_id']}:default" == snapshot.snapshot_id
        assert (data["memory"], data["sandbox_metadata"]) == (False, mark)
        assert "execution" not in data, "the source runs on"
        # What is made from it has no parent.
        ((kind, data),) = events(api, make(snapshot.snapshot_id).sandbox_id)
        assert kind == "created" and "fork_of" not in data
    finally:
        Sandbox.delete_snapshot(snapshot.snapshot_id)


def test_a_fork_names_its_parent(make, api):
    source = make()
    forks = source.fork(count=2, timeout=60)
    try:
        _, (kind, data) = events(api, source.sandbox_id)
        assert (kind, data["forks"], data["memory"]) == ("checkpointed", 2, False)
        assert "snapshot_id" not in data, "what carries them is nobody's"
        for fork in forks:
            ((kind, data),) = events(api, fork.sandbox_id)
            assert (kind, data["fork_of"], data["memory"]) == ("created", source.sandbox_id, False)
    finally:
        for fork in forks:
            if isinstance(fork, Sandbox):
                fork.kill()


def test_details_are_complete(make, mark, api):
    sandbox = make(timeout=120, metadata=mark)
    found = api.get(f"/sandboxes/{sandbox.sandbox_id}").json
    needed = "templateID sandboxID clientID envdVersion startedAt endAt cpuCount memoryMB diskSizeMB state".split()
    more = "alias metadata envdAccessToken domain allowInternetAccess lifecycle volumeMounts".split()
    assert set(needed + more) <= set(found), set(needed + more) - set(found)
    assert found["state"] == "running" and found["metadata"] == mark and found["volumeMounts"] == []
    assert found["lifecycle"] == {"autoResume": False, "onTimeout": "kill"}
    assert "pauseMode" not in found
    assert min(found["cpuCount"], found["memoryMB"], found["diskSizeMB"]) > 0


def test_an_end_by_timeout_says_so(make, api, until):
    sandbox = make(timeout=1)
    path = f"/events/sandboxes/{sandbox.sandbox_id}?types=sandbox.lifecycle.killed"
    killed = until(lambda: api.get(path).json, "the end")
    assert killed[0]["eventData"]["reason"] == "timeout"
