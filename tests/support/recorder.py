"""A config that remembers which of its keys were read."""

from __future__ import annotations

from ml_collections import ConfigDict


class Recorder(ConfigDict):
    """A locked copy of a config that remembers the reads of its leaves: by attribute, item, get, ``**`` or ``to_dict``.

    Membership tests and iteration do not count as reads. ``seen`` holds the dotted keys.
    """

    def __init__(self, config=None, *, seen=None, prefix=""):
        super().__init__()
        object.__setattr__(self, "seen", set() if seen is None else seen)
        object.__setattr__(self, "_prefix", prefix)
        for name in config or {}:
            value = config[name]
            if isinstance(value, (ConfigDict, dict)):
                value = Recorder(value, seen=self.seen, prefix=f"{prefix}{name}.")
            self._fields[name] = value
        self.lock()

    def __getitem__(self, key):
        value = super().__getitem__(key)
        if not isinstance(value, ConfigDict) and "." not in str(key):
            self.seen.add(f"{self._prefix}{key}")
        return value
