"""Makes a page of sounds: what a family of models can do, each sound with its words, seed and spectrogram."""
