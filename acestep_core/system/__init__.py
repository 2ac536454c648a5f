"""This machine: its folders, files and JSON read and written safely, its threads, libraries whose import needs help."""
