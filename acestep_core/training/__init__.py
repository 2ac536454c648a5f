"""Trainings: a folder of clips -> an adapter, or a small stage model out of a large one."""
