"""Notebooks are tested without progress bars: whether a cell shows one is a matter of the machine's load."""

import os

os.environ["TQDM_DISABLE"] = "1"
