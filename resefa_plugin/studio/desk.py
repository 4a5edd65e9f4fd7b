"""One session and its jobs: what runs in the background for the sample and the regions on the screen."""

from __future__ import annotations

import pathlib
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable

from resefa_plugin.errors import ResefaError
from resefa_plugin.rayleigh.solvers import QUICK_TANGENTS
from resefa_plugin.studio.jobs import Cancelled, Job, JobQueue
from resefa_plugin.studio.work.session import Session

# A search without the Jacobian delays the Jacobian by as much as it takes: it starts only if there are more tangents
# left than so many times its own.
SEARCH_MARGIN = 1.5
PAGE_GONE = 60.0  # seconds without a request of the page, after which nothing is prepared for it


class Desk:
    """A session with what is under way for it.

    The kinds of its jobs: 'prepare' computes the Jacobian of the sample, 'solve' finds the directions of a region,
    'ends' renders the pictures at both ends of its sliders, 'measure' measures what its directions do, 'label'
    names them, 'keep' bends the edit so that its background stays, 'save' writes a file.

    Args:
        owner: the name of its jobs in the queue.
        session: the work.
        queue: the jobs of all desks.
        folder: where its files are written.
        keep_folder: whether they stay when the desk is given up.
    """

    def __init__(self, owner: str, session: Session, queue: JobQueue, folder: pathlib.Path, keep_folder: bool = False):
        self.owner, self.session, self.queue, self.folder = owner, session, queue, folder
        self.messages: deque[str] = deque(maxlen=8)  # of jobs that failed, until the page has shown them
        self._keep_folder = keep_folder
        self._lock = threading.RLock()  # of what follows: the jobs themselves submit more
        self._jobs: dict[tuple[str, str], Job] = {}  # by kind, and what they are about
        self._waiting: list[str] = []  # regions to be factorized when the Jacobian is there
        self._page_seen_at = time.monotonic()
        self._stopped_unseen = False  # the Jacobian was given up, as the page was gone

    @property
    def waiting(self) -> list[str]:
        """The regions that wait for the sample's Jacobian."""
        return list(self._waiting)

    def page_seen(self) -> None:
        """Notes that the page is open, and goes on with what was stopped while it was not."""
        self._page_seen_at = time.monotonic()
        if self._stopped_unseen:
            self._stopped_unseen = False
            self.prepare()

    def prepare(self) -> Job | None:
        """Starts the sample's Jacobian unless it is there, under way or unaffordable; ends an earlier sample's."""
        key = self.session.jacobian_key()
        with self._lock:
            for (kind, about), job in self._jobs.items():
                if kind == 'prepare' and about != key:
                    job.cancel()
        if key in self.session.cache or self.session.direct:
            with self._lock:
                self._waiting.clear()  # regions that waited for another sample's
            return None
        return self._submit('prepare', key, f'Preparing {self.session.state.sample.name}', self._prepare)

    def _prepare(self, job: Job) -> None:
        def report(done: int, total: int) -> None:
            if time.monotonic() - self._page_seen_at > PAGE_GONE:
                self._stopped_unseen = True
                raise Cancelled(job.title)
            job.report(done, total)

        try:
            self.session.compute_jacobian(report)
        except ResefaError:
            with self._lock:
                self._waiting.clear()
            raise
        with self._lock:
            waiting, self._waiting = self._waiting, []
        state = self.session.state
        for name in waiting:
            # Better directions would move the picture under a slider that is in use on the first ones.
            if name in state.regions and all(region != name for region, _ in state.strengths):
                self.factorize(name)

    def factorize(self, name: str) -> Job | None:
        """Finds the directions of a region: on the Jacobian, or without while it is computed. Raises RegionError."""
        self.session.partition(name)
        with self._lock:
            for kind in ('solve', 'ends', 'measure', 'label'):
                if (kind, name) in self._jobs:
                    self._jobs[kind, name].cancel()
        if self.session.jacobian() is not None:
            return self._submit('solve', name, f'Finding directions of {name}', lambda job: self._solve(job, name),
                                urgent=True)
        preparing = self.prepare()
        with self._lock:
            if preparing is not None and name not in self._waiting:
                self._waiting.append(name)
        left = preparing.total - preparing.done if preparing is not None and preparing.total else None  # tangents
        if left is None or left > SEARCH_MARGIN * QUICK_TANGENTS:
            return self._submit('solve', name, f'Searching directions of {name}',
                                lambda job: self._solve(job, name, quick=True), urgent=True)
        return preparing

    def _solve(self, job: Job, name: str, quick: bool = False) -> None:
        self.session.factorize(name, quick and self.session.jacobian() is None, job.report)
        self._submit('ends', name, f'Picturing directions of {name}',
                     lambda job: self._complete(job, name, self.session.picture_ends), urgent=True)
        self._submit('measure', name, f'Measuring directions of {name}',
                     lambda job: self._complete(job, name, self.session.measure))
        if self.session.networks:
            self._submit('label', name, f'Naming directions of {name}',
                         lambda job: self._complete(job, name, self.session.label))

    def _complete(self, job: Job, name: str, work: Callable[[str, Callable[[], None]], None]) -> None:
        """Pictures, measures or names the directions of a region, for as long as they are on the screen."""
        finding = self.session.state.findings.get(name)
        if finding is None:
            raise Cancelled(job.title)
        directions = finding.directions.directions

        def breathe() -> None:
            now = self.session.state.findings.get(name)
            if now is None or now.directions.directions is not directions:
                raise Cancelled(job.title)
            done = {'ends': len(now.ends), 'measure': now.measured, 'label': now.labelled}[job.kind]
            job.report(done, len(now.directions))

        work(name, breathe)

    def keep_background(self) -> Job:
        """Bends the edit so that its background stays. Its error is for whoever waits for it."""
        return self._submit('keep', '', 'Keeping the background', lambda job: self.session.keep_background(job.breathe),
                            urgent=True, quiet=True)

    def save(self, title: str, write: Callable[[Callable[[], None]], pathlib.Path]) -> Job:
        """Writes a file in the background; `write` gets what it calls between pictures. The job's result is the file.

        Its error is for whoever waits for it, not among the messages.
        """
        return self._submit('save', title, title, lambda job: write(job.breathe), urgent=True, quiet=True)

    def jobs(self) -> list[Job]:
        """What runs or waits for this desk."""
        return self.queue.jobs(self.owner)

    def cancel(self, number: int) -> None:
        """Cancels a job of this desk; does nothing if it is over."""
        for job in self.jobs():
            if job.number == number:
                job.cancel()
                if job is self._jobs.get(('prepare', self.session.jacobian_key())):
                    self._waiting.clear()

    def close(self) -> None:
        """Ends its jobs and removes its files."""
        self.queue.cancel_owner(self.owner)
        if not self._keep_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _submit(self, kind: str, about: str, title: str, work: Callable[[Job], object], urgent: bool = False,
                quiet: bool = False) -> Job:
        """Queues a job; one of the same kind about the same thing that is not over takes its place.

        Args:
            about: the region, the key of the Jacobian or the file.
            quiet: its error is not among the messages.
        """
        def guarded(job: Job) -> object:
            try:
                return work(job)
            except Cancelled:
                raise
            except Exception as error:
                if not quiet:
                    self.messages.append(f'{title}: {error}')
                raise

        with self._lock:
            current = self._jobs.get((kind, about))
            if current is not None and not current.finished and not current.cancelling:
                return current
            self._jobs = {key: job for key, job in self._jobs.items() if not job.finished}
            self._jobs[kind, about] = job = self.queue.submit(self.owner, kind, title, guarded, urgent)
            return job
