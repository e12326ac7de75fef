"""The data of a large page are packed, and unpacked by the page itself."""

import base64
import json
import random
import shutil
import subprocess
import zlib
from importlib import resources

import pytest
from pages import browser, complaints, draw
from small_study import FRONT

from imer_ray.analysis.page import page as page_module
from imer_ray.analysis.page.page import packed

SCRIPT = """
const text = require("fs").readFileSync(0, "utf-8"), [kind, content] = JSON.parse(text);
process.stdout.write(JSON.stringify(given({ type: kind, textContent: content })));
"""


def unpack(kind, content):
    """What the page's own script makes of it."""
    script = resources.files("imer_ray.analysis").joinpath("assets", "packed.js").read_text(encoding="utf-8") + SCRIPT
    asked = json.dumps([kind, content])
    return json.loads(
        subprocess.run(["node", "-e", script], input=asked, capture_output=True, check=True, text=True).stdout
    )


def contents():
    source = random.Random(0)
    yield {"nothing": []}
    yield "a" * 100_000  # far repeated
    yield [source.random() for _ in range(20_000)]
    yield {f"key {i % 50}": source.choice(["ddim", "heun", "dpmpp_2m"]) * (i % 7) for i in range(5000)}
    yield "".join(map(chr, source.choices(range(32, 127), k=70_000)))  # hardly to be packed


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the page's script")
@pytest.mark.parametrize("content", list(contents()), ids=["short", "repeated", "numbers", "words", "noise"])
def test_what_is_packed_is_what_the_page_unpacks(content, monkeypatch):
    monkeypatch.setattr(page_module, "PACKED_FROM", 0)
    kind, text = packed(json.dumps(content))
    assert kind == "application/x-deflate" and unpack(kind, text) == content
    monkeypatch.setattr(page_module, "PACKED_FROM", 10**9)
    assert unpack(*packed(json.dumps(content))) == content


def test_stored_blocks_are_unpacked_too(monkeypatch):
    if shutil.which("node") is None:
        pytest.skip("no node to run the page's script")
    text = json.dumps(list(range(30_000)))
    packer = zlib.compressobj(0, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = base64.b64encode(packer.compress(text.encode()) + packer.flush()).decode()
    assert unpack("application/x-deflate", f"{len(text)}:{content}") == list(range(30_000))


@pytest.mark.slow
def test_a_packed_page_is_drawn_as_any_other(small, monkeypatch):
    folder = small(FRONT)
    with browser() as opened:
        said = []
        for limit in (10**9, 0):
            monkeypatch.setattr(page_module, "PACKED_FROM", limit)
            opened.get(draw(folder))
            said.append(
                (opened.execute_script("return JSON.stringify(report)"), opened.find_element("tag name", "main").text)
            )
            assert complaints(opened) == []
        assert said[0] == said[1]
