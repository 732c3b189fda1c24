"""Configs: one line on the command line says which run, and a key that nothing reads is an error.

``--config=configs/msgan.py:x16,debug,train.batch=4``: after the colon come variants of that file and ``key=value``
overrides, joined by commas. Every module declares the keys it reads in a ``CONFIG`` dict (name -> type, nested; ``'*'``
stands for names that the user chooses), and :func:`validate` holds a config against all of them. That a declared key is
really read is what a test finds out with :class:`Recorder`.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict

Section = Any  # a ConfigDict or a dict; the first is no Mapping to Python


class ConfigError(ValueError):
    """A config that cannot be run: names the key, the rule and the nearest right name."""


def parse(arg: str, variants: Mapping[str, Callable[[ConfigDict], None]], base: ConfigDict) -> ConfigDict:
    """Applies variants and overrides to ``base``: what follows the colon in ``--config=FILE.py:…``.

    Args:
      arg: words joined by commas: names of variants, in order, and ``dotted.key=value`` overrides, applied last. A
        value is a Python literal or a bare string; a comma inside brackets or quotes does not separate.
      variants: name -> function that changes the config.
      base: the config that the variants change.

    Returns:
      The locked config.

    Raises:
      ConfigError: unknown variant, unknown key, or a value of another type than the one it replaces.
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
        override(base, key.strip(), text.strip())
    return base.lock()


def parse_flags(argv: list[str]) -> list[str]:
    """Reads absl's flags, for ``app.run(main, flags_parser=parse_flags)``.

    A config that cannot be made ends the program (2) with what :func:`parse` says of it, in one line; ml_collections
    would put the traceback of its import into the message.
    """
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        said, cause = None, error.__context__
        while cause is not None:  # ml_collections raises a ConfigError again, with the traceback as its text
            said, cause = cause if isinstance(cause, ConfigError) else said, cause.__context__
        if said is None:
            return app.parse_flags_with_usage(argv)  # absl's own account, and its usage
        print(f"--config: {said}", file=sys.stderr)
        sys.exit(2)


def override(config: ConfigDict, key: str, text: str) -> None:
    """Sets one dotted key from text, keeping the type of the value that it replaces."""
    flat = flatten(config)
    if key not in flat:
        inside = [k for k in flat if k.startswith(f"{key}.")]
        if inside:
            raise ConfigError(f"config key {key!r} is a section; set one of its keys: {', '.join(inside)}")
        raise ConfigError(f"unknown config key {key!r}{nearest(key, flat)}")
    old, new = flat[key], _literal(text)
    if isinstance(old, str):
        new = text[1:-1] if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0] else text
    elif not _like(new, old):
        raise ConfigError(f"config key {key!r} takes {_kind(old)} (now {old!r}), got {text!r}")
    *path, last = key.split(".")
    for name in path:
        config = config[name]
    config[last] = _cast(new, old)


def validate(config: ConfigDict, *schemas: Mapping[str, Any]) -> None:
    """Holds a config against the keys that the code reads.

    Args:
      config: the run's config.
      schemas: nested dicts of name -> type; ``'*'`` matches any name; an empty dict or ``dict`` as a leaf lets the
        module that owns the branch check it.

    Raises:
      ConfigError: with every key that nothing reads (and the nearest key that something does) and every key that is
        read but absent or of another type.
    """
    schema: dict[str, Any] = {}
    for part in schemas:
        _merge(schema, part)
    faults: list[str] = []
    _hold(config, schema, "", faults, known=_leaves(schema))
    if faults:
        raise ConfigError("this config cannot be run:\n  " + "\n  ".join(faults))


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
    """'; did you mean …?' or nothing."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not close:  # the last part alone, for keys given without their section or in another one
        tails = {k.rsplit(".", 1)[-1] for k in known}
        tail = difflib.get_close_matches(name.rsplit(".", 1)[-1], sorted(tails), n=1, cutoff=0.6)
        close = [k for k in known if k.rsplit(".", 1)[-1] in tail]
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


class Recorder(ConfigDict):
    """A config that remembers which of its leaves were read: by attribute, item, ``get``, ``**`` or ``to_dict``.

    Asking whether a key is there, or for the names of the keys, is no reading.

    Args:
      config: the config to copy; the copy is locked.

    Attributes:
      seen: dotted keys of the leaves that were read since.
    """

    def __init__(self, config: Section | None = None, *, seen: set[str] | None = None, prefix: str = ""):
        super().__init__()
        object.__setattr__(self, "seen", set() if seen is None else seen)
        object.__setattr__(self, "_prefix", prefix)
        config = {} if config is None else config
        for name in config:
            value = config[name]
            if isinstance(value, (ConfigDict, dict)):
                value = Recorder(value, seen=self.seen, prefix=f"{prefix}{name}.")
            self._fields[name] = value
        self.lock()

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if not isinstance(value, ConfigDict) and "." not in str(key):
            self.seen.add(f"{self._prefix}{key}")
        return value


def to_json(config: ConfigDict) -> str:
    """Canonical JSON: sorted keys, tuples as lists; ConfigError for a value that JSON has no word for."""
    try:
        return json.dumps(config.to_dict(), sort_keys=True, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a config holds numbers, strings, booleans and tuples of them only: {error}") from error


def from_json(text: str) -> ConfigDict:
    """Inverse of :func:`to_json`; lists come back as tuples, which every config of ours uses."""
    return ConfigDict(_tuples(json.loads(text)))


def config_hash(config: ConfigDict) -> str:
    """Twelve hex digits that name a config."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()[:12]


