"""results.parquet as others may have written it: whoever reads it says in one sentence what is wrong, or reads it."""

import io
import json
import math
import random
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_studies import info

from imer_ray.analysis.report import page
from imer_ray.analysis.table import render
from imer_ray.errors import UserError
from imer_ray.export import export
from imer_ray.results import reading
from imer_ray.results.schema import METADATA_KEY, read_info, read_results
from imer_ray.results.study import load
from imer_ray.results.timeline import read_timeline, write_timeline
from imer_ray.results.writer import write_results

INFO = info(constraints=("latency_ms_b1 <= 5",))
DEEP = "[" * 5000 + "]" * 5000
HOSTILE = (None, True, [], {}, "", "x", -1, 10**30, 0.5, math.nan, math.inf, [[1]], {"a": None}, [None], DEEP)
TEXTS = (
    None,
    "",
    "[]",
    "null",
    "{",
    DEEP,
    '{"a":' * 3000 + "1" + "}" * 3000,
    '{"a": 1e999}',
    f'{{"a": {10**30}}}',
    "\0",
)


def row(trial, point=0, repeat=0):
    steps, moment = 4 * (trial + 1), datetime(2026, 1, 2, 3, 4, trial, tzinfo=UTC)
    return {
        **{"study": "demo", "trial": trial, "point": point, "repeat": repeat, "seed": 1 + repeat, "status": "complete"},
        **{"derived_from": None if point == 0 else 0, "epochs": 3, "feasible": True},
        **{
            "config": json.dumps({"diffusion": {"sde": "vp", "num_steps": steps}}),
            "stages": json.dumps({"encode": "a", "evaluate": f"{trial} {point}"}),
        },
        **{"executors": '{"encode": "inline"}', "host": "laptop", "started": moment, "finished": moment},
        **{
            "valid.Non0_F1_score": 0.7 + trial / 100,
            "speedup_vs_imder": 10.0 * steps,
            "latency_ms_b1": 3.0,
            "nfe": 4.0,
        },
        **{"objective.quality": 0.3 - trial / 100, "objective.speed": -math.log10(10.0 * steps)},
        **{"seconds_computed": 1.0, "seconds_reused": 2.0, "versions": '{"torch": "2"}'},
        **{"config.diffusion.sde": "vp", "config.diffusion.num_steps": steps},
    }


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "results.parquet"
    write_results(path, [row(0), row(0, 1), row(0, repeat=1), row(1), row(2)], INFO)
    return pq.read_table(path)


@pytest.fixture
def read(tmp_path):
    """read(content of results.parquet) reads it as the commands do."""

    def read(content):
        path = tmp_path / "results.parquet"
        path.write_bytes(content)
        read_info(path)
        study = load(tmp_path)
        render(study)
        export(tmp_path, "quality")
        return study

    return read


def written(table, info=None):
    if info is not None:
        table = table.replace_schema_metadata({METADATA_KEY: info})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def leaves(node):
    for key in node if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from leaves(node[key])


def other_words(table, rng):
    """One of the study's own words exchanged or left out."""
    info = json.loads(table.schema.metadata[METADATA_KEY])
    node, key = rng.choice(list(leaves(info)))
    if isinstance(node, dict) and rng.random() < 0.2:
        del node[key]
    else:
        node[key] = rng.choice(HOSTILE)
    text = json.dumps(info)
    return written(table, text.replace(json.dumps(DEEP), DEEP).encode())


