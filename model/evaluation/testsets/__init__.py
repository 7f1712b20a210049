"""The fixed test sets: made by one command, the same everywhere, with digests that are kept beside this code.

A set may never change once a figure was printed for it: `htav testset` compares what it makes with `digests.json`.
"""
