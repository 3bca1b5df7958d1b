"""Hostile files: each a small builder, the error it must end in, and a word of its text."""
