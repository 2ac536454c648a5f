"""Editing: a request (Edit) and the music that it is about -> what the stages and the finished sound take."""
