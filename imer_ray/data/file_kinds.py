"""What a file is instead of what was expected, in words."""

from __future__ import annotations

_ARCHIVES = {
    **{b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"},
    **{b"7z\xbc\xaf": "7-zip", b"Rar!": "rar"},
}
_FORMATS = {b"\x89HDF": "an HDF5 file", b"PAR1": "a parquet file", b"\x93NUMPY": "a numpy file"}


def other_kind(head: bytes, size: int, needed: str = "a pickle of MMSA") -> str | None:
    """What a file with these first bytes is, if it is clearly no pickle of protocol 2 or later; else None.

    ``needed`` names what would be read.
    """
    if size == 0:
        return "the file is empty"
    for beginning, kind in _ARCHIVES.items():
        if head.startswith(beginning):
            return f"this is a {kind} archive; unpack it and give the file inside"
    for beginning, kind in _FORMATS.items():
        if head.startswith(beginning):
            return f"this is {kind}, where {needed} is needed"
    if head.startswith(b"version https://git-lfs"):
        return "this is a pointer of Git LFS, not the file itself; fetch it with git lfs pull"
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        return "this is a web page, so the download did not give the file; fetch it again"
    if head[:2] in (b"(d", b"(l", b"}q", b"]q", b"}.", b"]."):
        return (
            "this is a pickle of protocol 0 or 1, as Python 2 writes unless told otherwise, and protocols 2 to 5 are "
            "read; if you trust it, write it anew: pickle.dump(pickle.load(open(OLD, 'rb'), encoding='latin1'), "
            "open(NEW, 'wb'), 4)"
        )
    return None