def other_columns(table, rng):
    """One column's values, or one of them, exchanged for those of any type."""
    i = rng.randrange(table.num_columns)
    values = table.column(i).to_pylist()
    kind = rng.choice([None, table.schema.field(i).type, pa.string(), pa.float64(), pa.int64(), pa.list_(pa.int8())])
    at = rng.randrange(len(values)) if rng.random() < 0.5 else slice(None)
    new = rng.choice([*TEXTS, -1, 2**40, math.nan, math.inf, [1], b"\xff"])
    values[at] = [new] * len(values) if isinstance(at, slice) else new
    try:
        column = pa.array(values, type=kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        column = pa.array([str(value) for value in values])
    return written(table.set_column(i, table.column_names[i], column))


def other_bytes(table, rng):
    content = bytearray(written(table))
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


@pytest.mark.parametrize("count", [15, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mutated", [other_words, other_columns, other_bytes])
def test_whatever_is_wrong_with_results_is_said_in_a_sentence(table, read, mutated, count):
    """What can be read all the same is shown."""
    rng = random.Random(0)
    refused = 0
    for number in range(count):
        content = mutated(table, rng)
        try:
            study = read(content)
            if number % 10 == 0:
                page(study, [], {})
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 1000
    assert refused >= count / 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectives": [{**vars(INFO.objectives[0]), "reference": None}, vars(INFO.objectives[1])]},
         "the reference of quality is None, not a number"),
        ({"objectives": [vars(INFO.objectives[1])]}, "its objectives do not begin with quality and speed"),
        ({"objectives": None}, "not those of a study"),
        ({"space": [["a"]]}, "are no names"),
        ({"study": None}, "are no names"),
        ({"num_trials": "many"}, "its number of trials is many"),
        ({"schema_version": []}, "it has schema version []"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_studys_words_is_named(table, read, change, message):
    info = json.loads(table.schema.metadata[METADATA_KEY])
    with pytest.raises(UserError, match=r"results\.parquet cannot be read as results of imer_ray: ") as raised:
        read(written(table, json.dumps({**info, **change}).encode()))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("stages", [DEEP] * 5, "stages is larger than any that imer_ray writes"),
        ("stages", ["{}", '{"encode": 3}', None, "{}", "{}"], "stages is no JSON object of texts"),
        ("trial", [0, 0, None, 1, 2], "trial is missing or negative in a row"),
        ("trial", ["a"] * 5, "trial is not int64"),
        ("status", ["done"] * 5, "'done' is no status of a row"),
        ("valid.Non0_F1_score", ["0.7", "good", "1", "1", "1"], "valid.Non0_F1_score is not double"),
        ("config.diffusion.sde", [[1]] * 5, "config.diffusion.sde is list<element: int64>, not a plain value"),
        ("started", [datetime(9999, 1, 1, tzinfo=UTC)] * 5, "started is before 1970 or after 2261"),
    ],
)
def test_what_is_wrong_with_a_column_is_named(table, read, name, values, message):
    changed = table.set_column(table.column_names.index(name), name, pa.array(values))
    with pytest.raises(UserError) as raised:
        read(written(changed))
    assert message in str(raised.value)


def test_a_configuration_that_is_none_cannot_be_exported(table, read):
    changed = table.set_column(table.column_names.index("config"), "config", pa.array([DEEP] * 5))
    with pytest.raises(UserError, match=r"the configuration of trial 2 .*config is larger than any"):
        read(written(changed))


def test_a_small_file_that_would_fill_the_memory_is_refused(table, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 2**20)
    text = pa.array(["x" * 2**14] * 4000).dictionary_encode()
    path = tmp_path / "results.parquet"
    pq.write_table(pa.table({"trial": pa.array(range(4000)), "config": text.cast(pa.string())}), path)
    assert path.stat().st_size < 2**16
    with pytest.raises(UserError, match="it holds more than"):
        read_results(path)


def test_a_timeline_of_others_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "timeline.parquet"
    run = {"run": "r", "stage": "encode", "kind": "encode", "key": "k", "status": "computed", "host": "h", "node": "n"}
    run |= {"executor": "inline", "started": 1.0, "finished": 2.0, "seconds": 1.0, "epoch": 1, "num_epochs": 1}
    write_timeline(path, [{**run, "waiters": ["demo-0"]}], "demo")
    table = pq.read_table(path)
    assert read_timeline(path)[0]["waiters"] == ["demo-0"]
    for name, value in [("waiters", DEEP), ("waiters", "{}"), ("started", None), ("seconds", "x"), ("stage", None)]:
        pq.write_table(table.set_column(table.column_names.index(name), name, pa.array([value])), path)
        with pytest.raises(UserError, match=r"timeline\.parquet is damaged or no timeline \([^\n]*\); delete it"):
            read_timeline(path)
