"""A Song becomes a Waveform: the Cascade class, and the settings with which a file was made."""