def diff(old: ConfigDict, new: ConfigDict) -> dict[str, str]:
    """What differs: dotted key -> ``'16 -> 4'``, with ``(absent)`` on the side that lacks the key."""
    a, b = flatten(_tuples(old.to_dict())), flatten(_tuples(new.to_dict()))
    show = lambda flat, key: repr(flat[key]) if key in flat else "(absent)"
    return {k: f"{show(a, k)} -> {show(b, k)}" for k in sorted(a | b) if show(a, k) != show(b, k)}


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


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _like(new: Any, old: Any) -> bool:
    """Whether a value may stand where another one stood."""
    if isinstance(old, (tuple, list)):
        return isinstance(new, (tuple, list)) and (not old or all(_like(n, old[0]) for n in new))
    if isinstance(old, bool) != isinstance(new, bool) or not isinstance(new, _accepts(type(old))):
        return False
    return not (isinstance(new, float) and math.isnan(new))


def _cast(new: Any, old: Any) -> Any:
    """An int that replaces a float becomes one, also inside a tuple: the config's hash must not depend on spelling."""
    if isinstance(old, (tuple, list)):
        return type(old)(_cast(n, old[0]) if old else n for n in new)
    return type(old)(new)


def _kind(value: Any) -> str:
    if isinstance(value, (tuple, list)) and value:
        return f"tuple of {type(value[0]).__name__}"
    return type(value).__name__


def _accepts(kind: type) -> tuple[type, ...]:
    if kind is float:
        return (float, int)
    if kind in (tuple, list):
        return (tuple, list)
    return (kind,)


def _tuples(x: Any) -> Any:
    if isinstance(x, dict):
        return {k: _tuples(v) for k, v in x.items()}
    return tuple(_tuples(v) for v in x) if isinstance(x, (list, tuple)) else x


def _merge(into: dict[str, Any], part: Mapping[str, Any], prefix: str = "") -> None:
    for name, kind in part.items():
        known: Any = into.get(name)
        if isinstance(kind, Mapping):
            if known is None or known is dict:  # ``dict``: whoever spells the section out knows better
                known = into[name] = {}
            elif not isinstance(known, Mapping):
                raise TypeError(f"{prefix}{name} is declared as {known.__name__} and as a section")
            _merge(known, kind, f"{prefix}{name}.")
        elif kind is dict and isinstance(known, Mapping):
            continue
        elif known not in (None, kind):
            what = "a section" if isinstance(known, Mapping) else known.__name__
            raise TypeError(f"{prefix}{name} is declared as {what} and as {kind.__name__}")
        else:
            into[name] = kind


def _hold(config: Section, schema: Mapping[str, Any], prefix: str, faults: list[str], *, known: list[str]) -> None:
    for name in config:
        kind, key, value = schema.get(name, schema.get("*")), f"{prefix}{name}", config[name]
        branch = isinstance(value, (ConfigDict, dict))
        if kind is None:
            beside = [f"{prefix}{n}" for n in schema if n != "*"]
            faults.append(f"nothing reads {key!r}{nearest(key, beside) or nearest(key, known)}")
        elif kind is dict or isinstance(kind, Mapping):
            if not branch:
                faults.append(f"{key!r} is {value!r}, where the code reads a section")
            elif isinstance(kind, Mapping):
                _hold(value, kind, f"{key}.", faults, known=known)
        elif branch:
            faults.append(f"{key!r} is a section, where the code reads {kind.__name__}")
        elif isinstance(value, bool) != (kind is bool) or not isinstance(value, _accepts(kind)):
            faults.append(f"{key!r} is {value!r}, where the code reads {kind.__name__}")
    faults += [f"{prefix + n!r} is read and absent" for n in schema if n != "*" and n not in config]


def _leaves(schema: Mapping[str, Any], prefix: str = "") -> list[str]:
    out: list[str] = []
    for name, kind in schema.items():
        out += _leaves(kind, f"{prefix}{name}.") if isinstance(kind, Mapping) else [f"{prefix}{name}"]
    return out
