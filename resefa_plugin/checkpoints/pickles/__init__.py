"""Pickle and torch files, read without executing anything in them.

Readers of our own, because network files come from strangers: time and memory are bounded before anything is allocated,
by checks of every length and by a budget for the whole file. `torch.load(weights_only=True)` has no such bounds, could
be made to execute code before torch 2.6 (CVE-2025-32434), and can read neither the pickles of TensorFlow nor the
classes that official files carry along. Whatever a file names becomes an inert object here, which holds the name and
the arguments and cannot do anything.
"""
