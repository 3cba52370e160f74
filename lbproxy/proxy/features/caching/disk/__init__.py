"""DATA. The folder store: stored responses in files, which the processes of a machine share.

- ``journal`` is the file that lists the contents of the folder. All processes append to it and read
  the records of the others, so stored responses and purges are known to all.
- ``files`` writes, reads and verifies the files of responses, and ``spool`` those of large bodies
  while they are received.
- ``folder`` is the store: places by key, eviction and purges.
"""
