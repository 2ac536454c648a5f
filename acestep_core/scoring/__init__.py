"""Listens to finished songs: when each line is sung, how well words, tempo and key came out, which take is best."""
