"""The side of a peer in the protocol of `mxlab bench --peer`: lines of JSON in, lines of JSON out.

A peer is a list of cases, each with a function that makes ready what it runs. It returns `run(n)`, which
runs n times and returns the seconds that took.
"""

import json
import sys
import time


def case(kernel, rows, cols, tokens=None, bytes=0, operations=0, written=None, arithmetic=None, family="peer"):
    """A case as records have it. `written` are those of the bytes that are written, `arithmetic` the type
    of the operands: f32, bf16 or int8."""
    made = {
        "kernel": kernel,
        "family": family,
        "rows": rows,
        "cols": cols,
        "tokens": tokens,
        "bytes": bytes,
        "operations": operations,
    }
    optional = {"written": written, "arithmetic": arithmetic}
    return made | {name: value for name, value in optional.items() if value is not None}


def by_clock(function):
    """`run(n)` of a function on the CPU."""

    def run(runs):
        start = time.perf_counter()
        for _ in range(runs):
            function()
        return time.perf_counter() - start

    return run


def serve(name, versions, list_cases=None, list_generation=None):
    """Answers until the other side ends. `list_cases(shapes, tokens)` gives pairs of a case and what opens it;
    `list_generation(path, prompt, decode)` those of a model that is asked for."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    cases, opened = [], {}
    for line in sys.stdin:
        try:
            question = json.loads(line)
            if "list" in question:
                asked = question["list"]
                model = asked.get("model")
                cases = []
                if model and list_generation:
                    cases = list(list_generation(model["path"], model["prompt"], model["decode"]))
                elif list_cases and not model:
                    cases = list(list_cases(asked["shapes"], asked["tokens"]))
                answer = {"name": name, "versions": versions, "cases": [case for case, _ in cases]}
            elif "open" in question:
                index = question["open"]
                opened[index] = cases[index][1]()
                opened[index](1)
                answer = {"ok": True}
            elif "time" in question:
                answer = {"seconds": opened[question["time"]](question["runs"])}
            elif "close" in question:
                opened.pop(question["close"], None)
                answer = {"ok": True}
            else:
                answer = {"error": f"unknown question {line.strip()}"}
        except Exception as error:  # told, and the next case goes on
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
