"""The analyses: one file per question, each a command on a results folder and pure functions on its data frames."""

import os

# Before NumPy is imported: the products here are small, and threads that wait for more cost a report a fifth of its time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
