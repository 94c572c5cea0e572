"""lm-evaluation-harness' own tasks on local files and a local model: a line of JSON for each sample.

Usage: lm_eval_samples.py MODEL DATA OUT [SETTINGS]

DATA holds `hellaswag_val.jsonl`, `arc_challenge_test.jsonl` (the hub's layout), `gsm8k_test.jsonl`, `gsm8k_train.jsonl` and
`wikitext2_test.jsonl` (a `page` a line). SETTINGS is JSON of more arguments of `simple_evaluate`. Tasks are those that the harness ships, but for where their data are.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import lm_eval  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

SHIPPED = Path(lm_eval.__file__).parent / "tasks"

# The task, its file there, the file of its data, and the split that is scored.
TASKS = {
    "hellaswag": ("hellaswag/hellaswag.yaml", "hellaswag_val.jsonl", "validation"),
    "arc_challenge": ("arc/arc_challenge.yaml", "arc_challenge_test.jsonl", "test"),
    "gsm8k": ("gsm8k/gsm8k.yaml", "gsm8k_test.jsonl", "test"),
    "wikitext": ("wikitext/wikitext.yaml", "wikitext2_test.jsonl", "test"),
}


def write_tasks(data: Path, folder: Path) -> None:
    for task, (shipped, file, split) in TASKS.items():
        files = {split: str(data / file)}
        if task == "gsm8k":
            files["train"] = str(data / "gsm8k_train.jsonl")
        lines = [
            f"include: {SHIPPED / shipped}",
            f"task: local_{task}",
            "tag: []",
            "dataset_path: json",
            "dataset_name: null",
            f"dataset_kwargs: {json.dumps({'data_files': files})}",
            f"training_split: {'train' if 'train' in files else 'null'}",
            f"validation_split: {split if split == 'validation' else 'null'}",
            f"test_split: {split if split == 'test' else 'null'}",
        ]
        (folder / f"{task}.yaml").write_text("\n".join(lines) + "\n")


def main(model: str, data: Path, out: Path, settings: dict) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_tasks(data.resolve(), out)
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args=f"pretrained={model},dtype=float32",
        tasks=[f"local_{task}" for task in TASKS],
        task_manager=TaskManager(include_path=str(out), include_defaults=False),
        device="cpu",
        batch_size=1,
        log_samples=True,
        bootstrap_iters=0,
        **settings,
    )
    for task in TASKS:
        with open(out / f"{task}.jsonl", "w") as file:
            for sample in found["samples"][f"local_{task}"]:
                sample = {
                    "doc_id": sample["doc_id"],
                    "target": str(sample["target"]),
                    "filter": sample["filter"],
                    "arguments": [list(arguments) for arguments in sample["arguments"]],
                    "filtered_resps": sample["filtered_resps"],
                    "metrics": {
                        name: sample[name] for name in sample["metrics"]
                    },
                }
                file.write(json.dumps(sample, default=str) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), json.loads((sys.argv[4:] or ["{}"])[0]))
