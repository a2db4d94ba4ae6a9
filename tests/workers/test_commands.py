"""`ray start` and `RAY_...` in shell text: found where they are run, changed in the quotes that they stand in."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlive.workers import commands, shell


def starts(text, **options):
    return [start.words for start in commands.find(text, **options)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ulimit -n 65536; ray start --head --port=6379 # --x", [("--head", "--port=6379")]),
        ("ray start --head \\\n  --port=6379 \\\r\n  --block\necho --x", [("--head", "--port=6379", "--block")]),
        ("bash -lc 'ray start --head' arg", [("--head",)]),
        ('ssh host "cd /a && ray start --head"', [("--head",)]),
        ("srun bash -c 'ssh x \"ray start --head\"'", [("--head",)]),
        ("(ray start --head) || exit 1", [("--head",)]),
        ("ray start --head > log 2>&1 &", [("--head",)]),
        ("/opt/v/bin/ray start --head", [("--head",)]),
        ('srun env A=1 "${PY}" -m ray.scripts.scripts start --head --block', [("--head", "--block")]),
        ("if true; then ray start --head; fi", [("--head",)]),
        ("for i in 1 2; do srun -w $n ray start --address $ip & done", [("--address", "$ip")]),
        ('cmd="ray start --address=$ip"; $cmd', [("--address=$ip",)]),
        ("ray start --resources='{\"a b\":1}'", [('--resources={"a b":1}',)]),
        ("x=$(cat <<EOF\nray start --head\nEOF\n)", [("--head",)]),
        ("cat <<'EOF' > a.sh\nray start --head\nEOF\nray start --block", [("--head",), ("--block",)]),
        ("ray start", [()]),
        ("# ray start --head", []),
        ("echo ray start --head", []),
        ('echo "run: ray start --head"', []),
        ("printf 'ray start --head\\n'", []),
        ("cat <<EOF\nThen ray start --head on it.\nray start --head on the first machine\nEOF", []),
        ("pkill -f 'ray start'", []),
        ("xray start --head; ray stop; ray status start", []),
        ('log="ray start failed"', []),
    ],
)  # fmt: skip
def test_what_is_run(text, words):
    assert starts(text) == words


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("The cluster is up after you ray start --head there.", 0),
        ("Use `ray start --head`.", 1),
        ("ray start --head\n", 1),
        ("A=1 sudo ray start --head", 1),
    ],
)
def test_prose(text, count):
    assert len(starts(text, prose=True)) == count


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("RAY_a=1 ray start", [("RAY_a", "1")]),
        ("export RAY_a=1 RAY_b='2 3'", [("RAY_a", "1"), ("RAY_b", "2 3")]),
        ("RAY_a=1\nray start", []),
        ("RAY_a=1\nexport RAY_a\nray start", [("RAY_a", "1")]),
        ("set -a; RAY_a=1; ray start", [("RAY_a", "1")]),
        ("env RAY_a=1 ray start", [("RAY_a", "1")]),
        ("docker run -e RAY_a=1 image", [("RAY_a", "1")]),
        ("bash -c 'RAY_a=1 ray start'", [("RAY_a", "1")]),
        ("echo RAY_a=1 # RAY_b=2", []),
    ],
)
def test_variables(text, found):
    assert [(one.name, one.value) for one in commands.environment(text)] == found


VALUES = st.integers() | st.booleans() | st.floats(0, 1) | st.sampled_from(["x y", "it's", '"', "$x"])
QUOTED = [
    "{}",
    "bash -lc '{}'",
    'bash -c "{}"',
    "a && ({}) > /dev/null 2>&1 &",
    "ssh x \"bash -lc '{}'\"",
    "srun bash -c 'ssh y \"{}\"' # z",
    "{} \\\n  --block",
]


@settings(deadline=None)
@given(
    st.sampled_from(QUOTED),
    st.sampled_from(["ray start --head", "ray start --head --system-config={}", "ray  start --port=1 --head"]),
    st.dictionaries(st.sampled_from(["a", "b_c"]), VALUES, min_size=1),
)  # fmt: skip
def test_settings_land_inside_the_quotes(frame, command, values):
    text = frame.format(command)
    (start,) = commands.find(text)
    after = commands.edited(text, start.with_settings(values))
    (again,) = commands.find(after)
    assert again.settings() == values
    assert "--head" in again.words and ("--block" in after) == ("--block" in text)
    (bare,) = commands.find(commands.edited(after, again.without_settings()))
    assert bare.option is None and bare.words == tuple(word for word in start.words if "system-config" not in word)


@pytest.mark.parametrize("frame", [frame for frame in QUOTED if "ssh" not in frame and "srun" not in frame])
def test_the_shell_gives_ray_what_is_meant(frame, tmp_path):
    text = frame.format("ray start --head")
    (start,) = commands.find(text)
    made = commands.edited(text, start.with_settings({"a": 1, "b": True}))
    out = tmp_path / "out"
    script = f'ray() {{ printf "%s\\n" "$@" > {out}; }}; export -f ray; a() {{ :; }}; {made}\nwait'
    subprocess.run(["bash", "-c", script], check=True, timeout=60)
    option = next(line for line in out.read_text().splitlines() if line.startswith("--system-config="))
    assert json.loads(option.partition("=")[2]) == {"a": 1, "b": True}


@pytest.mark.parametrize("option", ["$(cat f)", '"$X"', "[1]"])
def test_settings_that_are_not_known(option):
    (start,) = commands.find(f"ray start --head --system-config={option}")
    with pytest.raises(ValueError, match="made when the command runs|no JSON object"):
        start.with_settings({"a": 1})


@pytest.mark.parametrize("text", ["$(" * 5000, "`" * 5000, "${" * 5000, "'" * 5001, "<<a " * 5000, "(" * 5000])
def test_any_depth_can_be_read(text):
    assert starts(text + "\nray start") in ([()], [])


@settings(deadline=None)
@given(st.text(alphabet="ray start-\\'\"`$(){}<>&|;#\n \tEOF=x", max_size=60))
def test_any_text_can_be_read(text):
    for one in shell.commands(text):
        for word in (*one.assignments, *one.words):
            assert len(word.letters) == len(word.spans) == len(word.quotes)
            assert all(0 <= start <= end <= len(text) for start, end in word.spans)
    commands.find(text)
    commands.environment(text, prose=True)
