"""DATA. The folder store: stored responses in files, which the processes of a machine share.

- ``journal`` is the file that says what the folder holds: all processes append to it and read what
  others have appended, so a response that one stores is known to all, and so is a purge.
- ``files`` writes, reads and verifies the files of responses, and ``spool`` those of large bodies
  while they come in.
- ``folder`` is the store: places by key, eviction and purges.
"""
