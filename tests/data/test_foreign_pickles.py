"""Pickles as other Pythons and other people write them: read as they are meant, or refused in true words."""

import base64
import gzip
import io
import pickle
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from mmsa_files import converted, tree

from imer_ray.data import safe_pickle
from imer_ray.data.pickled_array import as_text
from imer_ray.data.plain_values import names
from imer_ray.errors import UserError

# What Python 2.7.18's cPickle wrote in protocol 2 of {'x': float32 [2, 3], u'y': float32 [70], 'id': ['v\xc3\xa9',
# '\xe9', u'\xe9'], 'big': 2**40, 'map': {0: 'a'}, 's': a numpy array of the strings 'ab' and 'cd', 'f': float32 2.5}.
PYTHON_2 = (
    "c-nQ+F=!J}7{KxO?xL;Ns!^*(ame71K|)e$W1(OyBI-#fwGT2V_U@8;fh5g$xkv*Q4l%KHa&+uyH%G@p7e`0Oj=DLz>Az_PLHc;V$Aj<Q`#!#R"
    "iS=4^&e$!lBW!I~8SQnAUJu&6R;Qm2HlljI)oaELFN(ar(+#|)7detTjytuu->Ext%2?}ja@tj{ezzhMIoCFNu~Ml#{=*n8u8Mt=QYu>>uE?aZ"
    "{l-f<^Qc%@Sh!s*&d-)grFqBb?g?pMMD<{!-HoGO5If?GlecTfQJHepK&FlMNq#oxYS$Xbxsals&dT|5QRz`pTmKccV^W?U)Z{|!SG7{AA3EVw"
    "IKJ%S(Pa+?aw(kHS<M`UM<cn*Qf4B-F7|N<bx)}@vM8X8Wvrot1l#z4kJ!a0e8v~-<14=5I}Y&!zwjGsNvRYjF^x24kiiXPaT7V*LIHEQgGH2a"
    "9}n>a%UDGf&#;CXLNw7qj7@AI!5h5A5ZidaBr`m(-u$<Bmq!ob+C#ZQ_e|!b*2z_lT8)}yp360U#a9P=a^2{kRf{hV_UgU-U-O=*Nd"
)


def load(content):
    return safe_pickle.load(Path("x.pkl"), io.BytesIO(content))


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 wrote its ``str``, numbers beyond four bytes as its ``int``."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_text(self, value):
        raw = value.encode() if isinstance(value, str) else value
        self.write(b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_text

    def save_number(self, value):
        if -(2**31) <= value < 2**31:
            return self.save_long(value)
        self.write(b"I%d\n" % value)

    dispatch[int] = save_number


def python_2(value):
    out = io.BytesIO()
    Python2Pickler(out, 2).dump(value)
    return out.getvalue().replace(b"numpy._core", b"numpy.core")


def test_what_python_2_wrote_is_read():
    content = zlib.decompress(base64.b85decode(PYTHON_2))
    assert content.startswith(b"\x80\x02}q\x01(U") and b"I1099511627776\n" in content
    found = load(content)
    assert set(found) == {"x", "y", "id", "big", "map", "s", "f"}
    np.testing.assert_array_equal(found["x"].rows(), np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(found["y"].rows(3, 5), [3, 4])
    assert found["s"].rows().tolist() == [b"ab", b"cd"]
    assert names(found["id"]) == ["vé", "é", "é"]
    assert (found["big"], found["f"]) == (2**40, 2.5) and as_text(found["map"][0]) == "a"


def test_a_file_of_python_2_becomes_the_same_store(tmp_path):
    data = tree()
    (tmp_path / "old").mkdir()
    for split in data.values():
        split["label_map"] = {0: "negative", 1: "positive"}
        split["big"] = 2**40
    assert converted(tmp_path / "old", python_2(data)).fingerprint() == converted(tmp_path, data).fingerprint()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_names_as_bytes_and_numbers_as_keys_are_read(protocol):
    found = load(pickle.dumps({b"id": [b"a", "b"], 1: "one", -7: {0: []}}, protocol))
    assert list(found) == ["id", 1, -7] and found[-7] == {0: []}
    assert names(found["id"]) == ["a", "b"]


def test_numbers_as_keys_cannot_be_made_to_collide():
    many = {k * (2**61 - 1): 0 for k in range(1, 9)}
    assert len({hash(key) for key in many}) == 1
    with pytest.raises(UserError, match="a dictionary with a number of this kind as a key"):
        load(pickle.dumps(many))


def test_an_array_in_fortran_order_is_read_row_by_row_and_never_whole():
    x = np.asfortranarray(np.random.default_rng(0).normal(size=(300, 5, 4)))

    class Counting(io.BytesIO):
        largest = 0

        def read(self, count=-1):
            Counting.largest = max(Counting.largest, count)
            return super().read(count)

    array = safe_pickle.load(Path("x.pkl"), Counting(pickle.dumps(x)))
    Counting.largest = 0
    for start in (0, 128, 256):
        np.testing.assert_array_equal(array.rows(start, start + 128), x[start : start + 128])
    assert array.rows(7, 7).shape == (0, 5, 4)
    assert Counting.largest == 128 * 8


class Plain:
    pass


def zipped():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.pkl", b"x")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (gzip.compress(pickle.dumps({}), mtime=0), "a gzip archive; unpack it"),
        (zipped(), "a zip archive; unpack it"),
        (b"\xfd7zXZ\0", "an xz archive|a xz archive"),
        (b"BZh9", "a bzip2 archive"),
        (b"\x89HDF\r\n", "an HDF5 file, where a pickle of MMSA is needed"),
        (b"PAR1", "a parquet file"),
        (b"\x93NUMPY\x01\0", "a numpy file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 7\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "a web page"),
        (pickle.dumps({"a": [1]}, 0), r"protocol 0 or 1, as Python 2 writes.* pickle.dump\(pickle.load\("),
        (pickle.dumps({"a": [1]}, 1), "protocol 0 or 1"),
        (pickle.dumps({"a": {1, 2}}), "the pickle holds a set .instruction EMPTY_SET., and only numbers, text"),
        (pickle.dumps({"a": frozenset("x")}), "the pickle holds a set"),
        (pickle.dumps({"a": Plain()}), "asks for '.*Plain'; nothing was run"),
        (pickle.dumps({(1, 2): 0}), "a dictionary with a tuple as a key"),
        (pickle.dumps({None: 0}), "a dictionary with a NoneType as a key"),
        (b"\x80\x04Pname\n.", "something that lies outside the file"),
        (b"\x80\x04\x82\x01.", "an object of a registered class"),
        (b"\x80\x04\xff.", "damaged.*0xff is no instruction"),
        (b"\x80\x02I1234567890123456789012345678901234567890\n.", "an integer of absurd size"),
        (b"\x80\x02Inan\n.", "damaged"),
        (b"\x80\x02T\xff\xff\xff\xff.", "damaged"),
    ],
)
def test_what_is_not_read_is_refused_for_what_it_is(content, message):
    with pytest.raises(UserError) as caught:
        load(content)
    assert re.search(message, str(caught.value)) and "\n" not in str(caught.value)
