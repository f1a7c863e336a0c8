"""Damage to files: ways in which a file is another than the one that was written, by name."""

import io
import json
import os
import shutil

import numpy as np
import pandas as pd

DEEP = "[" * 100_000 + "]" * 100_000
LONG = "9" * 5_000
ODD = {  # JSON texts in the place of a value
    "text": '"x"', "null": "null", "nan": "NaN", "inf": "-Infinity", "list": "[1, 2]", "object": '{"x": 1}',
    "true": "true", "long": LONG, "deep": DEEP, "empty": '""', "negative": "-1", "zero byte": '"\\u0000"',
}  # fmt: skip
ODD_CELLS = {"text": "x", "nan": np.nan, "inf": np.inf, "-1": -1.0, "huge": 1e300, "half": 0.5}


def put(path, data):
    """These bytes in the place of a file, which is no longer the one that others may be linked to."""
    path.unlink()
    path.write_bytes(data)


def emptied(path):
    """Nothing is there any more."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _cut(share):
    def go(path):
        data = path.read_bytes()
        put(path, data[: share if share >= 0 else len(data) + share])

    return go


def _link(path, target):
    path.unlink()
    path.symlink_to(target)


def _folder(path):
    path.unlink()
    path.mkdir()


def _full_folder(path):
    _folder(path)
    (path / "kept.txt").write_text("somebody's")


def _fifo(path):
    path.unlink()
    os.mkfifo(path)


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    put(path, bytes(data))


ANY = {
    "folder": _folder, "full folder": _full_folder, "fifo": _fifo,
    "dangling link": lambda path: _link(path, path.with_name("nowhere")), "loop": lambda path: _link(path, path),
    "endless device": lambda path: _link(path, "/dev/zero"),
    "empty": lambda path: put(path, b""), "cut at 1": _cut(1), "cut at 8": _cut(8), "cut at 100": _cut(100),
    "cut by 1": _cut(-1), "cut by 20": _cut(-20), "flip": _flip,
    "noise": lambda path: put(path, np.random.default_rng(1).bytes(len(path.read_bytes()))),
    "zeros": lambda path: put(path, bytes(len(path.read_bytes()))),
    "deep JSON": lambda path: put(path, DEEP.encode()),
    "no utf-8": lambda path: put(path, b"\xff\xfe" + path.read_bytes()),
}  # fmt: skip


def in_json(text, top=()):
    """Name -> another text of a JSON object: each entry (and each of an entry in `top`) gone or of an odd value."""
    found = json.loads(text)
    cases = {f"whole {name}": value for name, value in ODD.items()}
    cases |= {"twice": f'{text.rstrip()[:-1]}, "{next(iter(found))}": {{}}}}', "words": text + "words"}
    for key in found:
        cases[f"without {key}"] = json.dumps({name: value for name, value in found.items() if name != key})
        for name, odd in ODD.items():
            cases[f"{key} {name}"] = _with(found, key, odd)
    for key in top:
        for entry in found[key] if isinstance(found.get(key), dict) else ():
            inner = {name: value for name, value in found[key].items() if name != entry}
            cases[f"without {key}.{entry}"] = json.dumps(found | {key: inner})
            for name, odd in ODD.items():
                cases[f"{key}.{entry} {name}"] = _with(found, key, _with(found[key], entry, odd))
    return cases


def _with(found, key, odd):
    """The object as text with a text in the place of a value."""
    return "{" + ", ".join(f"{json.dumps(name)}: {odd if name == key else json.dumps(value)}"
                           for name, value in found.items()) + "}"  # fmt: skip


def in_table(frame, of=None):
    """Name -> another table. of: the columns that get odd values, by default all."""
    cases = {
        "no rows": frame.iloc[:0], "without last row": frame.iloc[:-1], "without first row": frame.iloc[1:],
        "rows twice": pd.concat([frame, frame]), "last row twice": pd.concat([frame, frame.iloc[-1:]]),
        "shuffled": frame.sample(frac=1, random_state=1), "another column": frame.assign(another=1.0),
        "renamed": frame.rename(columns={frame.columns[0]: "x"}), "no columns": frame[[]],
    }  # fmt: skip
    for name in frame if of is None else of:
        cases[f"without {name}"] = frame.drop(columns=name)
        for kind, odd in ODD_CELLS.items():
            cases[f"{name} {kind}"] = frame.assign(**{name: [*frame[name].tolist()[:-1], odd]})
        cases[f"{name} all text"] = frame.assign(**{name: ["x"] * len(frame)})
        cases[f"{name} all nan"] = frame.assign(**{name: np.nan})
        cases[f"{name} long"] = frame.assign(**{name: [LONG] * len(frame)})
        cases[f"{name} true"] = frame.assign(**{name: True})
    return cases


def as_csv(frame):
    return frame.to_csv(index=False).encode()


def in_csv(data, of=None):
    """Name -> other bytes of a .csv file: its tables, and what only text can be."""
    lines = data.decode().splitlines()
    cases = {name: as_csv(frame) for name, frame in in_table(pd.read_csv(io.BytesIO(data)), of).items()}
    texts = {
        "column twice": [f"{lines[0]},{lines[0].split(',')[0]}", *(f"{line},1" for line in lines[1:])],
        "long rows": [lines[0], *(f"{line},1" for line in lines[1:])],
        "one long row": [*lines[:-1], lines[-1] + ",1"],
        "short row": [*lines[:-1], lines[-1].rpartition(",")[0]], "open quote": [*lines[:-1], '"' + lines[-1]],
        "zero byte": [*lines[:-1], lines[-1].replace(",", "\0,", 1)], "no header": lines[1:],
        "semicolons": [line.replace(",", ";") for line in lines], "words": [*lines, "words"],
    }  # fmt: skip
    return cases | {name: ("\n".join(rows) + "\n").encode() for name, rows in texts.items()}


def parquet(frame):
    """A table as Parquet bytes, its columns of mixed kinds as text."""
    frame = frame.reset_index(drop=True)
    try:
        return bytes(frame.to_parquet(index=False))
    except Exception:
        return bytes(frame.astype({name: str for name in frame if frame[name].dtype == object}).to_parquet(index=False))


def in_parquet(data, of=None):
    """Name -> other bytes of a Parquet file."""
    cases = {name: parquet(frame) for name, frame in in_table(pd.read_parquet(io.BytesIO(data)), of).items()}
    return cases | {"csv": as_csv(pd.read_parquet(io.BytesIO(data)))}
