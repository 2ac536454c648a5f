"""Adapters that the original's clients load once for all their songs; our own requests name them each time."""

import threading
from collections.abc import Mapping

from ..errors import UserError, did_you_mean, shown
from ..lora.find import Lora, list_adapters

MOST = 8


class UsedAdapters:
    """Name -> adapter and strength, on or off as a whole. Threads may share one."""

    def __init__(self):
        self._lock, self._loaded, self._on, self._active = threading.Lock(), {}, True, None

    def load(self, adapter: object, name: str | None = None) -> str:
        """Uses an adapter that is listed, under a name of the client's choice. Raises UserError for any other."""
        listed = list_adapters()
        named = [adapter, f"{adapter}.safetensors"] if isinstance(adapter, str) else []
        found = next((one for one in named if one in listed), None)
        if found is None:
            near = did_you_mean(str(adapter), listed)
            raise UserError(f"lora_path: got {shown(adapter)}{near}, expected an adapter that /v1/loras lists")
        name = name or adapter.removesuffix(".safetensors")
        with self._lock:
            if len(self._loaded) >= MOST and name not in self._loaded:
                raise UserError(f"lora: {MOST} adapters are loaded already; unload them first")
            self._loaded[name], self._on, self._active = Lora(found, 1.0), True, name
        return name

    def unload(self) -> None:
        with self._lock:
            self._loaded, self._active = {}, None

    def switch(self, on: bool) -> None:
        with self._lock:
            self._on = on

    def scale(self, strength: float, name: str | None = None) -> str:
        """Sets the strength of one adapter, of the last one where none is named. Raises UserError."""
        with self._lock:
            chosen = name or self._active
            if chosen not in self._loaded:
                raise UserError(f"adapter_name: got {shown(name)}, expected one of {', '.join(self._loaded) or 'none'}")
            self._loaded[chosen] = Lora(self._loaded[chosen].adapter, strength)
        return chosen

    def loras(self) -> tuple[str, ...]:
        """The adapters that songs wear now, as settings name them."""
        with self._lock:
            return tuple(map(str, self._loaded.values())) if self._on else ()

    def status(self) -> Mapping[str, object]:
        """As the original's clients read it."""
        with self._lock:
            scales = {name: lora.strength for name, lora in self._loaded.items()}
            active, on = self._active, self._on
        return {
            "lora_loaded": bool(scales),
            "use_lora": bool(scales) and on,
            "lora_scale": scales.get(active, 1.0),
            "adapter_type": "lora" if scales else None,
            "adapters": list(scales),
            "scales": scales,
            "active_adapter": active,
        }
