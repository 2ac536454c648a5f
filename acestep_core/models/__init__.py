"""The networks of a stage as functions: text encoder, condition encoder, diffusion transformer, vocoder."""
