"""Checkpoint and restore: write a container to files and restore it, by the separate program criu (https://criu.org).

rpc encodes its messages; criu finds, starts and calls it; options holds the caller's options and directories; external
names the parts of a container that belong to the host, so that criu leaves them out and restore takes the host's.
dump and restore are the two verbs.
"""
