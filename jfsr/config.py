"""Configs: one line on the command line says which run, and one schema says which keys exist and of what type.

``--config=configs/msgan.py:x16,debug,train.batch=4``: after the colon come variants of that file and ``key=value``
overrides, joined by commas. Every module declares the keys it reads in a ``CONFIG`` dict (:data:`Schema`), and the
schema of a run is all of them together (:func:`jfsr.training.schema.run_schema`). Overrides and whole configs are held
against it by the same rule, :func:`fits`.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import hashlib
import json
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from jfsr import renames

Section = Any  # a ConfigDict or a dict; the first is no Mapping to Python

# name -> type (int, float, bool, str, tuple[int, ...], …, or one Within bounds), or a nested schema. The name '*'
# stands for every name that the user chooses; the type dict is a section that another module declares.
Schema = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Within:
    """A number, or a tuple of numbers, from ``low`` to ``high``, both included."""

    kind: Any
    low: int | float
    high: int | float


SIZE, SIZES = Within(int, 1, 4096), Within(tuple[int, ...], 1, 4096)  # of layers; more would fit on no machine
COUNT = Within(int, 1, 65_536)
STEPS = Within(int, 0, 10**9)
SCALE = Within(int, 1, 64)


class ConfigError(ValueError):
    """A config that cannot be run: names the key, the rule and the nearest right name."""


def parse(
    arg: str, *, base: ConfigDict, variants: Mapping[str, Callable[[ConfigDict], None]], schema: Schema
) -> ConfigDict:
    """Applies variants and overrides to ``base``: what follows the colon in ``--config=FILE.py:…``.

    Args:
      arg: words joined by commas: names of variants, in order, and ``dotted.key=value`` overrides, applied last. A
        value is a Python literal or a bare string; a comma inside brackets or quotes does not separate.
      base: the config that the variants change.
      variants: name -> function that changes the config.
      schema: the keys of this run and their types.

    Returns:
      The locked config.

    Raises:
      ConfigError: an unknown variant, or a key that is unknown, missing or of another type.
    """
    overrides = []
    for word in _split(arg):
        if "=" in word:
            overrides.append(word.split("=", 1))
        elif word in variants:
            variants[word](base)
        else:
            raise ConfigError(f"unknown variant {word!r}{nearest(word, variants)} (variants: {', '.join(variants)})")
    for key, text in overrides:
        override(base, key.strip(), text.strip(), schema=schema)
    validate(base, schema)
    return base.lock()


def flags_parser(values: flags.FlagValues) -> Callable[[list[str]], list[str]]:
    """Parses the flags of an entry point, for ``app.run(main, flags_parser=flags_parser(FLAGS))``.

    A config that cannot be made ends the program (exit code 2) with the message of :func:`parse`, in one line;
    ml_collections would put the traceback of its import into the message.
    """

    def parse_argv(argv: list[str]) -> list[str]:
        given = [word.partition("=")[2] for word in argv if word.lstrip("-").startswith("config=")]
        try:
            if bad := [text for text in given if not text.partition(":")[0].endswith(".py")]:
                raise ConfigError(f"{bad[0]!r} is no config; it takes FILE.py:variant,key=value,…")
            return values(argv)
        except (ConfigError, KeyError, AttributeError, TypeError) as error:  # of --config.KEY=VALUE
            names = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
            if any(name.endswith(text.partition(":")[0]) for name in names for text in given):
                raise  # the user's own config file has a fault: its traceback says where
            print(f"--config: {str(error).strip().splitlines()[0]}", file=sys.stderr)
            sys.exit(2)
        except flags.Error as error:
            ours, cause = None, error.__context__
            while cause is not None:  # ml_collections raises a ConfigError again, with the traceback as its text
                ours, cause = cause if isinstance(cause, ConfigError) else ours, cause.__context__
            # Of absl's own message the first line: below it stands what ml_collections was doing.
            said = f"--config: {ours}" if ours else f"{str(error).strip().splitlines()[0]}; see --help"
            print(said, file=sys.stderr)
            sys.exit(2)

    return parse_argv


def override(config: ConfigDict, key: str, text: str, *, schema: Schema) -> None:
    """Sets one dotted key from text, as the type that the schema gives it."""
    kind, known = _kind_of(schema, key), flatten(config)
    if key not in known or kind is None:
        raise ConfigError(_unknown(config, key, known))
    value = _unquoted(text) if kind is str else _literal(text)
    if not fits(value, kind):
        raise ConfigError(_wrong_type(key, kind, repr(value)))
    *path, last = key.split(".")
    for name in path:
        config = config[name]
    config[last] = _cast(value, kind)


def validate(config: ConfigDict, schema: Schema) -> None:
    """Holds a whole config against the keys that the code reads.

    Raises:
      ConfigError: lists every key that is unknown (with the nearest known one), missing, or of another type.
    """
    faults: list[str] = []
    _check(config, schema, "", faults, known=flatten(schema), root=config)
    if faults:
        raise ConfigError("this config cannot be run:\n  " + "\n  ".join(faults))


def merge(*schemas: Schema) -> dict[str, Any]:
    """One schema of several modules' schemas; TypeError where two declare one key differently."""
    merged: dict[str, Any] = {}
    for schema in schemas:
        _merge(merged, schema)
    return merged


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a schema's type: the one rule for overrides and for whole configs.

    An int may stand for a float and a list for a tuple; a bool is no int, and NaN is no float.
    """
    if isinstance(kind, Within):
        inside = lambda number: kind.low <= number <= kind.high
        return fits(value, kind.kind) and all(map(inside, value if isinstance(value, (tuple, list)) else (value,)))
    if _is_tuple(kind):
        items = typing.get_args(kind)
        return isinstance(value, (tuple, list)) and all(fits(v, items[0]) for v in value if items)
    if kind is float:
        return type(value) in (float, int) and value == value
    return type(value) is kind


def flatten(config: Section, prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted key."""
    out: dict[str, Any] = {}
    for name in config:
        value = config[name]
        if isinstance(value, (ConfigDict, dict)):
            out |= flatten(value, f"{prefix}{name}.")
        else:
            out[f"{prefix}{name}"] = value
    return out


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean …?', or nothing."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not close:  # the last part alone, for keys given without their section or in another one
        tails = {k.rsplit(".", 1)[-1] for k in known}
        tail = difflib.get_close_matches(name.rsplit(".", 1)[-1], sorted(tails), n=1, cutoff=0.6)
        close = [k for k in known if k.rsplit(".", 1)[-1] in tail]
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def to_json(config: ConfigDict) -> str:
    """Canonical JSON: sorted keys, tuples as lists; ConfigError for a value that JSON has no word for."""
    try:
        return json.dumps(config.to_dict(), sort_keys=True, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a config holds numbers, strings, booleans and tuples of them only: {error}") from error


def from_json(text: str) -> ConfigDict:
    """Inverse of :func:`to_json`; lists come back as tuples, keys of earlier versions under their present names."""
    try:
        config = json.loads(text)
    except RecursionError as error:
        raise ConfigError("its JSON is nested too deep") from error
    return ConfigDict(_tuples(renames.upgrade(config) if isinstance(config, dict) else config))


def config_hash(config: ConfigDict) -> str:
    """Twelve hex digits that name a config."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()[:12]


def diff(old: ConfigDict, new: ConfigDict) -> dict[str, str]:
    """What differs: dotted key -> ``'16 -> 4'``, with ``(absent)`` on the side that lacks the key."""
    a, b = flatten(_tuples(old.to_dict())), flatten(_tuples(new.to_dict()))
    show = lambda flat, key: repr(flat[key]) if key in flat else "(absent)"
    return {k: f"{show(a, k)} -> {show(b, k)}" for k in sorted(a | b) if show(a, k) != show(b, k)}


def _check(
    config: Section, schema: Schema, prefix: str, faults: list[str], *, known: Iterable[str], root: Section
) -> None:
    for name in config:
        kind, key, value = schema.get(name, schema.get("*")), f"{prefix}{name}", config[name]
        is_section = isinstance(value, (ConfigDict, dict))
        if kind is None:
            beside = [f"{prefix}{n}" for n in schema if n != "*"]
            faults.append(_unknown(root, key, beside if nearest(key, beside) else known))
        elif kind is dict or isinstance(kind, Mapping):
            if not is_section:
                faults.append(f"config key {key!r} is a section, got {value!r}")
            elif isinstance(kind, Mapping):
                _check(value, kind, f"{key}.", faults, known=known, root=root)
        elif is_section or not fits(value, kind):
            faults.append(_wrong_type(key, kind, "a section" if is_section else repr(value)))
    faults += [f"config key {prefix + n!r} is missing" for n in schema if n != "*" and n not in config]


def _unknown(config: Section, key: str, known: Iterable[str]) -> str:
    """What is wrong with a key that the schema does not have."""
    known = list(known)
    inside = [k for k in known if k.startswith(f"{key}.")]
    if inside:
        return f"config key {key!r} is a section; set one of its keys: {', '.join(inside)}"
    renamed = renames.now(config.get("method", ""), key)
    return f"config key {key!r} {renamed}" if renamed else f"unknown config key {key!r}{nearest(key, known)}"


def _wrong_type(key: str, kind: Any, got: str) -> str:
    return f"config key {key!r} takes {_kind_name(kind)}, got {got}"


def _kind_of(schema: Any, key: str) -> Any:
    """The type of a dotted key; None where the schema has no such key."""
    for name in key.split("."):
        if not isinstance(schema, Mapping):
            return None
        schema = schema.get(name, schema.get("*"))
    return None if isinstance(schema, Mapping) else schema


def _kind_name(kind: Any) -> str:
    if isinstance(kind, Within):
        return f"{_kind_name(kind.kind)} from {kind.low:,} to {kind.high:,}"
    items = typing.get_args(kind)
    return f"tuple of {items[0].__name__}" if items else kind.__name__


def _is_tuple(kind: Any) -> bool:
    return kind is tuple or typing.get_origin(kind) is tuple


def _cast(value: Any, kind: Any) -> Any:
    """An int that stands for a float becomes one, also in a tuple: the hash must not depend on the spelling."""
    kind = kind.kind if isinstance(kind, Within) else kind
    if _is_tuple(kind):
        items = typing.get_args(kind)
        return tuple(_cast(v, items[0]) if items else v for v in value)
    return float(value) if kind is float else value


def _split(arg: str) -> list[str]:
    words, depth, quote, word = [], 0, "", ""
    for char in arg:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and word[-1:] in ("=", "(", ","):  # elsewhere it is an apostrophe
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth == 0:
            words.append(word)
            word = ""
            continue
        word += char
    return [w.strip() for w in [*words, word] if w.strip()]


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0] else text


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _tuples(x: Any) -> Any:
    if isinstance(x, dict):
        return {k: _tuples(v) for k, v in x.items()}
    return tuple(_tuples(v) for v in x) if isinstance(x, (list, tuple)) else x


def _merge(into: dict[str, Any], schema: Schema, prefix: str = "") -> None:
    for name, kind in schema.items():
        known: Any = into.get(name)
        if isinstance(kind, Mapping):
            if known is None or known is dict:  # a module that spells the section out knows better than ``dict``
                known = into[name] = {}
            elif not isinstance(known, Mapping):
                raise TypeError(f"{prefix}{name} is declared as {_kind_name(known)} and as a section")
            _merge(known, kind, f"{prefix}{name}.")
        elif kind is dict and isinstance(known, Mapping):
            continue
        elif known not in (None, kind):
            what = "a section" if isinstance(known, Mapping) else _kind_name(known)
            raise TypeError(f"{prefix}{name} is declared as {what} and as {_kind_name(kind)}")
        else:
            into[name] = kind
