"""``make count``: instructions and system calls for each unit of work, by callgrind."""
