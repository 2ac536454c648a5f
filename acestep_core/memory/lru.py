"""An LRU cache of costly results, keyed by what they were made from."""

from collections import OrderedDict
from collections.abc import Callable, Hashable


class LruCache:
    """An LRU cache of `most` results. Its owner holds a lock where several threads use it."""

    def __init__(self, most: int):
        self._most, self._results = most, OrderedDict()

    def get(self, key: Hashable, make: Callable):
        """The result for this key: the one in the cache, or a new one from `make`."""
        if key not in self._results:
            self._results[key] = make()
        self._results.move_to_end(key)
        while len(self._results) > self._most:
            self._results.popitem(last=False)
        return self._results[key]
