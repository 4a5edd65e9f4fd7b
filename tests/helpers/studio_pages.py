"""Sessions of the studio, and what the script of its page does, in Python."""

from __future__ import annotations

import base64
import io
import time

import numpy as np
from PIL import Image

from resefa_plugin.studio.view import mask_url
from resefa_plugin.studio.work.cache import JacobianCache
from resefa_plugin.studio.work.derivative import compute_jacobian
from resefa_plugin.studio.work.session import Session

LONG = 60  # seconds: never reached unless something hangs
BOX = np.zeros((32, 32), bool)
BOX[8:16, 8:20] = True


def make_session(hook, **options):
    return Session(hook, JacobianCache(1 << 30), **options)


def prepare(session, report=lambda done, total: None):
    """Computes the derivative at the sample on the screen, as a studio does in the background."""
    return compute_jacobian(session.cache, session.viewpoint(), session.check, session.jacobian_dir, session.known,
                            report)


def ready(session, name='box', mask=BOX):
    """The finding of a region that has just been drawn."""
    session.set_region(name, mask)
    prepare(session)
    return session.factorize(name)


class Page:
    """What the script of the page does, in Python."""

    def __init__(self, studio):
        self.studio = studio
        self.opened = studio.call({'action': 'open'})
        self.token = self.opened['token']

    def ask(self, action, **values):
        return self.studio.call({'action': action, 'token': self.token, **values})

    def good(self, action, **values):
        answer = self.ask(action, **values)
        assert 'error' not in answer, answer
        return answer

    def settle(self):
        """Waits until nothing is under way."""
        for _ in range(1000):
            jobs = self.studio.queue.jobs(self.token)
            if not jobs:
                return self.good('status')
            assert jobs[0].wait(LONG)
            time.sleep(0.002)  # until the queue, too, knows that it has ended
        raise AssertionError('jobs without end')

    def with_directions(self, name='mouth', mask=BOX):
        self.good('region', name=name, mask=mask_url(mask))
        self.good('factorize', name=name)
        self.settle()
        return self


def encoded(content):
    return base64.b64encode(content).decode()


def picture(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(',')[2]))))


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return encoded(file.getvalue())
