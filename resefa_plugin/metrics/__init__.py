"""Measures of edits: how much changed and where, whether the person is the same, how pictures as a set changed."""
