"""Forward processes, one file each."""
