"""The recipe of the embedded tiny family: clips of the band → vocoder → text encoder → transformers L, M, S."""
