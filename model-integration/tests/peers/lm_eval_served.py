"""LAMBADA by lm-evaluation-harness through a server: a line of JSON for each sample.

Usage: lm_eval_served.py URL NAME TOKENIZER DATA OUT LIMIT

DATA is a file with a `text` a line, TOKENIZER a folder.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import lm_eval  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

SHIPPED = Path(lm_eval.__file__).parent / "tasks/lambada/lambada_openai.yaml"


def main(url: str, name: str, tokenizer: str, data: Path, out: Path, limit: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    lines = [
        f"include: {SHIPPED}",
        "task: local_lambada",
        "tag: []",
        "dataset_path: json",
        "dataset_name: null",
        f"dataset_kwargs: {json.dumps({'data_files': {'test': str(data)}})}",
    ]
    (out / "lambada.yaml").write_text("\n".join(lines) + "\n")
    found = lm_eval.simple_evaluate(
        model="local-completions",
        model_args=f"model={name},base_url={url}/v1/completions,tokenizer={tokenizer},"
        "num_concurrent=4,max_length=512",
        tasks=["local_lambada"],
        task_manager=TaskManager(include_path=str(out), include_defaults=False),
        batch_size=2,
        limit=limit,
        log_samples=True,
        bootstrap_iters=0,
    )
    with open(out / "lambada.jsonl", "w") as file:
        for sample in found["samples"]["local_lambada"]:
            scored = [sample["doc_id"], *sample["filtered_resps"][0]]
            file.write(json.dumps(scored) + "\n")


if __name__ == "__main__":
    url, name, tokenizer, data, out, limit = sys.argv[1:]
    main(url, name, tokenizer, Path(data).resolve(), Path(out), int(limit))
