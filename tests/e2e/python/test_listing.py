"""Lists: filters, order, pages."""

from datetime import timedelta
from urllib.parse import quote

import pytest
from e2b import Sandbox, SandboxQuery, SandboxState


def every(**options):
    """All pages of a list, as ids."""
    pages, ids = Sandbox.list(**options), []
    while pages.has_next:
        ids += [item.sandbox_id for item in pages.next_items()]
    return ids


def test_metadata_must_match_in_all_keys(make, mark):
    first = make(metadata={**mark, "team": "red", "stage": "one"})
    second = make(metadata={**mark, "team": "red", "stage": "two"})
    both = {first.sandbox_id, second.sandbox_id}
    assert set(every(query=SandboxQuery(metadata=mark))) == both
    assert set(every(query=SandboxQuery(metadata={**mark, "team": "red"}))) == both
    assert every(query=SandboxQuery(metadata={**mark, "stage": "two"})) == [second.sandbox_id]
    assert every(query=SandboxQuery(metadata={**mark, "stage": "three"})) == []
    assert every(query=SandboxQuery(metadata={**mark, "other": "two"})) == []


@pytest.mark.parametrize(
    "pair",
    [{"a k": "b c&d"}, {"k=v": "x=y&z=1"}, {"percent": "100%25 %"}, {"ключ": "é ☃ /?#+"}, {"empty": ""}],
    ids=["space", "equals", "percent", "unicode", "empty"],
)
def test_metadata_of_any_text_comes_back_and_matches(make, mark, pair):
    wanted = {**mark, **pair}
    sandbox = make(metadata=wanted)
    assert sandbox.get_info().metadata == wanted
    assert every(query=SandboxQuery(metadata=wanted)) == [sandbox.sandbox_id]
    key = next(iter(pair))
    assert every(query=SandboxQuery(metadata={**mark, key: pair[key] + "x"})) == []


def test_listed_items_describe_the_sandbox(make, mark):
    sandbox = make(metadata=mark, timeout=77)
    (item,) = Sandbox.list(query=SandboxQuery(metadata=mark)).next_items()
    info = sandbox.get_info()
    assert item.sandbox_id == info.sandbox_id
    assert item.template_id == info.template_id
    assert item.state == SandboxState.RUNNING
    assert item.metadata == mark
    assert (item.started_at, item.end_at) == (info.started_at, info.end_at)
    assert (item.cpu_count, item.memory_mb) == (info.cpu_count, info.memory_mb)


def test_states(make, mark):
    sandbox = make(metadata=mark)
    running, paused = SandboxState.RUNNING, SandboxState.PAUSED
    assert every(query=SandboxQuery(metadata=mark, state=[running])) == [sandbox.sandbox_id]
    assert every(query=SandboxQuery(metadata=mark, state=[running, paused])) == [sandbox.sandbox_id]
    assert every(query=SandboxQuery(metadata=mark, state=[paused])) == []


def test_templates(make, mark):
    sandbox = make(metadata=mark)
    assert every(query=SandboxQuery(metadata=mark, template="base")) == [sandbox.sandbox_id]
    assert every(query=SandboxQuery(metadata=mark, template="no-such-template")) == []


def test_started_after_is_inclusive(make, mark):
    sandbox = make(metadata=mark)
    start = sandbox.get_info().started_at
    assert every(query=SandboxQuery(metadata=mark, started_after=start)) == [sandbox.sandbox_id]
    later = start + timedelta(microseconds=1)
    assert every(query=SandboxQuery(metadata=mark, started_after=later)) == []


def test_pages_hold_each_once_in_order(make, mark):
    made = [make(metadata=mark).sandbox_id for _ in range(3)]
    query = SandboxQuery(metadata=mark)
    assert every(query=query, limit=1) == made[::-1]
    assert every(query=query, limit=2) == made[::-1]
    assert every(query=query, limit=3) == made[::-1]
    assert every(query=query, limit=1, order="asc") == made
    assert every(query=query, limit=2, order="desc") == made[::-1]


def test_the_last_page_says_so(make, mark):
    make(metadata=mark)
    pages = Sandbox.list(query=SandboxQuery(metadata=mark), limit=1)
    assert len(pages.next_items()) == 1
    assert not pages.has_next and not pages.next_token


def test_pages_stay_right_while_sandboxes_come_and_go(make, mark):
    made = [make(metadata=mark) for _ in range(3)]
    pages = Sandbox.list(query=SandboxQuery(metadata=mark), limit=1)
    seen = [pages.next_items()[0].sandbox_id]
    make(metadata=mark)
    made[2].kill()
    while pages.has_next:
        seen += [item.sandbox_id for item in pages.next_items()]
    assert seen == [made[2].sandbox_id, made[1].sandbox_id, made[0].sandbox_id]


def test_a_token_can_be_carried_on(make, mark):
    made = [make(metadata=mark).sandbox_id for _ in range(2)]
    query = SandboxQuery(metadata=mark)
    first = Sandbox.list(query=query, limit=1)
    assert [item.sandbox_id for item in first.next_items()] == [made[1]]
    rest = Sandbox.list(query=query, limit=1, next_token=first.next_token)
    assert [item.sandbox_id for item in rest.next_items()] == [made[0]]


def test_the_plain_list(make, mark, api):
    sandbox = make(metadata=mark)
    metadata = quote(f"mark={mark['mark']}")
    page = api.get(f"/v2/sandboxes?metadata={metadata}")
    assert page.status == 200
    assert [item["sandboxID"] for item in page.json] == [sandbox.sandbox_id]
    for key in ("templateID", "clientID", "startedAt", "endAt", "cpuCount", "memoryMB", "diskSizeMB"):
        assert page.json[0][key], key
    assert "envdAccessToken" not in page.json[0]
    assert not page.headers.get("X-Next-Token")
    assert int(page.headers["X-Total-Running"]) >= 1
    old = api.get(f"/sandboxes?metadata={metadata}")
    assert [item["sandboxID"] for item in old.json] == [sandbox.sandbox_id]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=many", "nextToken=!!!", "state=asleep", "order=sideways", "startedAfter=soon"],
)
def test_a_query_that_makes_no_sense_is_refused(api, query):
    api.get(f"/v2/sandboxes?{query}").error(400)


def test_a_token_of_the_other_order_is_refused(make, mark, api):
    make(metadata=mark), make(metadata=mark)
    metadata = quote(f"mark={mark['mark']}")
    token = api.get(f"/v2/sandboxes?metadata={metadata}&limit=1").headers["X-Next-Token"]
    path = f"/v2/sandboxes?metadata={metadata}&limit=1&nextToken={quote(token)}"
    assert api.get(path).status == 200
    api.get(f"{path}&order=asc").error(400)
