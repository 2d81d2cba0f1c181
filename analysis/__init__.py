"""The analyses: one file per question, each a command on a results folder and pure functions on its data frames."""
