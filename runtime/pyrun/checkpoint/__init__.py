"""Checkpoint and restore: a container as files, and back, by criu (https://criu.org), which is a program of its own.

rpc speaks with it; criu finds, starts and asks it; options says what the caller wants and where the files are; external
names what in a container is the host's, so that criu leaves it out and puts the host's in its place again. dump and
restore are the two verbs.
"""
