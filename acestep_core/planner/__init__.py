"""The planner: a language model that fills a song in, writes audio codes, and describes codes in words."""
