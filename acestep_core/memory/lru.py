"""The last few results of something costly, by what they were made from."""

from collections import OrderedDict
from collections.abc import Callable, Hashable


class LruCache:
    """Holds so many results; the one that was not asked for longest goes first."""

    def __init__(self, most: int):
        self._most, self._made = most, OrderedDict()

    def get(self, key: Hashable, make: Callable):
        """What `make` gave for this key before, or gives now."""
        if key not in self._made:
            self._made[key] = make()
        self._made.move_to_end(key)
        while len(self._made) > self._most:
            self._made.popitem(last=False)
        return self._made[key]
