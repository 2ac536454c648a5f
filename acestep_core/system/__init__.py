"""This machine: its folders, files and JSON read and written safely, libraries whose import needs help."""
