"""One session and its jobs: what runs in the background for the sample and the regions on the screen."""

from __future__ import annotations

import math
import pathlib
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable

from PIL import Image
from torch import Tensor

from resefa_plugin.errors import ResefaError
from resefa_plugin.rayleigh.solvers import QUICK_TANGENTS
from resefa_plugin.report import pictures
from resefa_plugin.studio.jobs import CANCELLED, FAILED, Cancelled, Job, JobQueue
from resefa_plugin.studio.store import SETTLING
from resefa_plugin.studio.work.derivative import compute_jacobian
from resefa_plugin.studio.work.photographs import Finder, Placed
from resefa_plugin.studio.work.session import Session

# A search without the Jacobian delays the Jacobian by as much as it takes: it starts only if there are more tangents
# left than so many times its own.
SEARCH_MARGIN = 1.5
LOOK_EVERY = 4  # passes of a search for a photograph between two pictures of how far it is
MAX_PASSES = 10_000
PAGE_GONE = 60.0  # seconds without a request of the page, after which nothing is prepared for it
RETURN = 5.0  # seconds that remain to a page that was closed


class Desk:
    """A session with what is under way for it.

    The kinds of its jobs: 'prepare' computes the Jacobian of the sample, 'solve' finds the directions of a region,
    'ends' renders the pictures at both ends of its sliders, 'measure' measures what its directions do, 'label'
    names them, 'photograph' finds the sample that looks like one, 'keep' bends the edit so that its background stays,
    'save' writes a file.

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
        self._page_left_at = -math.inf
        self.likeness: tuple[int, Image.Image | None] = 0, None  # a number that grows, and the likeness so far
        self._stopped_unseen = False  # the Jacobian was given up, as the page was gone

    @property
    def waiting(self) -> list[str]:
        """The regions that wait for the sample's Jacobian."""
        return list(self._waiting)

    def page_seen(self, in_use: bool = True) -> None:
        """Notes that the page is open, and goes on with what was stopped while it was not.

        Args:
            in_use: it asks for more than how things stand, which a page that has left may have done just before.
        """
        now = time.monotonic()
        if not in_use and now - self._page_left_at < SETTLING:
            return
        self._page_seen_at = now
        if self._stopped_unseen:
            self._stopped_unseen = False
            self.prepare()

    def page_left(self) -> None:
        """Notes that the page is closed, unless it asks for something in a moment, as one does that is loaded anew."""
        self._page_left_at = time.monotonic()
        self._page_seen_at = self._page_left_at - PAGE_GONE + RETURN

    def prepare(self) -> Job | None:
        """Starts the sample's Jacobian unless it is there, under way or unaffordable; ends an earlier sample's."""
        key = self.session.jacobian_key()
        with self._lock:
            for (kind, about), job in self._jobs.items():
                if kind == 'prepare' and about != key:
                    job.cancel(self.owner)
        if key in self.session.cache or self.session.direct:
            with self._lock:
                self._waiting.clear()  # regions that waited for another sample's
            return None
        session, viewpoint, known = self.session, self.session.viewpoint(), self.session.known
        return self._submit(
            'prepare', key, 'Getting this picture ready',
            lambda job: compute_jacobian(session.cache, viewpoint, session.check, session.jacobian_dir, known,
                                         job.report),
            quiet=True, shared=key, gone=self._page_gone, then=self._prepared)

    def _page_gone(self) -> bool:
        return time.monotonic() - self._page_seen_at > PAGE_GONE

    def _prepared(self, job: Job) -> None:
        """The Jacobian is there, or is not to be; regions that wait for it are factorized anew."""
        if job.state == CANCELLED:  # by the queue, if not by this desk
            self._stopped_unseen = self.owner in job.owners
            return
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if job.state == FAILED:
            self.messages.append(f'{job.title}: {job.error}')
            return
        state = self.session.state
        for name in waiting:
            # Better directions would move the picture under a slider that is in use on the first ones.
            if name in state.regions and all(region != name for region, _ in state.strengths):
                try:
                    self.factorize(name)
                except ResefaError as error:
                    self.messages.append(f'{name}: {error}')

    def factorize(self, name: str) -> Job | None:
        """Finds the directions of a region: on the Jacobian, or without while it is computed. Raises RegionError."""
        self.session.partition(name)
        with self._lock:
            for kind in ('solve', 'ends', 'measure', 'label'):
                if (kind, name) in self._jobs:
                    self._jobs[kind, name].cancel(self.owner)
        if self.session.jacobian() is not None:
            return self._submit('solve', name, f'Finding directions of {name}', lambda job: self._solve(job, name),
                                urgent=True)
        preparing = self.prepare()
        with self._lock:
            if preparing is not None and name not in self._waiting:
                self._waiting.append(name)
        left = preparing.total - preparing.done if preparing is not None and preparing.total else None  # tangents
        knows = self.session.known is not None
        if left is None or left > SEARCH_MARGIN * QUICK_TANGENTS or knows:
            return self._submit('solve', name, f'{"Finding" if knows else "Searching"} directions of {name}',
                                lambda job: self._solve(job, name, quick=True), urgent=True)
        return preparing

    def _solve(self, job: Job, name: str, quick: bool = False) -> None:
        self.session.factorize(name, quick and self.session.jacobian() is None, job.report)
        self._complete_region(name)

    def complete(self) -> None:
        """Pictures, measures and names what is on the screen, as far as that is not done."""
        for name in self.session.state.findings:
            self._complete_region(name)

    def _complete_region(self, name: str) -> None:
        session, finding = self.session, self.session.finding(name)
        if finding.name is not None:  # all is known of it
            return
        if not finding.is_pictured(session.state.sample):
            self._submit('ends', name, f'Picturing directions of {name}',
                         lambda job: self._complete(job, name, session.picture_ends), urgent=True)
        if finding.measured < len(finding.directions):
            self._submit('measure', name, f'Measuring directions of {name}',
                         lambda job: self._complete(job, name, session.measure))
        if session.networks and finding.labelled < len(finding.directions):
            self._submit('label', name, f'Naming directions of {name}',
                         lambda job: self._complete(job, name, session.label))

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

    def find_photograph(self, placed: Placed, finder: Finder) -> Job:
        """Finds the sample that looks like a photograph, and shows it; pictures of the way are in `likeness`."""
        def work(job: Job) -> None:
            def look(passes: int, picture: Tensor) -> None:
                if passes % LOOK_EVERY == 0:
                    self.likeness = job.number * MAX_PASSES + passes, Image.fromarray(pictures.to_uint8(picture)[0])

            projection = finder.find(placed, job.report, look)
            notes = '; '.join([str(projection.likeness), *placed.notes])
            self.session.load_photograph(placed, projection.sample, notes)
            self.prepare()
            self.complete()

        for job in self.jobs():
            if job.kind in ('prepare', 'photograph'):  # of what is about to be left
                job.cancel(self.owner)
        size = self.session.hook.image_shape[1], self.session.hook.image_shape[2]
        self.likeness = 0, Image.fromarray(placed.aligned(size))
        return self._submit('photograph', placed.digest, 'Finding your photograph in the network', work)

    def keep_background(self) -> Job:
        """Bends the edit so that its background stays. Its error is for whoever waits for it."""
        return self._submit('keep', '', 'Keeping the background', lambda job: self.session.keep_background(job.breathe),
                            urgent=True, quiet=True)

    def save(self, title: str, write: Callable[[Callable[[], None]], object]) -> Job:
        """Writes a file in the background; `write` gets what it calls between pictures, and gives the job's result.

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
                job.cancel(self.owner)
                if job is self._jobs.get(('prepare', self.session.jacobian_key())):
                    self._waiting.clear()

    def close(self) -> None:
        """Ends its jobs and removes its files."""
        self.queue.cancel_owner(self.owner)
        if not self._keep_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _submit(self, kind: str, about: str, title: str, work: Callable[[Job], object], urgent: bool = False,
                quiet: bool = False, shared: str | None = None, gone: Callable[[], bool] = lambda: False,
                then: Callable[[Job], None] = lambda job: None) -> Job:
        """Queues a job; one of the same kind about the same thing that is not over takes its place.

        Args:
            about: the region, the key of the Jacobian or the file.
            quiet: its error is not among the messages.
            shared, gone: see `JobQueue.submit`.
            then: called when it has ended.
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
            if current is not None and not current.finished and self.owner in current.owners:
                return current
            self._jobs = {key: job for key, job in self._jobs.items() if not job.finished}
            job = self.queue.submit(self.owner, kind, title, guarded, urgent, shared, gone)
            self._jobs[kind, about] = job
        job.then(then)
        return job
