"""FileStore: events, snapshots and checkpoints in a folder, in files a person can read.

A folder holds the log in segments (`log-<first position>.jsonl`, one line for each append), an
index of each segment that is full (`log-<first position>.index`, made again when it is missing),
`snapshots/`, `checkpoints/`, the file `lock`, and `torn-…` files, into which opening moves what a
crash has left unfinished at the log's end.
"""

from eskernel_stores.file.store import FileStore

__all__ = ["FileStore"]
