"""Model files: the registry of published models; finding, downloading, reading and writing them in every layout."""
