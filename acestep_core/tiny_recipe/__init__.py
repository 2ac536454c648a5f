"""The recipe of the embedded family: clips of the band become a vocoder, a text encoder and three transformers."""
