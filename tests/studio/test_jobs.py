"""The queue of the studio: one job at a time, urgent ones between, cancelled ones gone."""

from __future__ import annotations

import threading

import pytest

from resefa_plugin.errors import ResefaError
from resefa_plugin.studio import jobs
from resefa_plugin.studio.jobs import MAX_WAITING, JobQueue

LONG = 30  # seconds: never reached unless something hangs


@pytest.fixture
def queue():
    queue = JobQueue()
    yield queue
    queue.close()


class Gate:
    """Work that stands still until it is let on."""

    def __init__(self):
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self, job):
        self.started.set()
        assert self.go.wait(LONG)
        job.report(1, 2)
        return 'through'


def test_one_at_a_time_in_order(queue):
    order, gate = [], Gate()
    first = queue.submit('a', 'solve', 'first', gate)
    others = [queue.submit(owner, 'solve', owner, lambda job, owner=owner: order.append(owner)) for owner in 'bcd']
    assert gate.started.wait(LONG)
    assert [queue.ahead(job) for job in (first, *others)] == [0, 1, 2, 3]
    assert [job.title for job in queue.jobs('a')] == ['first'] and [job.title for job in queue.jobs('c')] == ['c']
    assert order == []
    gate.go.set()
    assert all(job.wait(LONG) for job in (first, *others))
    assert order == ['b', 'c', 'd'] and first.result == 'through' and first.state == 'done'
    assert (first.done, first.total) == (1, 2) and first.kind == 'solve'
    assert queue.jobs('a') == []


def test_an_urgent_job_runs_within_the_running_one_and_before_those_that_wait(queue):
    order, gate = [], Gate()

    def work(job):
        gate(job)
        order.append('slow')

    slow = queue.submit('a', 'solve', 'slow', work)
    assert gate.started.wait(LONG)
    waiting = queue.submit('b', 'solve', 'waiting', lambda job: order.append('waiting'))
    urgent = queue.submit('b', 'solve', 'urgent', lambda job: order.append('urgent'), urgent=True)
    assert queue.ahead(urgent) == 0 and queue.ahead(waiting) == 2
    gate.go.set()
    assert all(job.wait(LONG) for job in (slow, urgent, waiting))
    assert order == ['urgent', 'slow', 'waiting']


def test_an_urgent_job_is_not_interrupted(queue):
    order, gate = [], Gate()

    def work(job):
        gate(job)
        order.append('first')

    first = queue.submit('a', 'solve', 'first', work, urgent=True)
    assert gate.started.wait(LONG)
    second = queue.submit('a', 'solve', 'second', lambda job: order.append('second'), urgent=True)
    assert queue.ahead(second) == 1
    gate.go.set()
    assert first.wait(LONG) and second.wait(LONG) and order == ['first', 'second']


def test_cancel_a_running_job(queue):
    gate, reached = Gate(), []

    def work(job):
        gate(job)
        reached.append('the end')

    running = queue.submit('a', 'solve', 'running', work)
    assert gate.started.wait(LONG)
    running.cancel()
    assert running.cancelling and not running.finished
    gate.go.set()
    assert running.wait(LONG) and running.state == 'cancelled' and not reached
    assert queue.submit('a', 'solve', 'next', lambda job: 'fine').wait(LONG)  # the queue goes on


def test_cancel_a_waiting_job(queue):
    gate, ran = Gate(), []
    running = queue.submit('a', 'solve', 'running', gate)
    waiting = queue.submit('b', 'solve', 'waiting', lambda job: ran.append(1))
    queue.cancel_owner('b')
    assert waiting.finished and waiting.state == 'cancelled' and queue.jobs('b') == []
    gate.go.set()
    assert running.wait(LONG) and running.state == 'done' and not ran


def test_a_failing_job_is_kept_with_its_error_and_the_queue_goes_on(queue):
    def fail(job):
        raise ResefaError('no picture')

    failed = queue.submit('a', 'solve', 'fails', fail)
    after = queue.submit('a', 'solve', 'after', lambda job: 1)
    assert failed.wait(LONG) and failed.state == 'failed' and str(failed.error) == 'no picture'
    assert after.wait(LONG) and after.result == 1


def test_no_more_than_a_page_needs(queue):
    gate = Gate()
    queue.submit('a', 'solve', 'running', gate)
    assert gate.started.wait(LONG)
    for _ in range(MAX_WAITING):
        queue.submit('a', 'solve', 'more', lambda job: None)
    with pytest.raises(ResefaError, match='too many jobs of this page'):
        queue.submit('a', 'solve', 'more', lambda job: None)
    queue.submit('b', 'solve', 'another page', lambda job: None)
    gate.go.set()


def test_close_ends_what_runs_and_refuses_more():
    queue, gate = JobQueue(), Gate()
    running = queue.submit('a', 'solve', 'running', gate)
    assert gate.started.wait(LONG)
    gate.go.set()
    queue.close()
    assert running.finished
    with pytest.raises(ResefaError, match='shutting down'):
        queue.submit('a', 'solve', 'late', lambda job: None)


def test_remaining_goes_by_the_pace_without_the_urgent_jobs(queue, monkeypatch):
    """A clock of ours: 2 s a step, and 100 s for an urgent job between, which do not count."""
    now = [0.0]
    monkeypatch.setattr(jobs.time, 'monotonic', lambda: now[0])
    seen = []

    def work(job):
        for done in range(4):
            job.report(done, 10)
            seen.append(job.remaining())
            if done == 1:
                queue.submit('b', 'solve', 'urgent', lambda job: now.__setitem__(0, now[0] + 100), urgent=True)
            now[0] += 2

    job = queue.submit('a', 'solve', 'work', work)
    assert job.wait(LONG) and job.error is None
    assert seen == [None, None, pytest.approx(16), pytest.approx(14)]
    assert job.remaining() is None


def test_what_several_want_is_one_job_that_goes_on_until_nobody_does(queue):
    gate, ended = Gate(), []
    one = queue.submit('a', 'prepare', 'shared', gate, shared='key')
    assert gate.started.wait(LONG)
    other = queue.submit('b', 'prepare', 'again', lambda job: 1 / 0, shared='key')
    assert other is one and queue.jobs('a') == queue.jobs('b') == [one]
    assert queue.submit('a', 'prepare', 'apart', lambda job: None, shared='other key') is not one
    for owner in 'ab':
        one.then(lambda job, owner=owner: ended.append((owner, job.state)))
    queue.cancel_owner('a')
    assert queue.jobs('a') == [] and not one.cancelling
    gate.go.set()
    assert one.wait(LONG) and one.result == 'through' and ended == [('a', 'done'), ('b', 'done')]
    one.then(lambda job: ended.append(('c', job.result)))
    assert ended[-1] == ('c', 'through')
    assert queue.submit('a', 'prepare', 'anew', lambda job: 'new', shared='key').wait(LONG)


def test_a_job_ends_when_all_its_owners_are_gone(queue):
    gone, gate = {'a': True, 'b': False}, Gate()
    job = queue.submit('a', 'prepare', 'shared', gate, shared='key', gone=lambda: gone['a'])
    assert gate.started.wait(LONG)
    queue.submit('b', 'prepare', 'shared', gate, shared='key', gone=lambda: gone['b'])
    gate.go.set()
    assert job.wait(LONG) and job.state == 'done'
    gone['b'], gate.go = True, threading.Event()
    gate.go.set()
    job = queue.submit('b', 'prepare', 'shared', gate, shared='key', gone=lambda: gone['b'])
    assert job.wait(LONG) and job.state == 'cancelled' and 'b' in job.owners
