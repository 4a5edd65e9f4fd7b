"""Lets glibc keep large blocks of memory, which makes CPU networks several times faster."""

from __future__ import annotations

import ctypes

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
# Nothing is mapped singly, nothing is given back: a threshold in bytes (an int, so 2 GB at most) is passed by each
# chunk of tangents, whose memory would then be returned and faulted in again, which measured as a third of the time.
# One arena for all threads: those of other threads than the first keep no large blocks, which made them half again as
# slow.
OPTIONS = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 1 << 26, M_ARENA_MAX: 1}


def keep_large_blocks() -> bool:
    """Makes malloc reuse large blocks instead of returning them to the system after each use.

    By default glibc maps every block over 32 MB anew: each temporary of a network at 1024 pixels then costs a page
    fault per 4 KB, which measured as three quarters of the time of a tangent. The setting lasts for the process, so the
    command line makes it at start-up; a program that imports this package decides for itself.

    Returns: True where the C library is glibc and took it, False elsewhere, where nothing is changed.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt, _ = libc.mallopt, libc.gnu_get_libc_version
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return all([mallopt(option, value) for option, value in OPTIONS.items()])


def give_back() -> None:
    """Returns to the system what was freed: between two steps, of which the next one needs other blocks than the last.

    Blocks that are kept are never given back otherwise, so that memory would be the sum of what all steps took. They
    fault in again when they are needed. Does nothing where the C library is not glibc.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)
