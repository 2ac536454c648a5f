"""Serves songs to people and programs: a queue of jobs, the library of songs, uploads, and the web API."""
