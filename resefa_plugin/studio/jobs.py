"""One heavy job at a time, in the order of arrival, each with a progress that can be cancelled.

What several pages want, such as the derivative of the same sample, is one job of all of them.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from resefa_plugin.errors import ResefaError

QUEUED, RUNNING, DONE, FAILED, CANCELLED = 'queued', 'running', 'done', 'failed', 'cancelled'
MAX_WAITING = 24  # jobs of one owner: two for each of twelve regions
SLIDER_PAUSE = 0.5  # seconds that work pauses after a slider was moved: more than between two moves of a drag
WARM_UP = 1.0  # seconds of work before an estimate of the rest is worth showing

_numbers = itertools.count(1)


class Cancelled(Exception):
    """Raised out of a job's own `report` when the job was cancelled."""


class Job:
    """A piece of work in the queue.

    Attributes:
        number: by which a page names it.
        owners: whose it is, each with a function that says whether he is gone. All jobs of an owner can be cancelled at
            once; one of several owners goes on for the others.
        kind: what it does, for programs; see Desk.
        title: what it does, for people.
        urgent: runs as soon as the running job reports; for what takes seconds.
        shared: by which others find it who want the same; None for what is of one owner alone.
        state: 'queued', 'running', 'done', 'failed' or 'cancelled'.
        done, total: of its progress; total is 0 until it has reported.
        error: what a failed job raised.
        result: what a finished job returned.
    """

    def __init__(self, queue: JobQueue, owner: str, kind: str, title: str, work: Callable[[Job], Any], urgent: bool,
                 shared: str | None = None, gone: Callable[[], bool] = lambda: False):
        self.number = next(_numbers)
        self.owners, self.shared = {owner: gone}, shared
        self.kind, self.title, self.urgent = kind, title, urgent
        self.state, self.done, self.total = QUEUED, 0, 0
        self.error: Exception | None = None
        self.result: Any = None
        self._queue, self._work = queue, work
        self._then: list[Callable[[Job], None]] = []
        self._ended = False  # `_then` is called or being called
        self._cancel, self._finished = threading.Event(), threading.Event()
        self._first: tuple[float, int] | None = None  # when it had first done something, and how much
        self._paused = 0.0  # seconds since then that went to sliders and urgent jobs
        self._worked = 0.0  # seconds from then to the last report, without the pauses

    @property
    def finished(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self._finished.is_set()

    @property
    def cancelling(self) -> bool:
        """Whether it was cancelled, though it may not have ended yet."""
        return self._cancel.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is finished; returns whether it is."""
        return self._finished.wait(timeout)

    def cancel(self, owner: str | None = None) -> None:
        """Takes it out of the queue, or makes its next `report` raise; for one of several owners, only leaves him out.

        Args:
            owner: None for all of them.
        """
        with self._queue.lock:
            self.owners = {} if owner is None else {name: gone for name, gone in self.owners.items() if name != owner}
            if self.owners:
                return
        self._cancel.set()
        self._queue.discard(self)

    def then(self, follow: Callable[[Job], None]) -> None:
        """Calls `follow` with the job when it has ended, in whatever way; at once if it has."""
        with self._queue.lock:
            if not self._ended:
                self._then.append(follow)
                return
        follow(self)

    def report(self, done: int, total: int) -> None:
        """Called by the work itself: notes the progress, and lets urgent jobs go first.

        Raises Cancelled, also when all owners are gone.
        """
        self.done, self.total, now = done, total, time.monotonic()
        if self._first is None or not self._first[1]:  # what comes before the first step is no measure of the others
            self._first, self._paused = (now, done), 0.0
        self._worked = now - self._first[0] - self._paused
        if self.owners and all(gone() for gone in self.owners.values()):
            raise Cancelled(self.title)
        self.breathe()

    def breathe(self) -> None:
        """Called by the work where it can pause: lets sliders and urgent jobs go first. Raises Cancelled."""
        start = time.monotonic()
        self._cancel.wait(self._queue.pause_seconds(self))
        if self._cancel.is_set():
            raise Cancelled(self.title)
        self._queue.run_urgent(self)
        self._paused += time.monotonic() - start

    def remaining(self) -> float | None:
        """Seconds that are left, by its pace, at first that of the last job of its kind; None where none is known."""
        if self.finished or not self.total:
            return None
        pace = self._pace() or self._queue.paces.get(self.kind)
        return None if pace is None else pace * (self.total - self.done)

    def _pace(self) -> float | None:
        """Seconds for each step since its first one."""
        if self._first is None or self.done <= self._first[1] or self._worked < WARM_UP:
            return None
        return self._worked / (self.done - self._first[1])

    def run(self) -> None:
        """Does the work; called by the queue."""
        self.state = RUNNING
        try:
            self.result = self._work(self)
            self.state = DONE
            self._queue.paces[self.kind] = self._pace() or self._queue.paces.get(self.kind)
        except Cancelled:
            self.state = CANCELLED
        except Exception as error:  # whatever it is, the queue goes on, and the page says it
            self.state, self.error = FAILED, error
        finally:
            self._end()

    def _end(self) -> None:
        with self._queue.lock:
            self._ended = True
        for follow in self._then:
            follow(self)
        self._finished.set()

    def drop(self) -> None:
        """Ends it before it has begun; called by the queue."""
        self.state = CANCELLED
        self._end()


class JobQueue:
    """Runs jobs in one thread, one at a time. An urgent job interrupts one that is not, at its next report.

    Two threads that differentiate at once would take the memory of two and be no faster.
    """

    def __init__(self) -> None:
        self.lock = threading.Condition()  # also of its jobs' owners and of what follows them
        self._waiting: list[Job] = []
        self._running: list[Job] = []  # the interrupted one first
        self.paces: dict[str, float | None] = {}  # seconds for a step of the last job of each kind
        self._closed, self._slider_moved_at = False, -SLIDER_PAUSE
        self._thread = threading.Thread(target=self._loop, name='resefa-studio-jobs', daemon=True)
        self._thread.start()

    def slider_moved(self) -> None:
        """Somebody moves a slider: the running job pauses where it can, so that the picture follows."""
        self._slider_moved_at = time.monotonic()

    def pause_seconds(self, job: Job) -> float:
        """How long a job should pause now, in seconds."""
        return 0.0 if job.urgent else max(0.0, SLIDER_PAUSE - (time.monotonic() - self._slider_moved_at))

    def submit(self, owner: str, kind: str, title: str, work: Callable[[Job], Any], urgent: bool = False,
               shared: str | None = None, gone: Callable[[], bool] = lambda: False) -> Job:
        """Queues a job, or joins one that is under way and `shared` by the same text.

        `work` gets the job, and should call its `report` or `breathe` often; `gone` says whether the owner has left.

        Raises ResefaError if the owner has too many jobs waiting, or the queue is closed.
        """
        job = Job(self, owner, kind, title, work, urgent, shared, gone)
        with self.lock:
            if self._closed:
                raise ResefaError('the studio is shutting down')
            for other in self._running + self._waiting:
                if (shared is not None and other.shared == shared and other.owners
                        and other.state in (QUEUED, RUNNING)):
                    other.owners = {**other.owners, owner: gone}
                    return other
            if sum(owner in other.owners for other in self._waiting) >= MAX_WAITING:
                raise ResefaError('too many jobs of this page are waiting: wait for one, or cancel one')
            self._waiting.append(job)
            self.lock.notify()
        return job

    def ahead(self, job: Job) -> int:
        """How many jobs are before it: those that run and those that will run first. 0 once it runs."""
        with self.lock:
            if job not in self._waiting:
                return 0
            order = sorted(self._waiting, key=lambda other: not other.urgent)
            running = [other for other in self._running if other.urgent >= job.urgent]
            return order.index(job) + len(running)

    def discard(self, job: Job) -> None:
        """Drops a job that has not begun."""
        with self.lock:
            if job in self._waiting:
                self._waiting.remove(job)
                job.drop()

    def jobs(self, owner: str) -> list[Job]:
        """The jobs of an owner that run or wait, in the order in which they began or will begin."""
        with self.lock:
            return [job for job in self._running + self._waiting if owner in job.owners]

    def cancel_owner(self, owner: str) -> None:
        """Cancels every job of an owner."""
        for job in self.jobs(owner):
            job.cancel(owner)

    def run_urgent(self, interrupted: Job) -> None:
        """Runs the urgent jobs that wait, within the thread of a running job that is not urgent itself."""
        while not interrupted.urgent:
            job = self._take(urgent_only=True)
            if job is None:
                return
            self._run(job)

    def close(self) -> None:
        """Cancels everything and ends the thread."""
        with self.lock:
            self._closed = True
            jobs = self._running + self._waiting
            self.lock.notify()
        for job in jobs:
            job.cancel()
        self._thread.join()

    def _take(self, urgent_only: bool) -> Job | None:
        with self.lock:
            chosen = next((job for job in self._waiting if job.urgent), None)
            if chosen is None and not urgent_only and self._waiting:
                chosen = self._waiting[0]
            if chosen is not None:
                self._waiting.remove(chosen)
                self._running.append(chosen)
            return chosen

    def _run(self, job: Job) -> None:
        try:
            job.run()
        finally:
            with self.lock:
                self._running.remove(job)

    def _loop(self) -> None:
        while True:
            with self.lock:
                self.lock.wait_for(lambda: bool(self._waiting) or self._closed)
                if self._closed:
                    return
            job = self._take(urgent_only=False)
            if job is not None:
                self._run(job)
