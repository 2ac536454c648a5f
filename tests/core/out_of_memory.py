"""A device whose memory runs out when a test says so."""

from collections.abc import Callable

import torch


def runs_out(monkeypatch, owner: object, name: str, when: Callable[..., bool]) -> None:
    """Whatever `owner.name` is called with, it raises out of memory where `when` says so of it."""
    function = getattr(owner, name)

    def call(*given, **named):
        if when(*given):
            raise torch.OutOfMemoryError("no memory")
        return function(*given, **named)

    monkeypatch.setattr(owner, name, call)
