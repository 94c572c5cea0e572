"""A file of JSON lines as the Parquet file that the hub's own library makes of it.

Usage: parquet_of_lines.py LINES PARQUET [LINES PARQUET ...]
"""

import json
import sys
from pathlib import Path

from datasets import Dataset

for lines, parquet in zip(sys.argv[1::2], sys.argv[2::2]):
    rows = [json.loads(line) for line in Path(lines).read_text().splitlines()]
    Path(parquet).parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_parquet(parquet)
