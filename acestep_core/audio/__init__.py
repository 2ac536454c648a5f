"""Sound: waveforms and their rate, loudness, files and their tags, pictures of sound.

`from acestep_core import audio` gives a script `audio.read`, `audio.write` and the other names in sound.py.
"""


def __getattr__(name: str):
    # torch is imported with the first of these names, not with the package.
    if name.startswith("__") or name == "sound":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import sound

    return getattr(sound, name)
