"""Work that a platform only queued is waited for by the next run: an old addition never comes after a new removal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from audience_syncs.model.errors import NoAnswer, NotApplied
from audience_syncs.model.values import Batch, Verdict
from audience_syncs.warehouse.jobs import Jobs
from audience_syncs_tests.person_list import PersonList
from audience_syncs_tests.sync_bench import Bench


class Dies(BaseException):
    """The process is killed."""


class QueueingList(PersonList):
    """Works on what it is sent when it likes to."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: dict[str, Callable[[], Sequence[Verdict]]] = {}
        self.works_at_once = True
        self.is_busy = False
        self.dies = False
        self.resumed: list[list[str]] = []

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._queued(batch, lambda: super(QueueingList, self).add(list_id, batch))

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._queued(batch, lambda: super(QueueingList, self).remove(list_id, batch))

    def resume(self, list_id: str, job_ids: Sequence[str]) -> None:
        self.resumed.append(list(job_ids))
        if self.is_busy:
            raise NotApplied("a job of an earlier run is still under way")
        for job_id in job_ids:
            if job_id in self.queue:
                self.queue.pop(job_id)()

    def _queued(self, batch: Batch, work: Callable[[], Sequence[Verdict]]) -> Sequence[Verdict]:
        job_id = f"job-{len(self.queue) + len(self.calls) + 1}"
        self.queue[job_id] = work
        batch.jobs.note(job_id)
        if self.dies:
            raise Dies
        if not self.works_at_once:
            raise NoAnswer("the job takes its time")
        verdicts = self.queue.pop(job_id)()
        batch.jobs.done(job_id)
        return verdicts


@pytest.fixture
def queueing(bench: Bench) -> QueueingList:
    bench.list = found = QueueingList()
    return found


def noted(bench: Bench) -> list[str]:
    return Jobs(bench.warehouse, "people/list").left()


def test_a_job_that_is_over_is_forgotten_and_nobody_asks_for_it(bench: Bench, queueing: QueueingList) -> None:
    bench.people(("1", "a@example.com"))
    bench.run()
    assert noted(bench) == []
    bench.people(("2", "b@example.com"))
    bench.run()
    assert queueing.emails() == bench.expected()
    assert queueing.resumed == []


@pytest.mark.parametrize("killed", [False, True])
def test_an_addition_left_under_way_is_over_before_its_member_is_removed(
    bench: Bench, queueing: QueueingList, killed: bool
) -> None:
    bench.people(("1", "a@example.com"))
    queueing.works_at_once, queueing.dies = False, killed
    if killed:
        with pytest.raises(Dies):
            bench.run()
    else:
        assert bench.run().unknown == 1
    (job,) = noted(bench)
    bench.people(("2", "b@example.com"))
    queueing.works_at_once, queueing.dies = True, False
    bench.run()
    assert queueing.resumed == [[job]]
    assert queueing.queue == {}
    assert queueing.emails() == bench.expected()
    assert noted(bench) == []


def test_while_an_old_job_is_under_way_nothing_is_sent_and_it_stays_noted(bench: Bench, queueing: QueueingList) -> None:
    bench.people(("1", "a@example.com"))
    queueing.works_at_once = False
    bench.run()
    queueing.works_at_once, queueing.is_busy = True, True
    bench.people(("2", "b@example.com"))
    with pytest.raises(NotApplied, match="still under way"):
        bench.run()
    assert len(noted(bench)) == 1
    assert list(queueing.calls) == []
    queueing.is_busy = False
    bench.run()
    assert queueing.emails() == bench.expected()


def test_notes_are_each_syncs_own_and_the_same_job_is_noted_once(bench: Bench) -> None:
    bench.people(("1", "a@example.com"))
    bench.run()
    one, other = Jobs(bench.warehouse, "people/list"), Jobs(bench.warehouse, "people/another")
    for job in ("a", "b", "a"):
        one.note(job)
    other.note("a")
    one.done("a")
    assert (one.left(), other.left()) == (["b"], ["a"])


def test_a_warehouse_that_is_away_does_not_stop_the_wait_for_a_job(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.people(("1", "a@example.com"))
    bench.run()
    bench.execute("ALTER TABLE audience_syncs.jobs RENAME TO jobs_elsewhere")
    jobs = Jobs(bench.warehouse, "people/list")
    jobs.note("a")
    jobs.done("a")
    assert "could not be noted" in caplog.text
