"""Search spaces: ranges only, one file each; `space=NAME` picks one."""
