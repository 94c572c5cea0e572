//! Records of load, as samples.

use mxlab::record::Record;
use mxlab_harness::record::Environment;
use serde_json::{Map, Value, json};

/// A load, a soak, and a cell of a study with the head of another cell.
pub fn samples(head: &Value) -> Vec<Record> {
    let environment = serde_json::to_value(Environment::capture()).expect("plain data");
    let record = |kind: &str, fields: Value| {
        let mut record = json!({"kind": kind, "schema_version": 1, "environment": environment});
        let fields: Map<String, Value> = fields.as_object().expect("fields").clone();
        record.as_object_mut().expect("fields").extend(fields);
        Record::from_value(record).unwrap_or_else(|error| panic!("{kind}: {error}"))
    };
    let load = json!({
        "url": "http://127.0.0.1:8080",
        "settings": settings(),
        "levels": [level()],
        "is_complete": true,
    });
    let soak = json!({
        "url": "http://127.0.0.1:8080",
        "model": "embedded",
        "prompts": "16 random words",
        "output_tokens": "8",
        "clients": 4,
        "seed": 7,
        "seconds": 1.5,
        "answered": 90,
        "failed": 1,
        "acts": {"stream": {
            "begun": 97, "answered": 90, "refused": 3, "gone": 2, "overloaded": 1, "failed": 1,
        }},
        "failures": {"refused": failures()},
        "memory": [{"answered": 9, "seconds": 0.1, "least_bytes": 10, "most_bytes": 20}],
        "growth": 0.01,
        "unfinished": 0,
    });
    let mut cell = json!({
        "server": ["mxlab", "serve"],
        "settings": settings(),
        "level": level(),
        "peak_memory_bytes": 4096,
    });
    for field in HEAD {
        cell[field] = head[field].clone();
    }
    vec![
        record("load", load),
        record("soak", soak),
        record("study-serving", cell),
    ]
}

/// What the record of a cell begins with.
const HEAD: [&str; 11] = [
    "study",
    "hash",
    "model",
    "name",
    "group",
    "at",
    "number",
    "description",
    "operands",
    "config",
    "footprint",
];

fn settings() -> Value {
    json!({
        "model": "embedded",
        "api": "chat",
        "prompts": "16 random words",
        "output_tokens": "8-16",
        "fields": {"top_p": 0.5},
        "levels": [{"concurrency": 2}, {"rate": 0.5}],
        "requests": 2,
        "duration_seconds": 2.5,
        "warm_up": 1,
        "retries": 3,
        "most_in_flight": 4,
        "timeout_seconds": 60.5,
        "seed": 5,
        "targets": {"ttft": 0.5, "tpot": 0.25},
    })
}

fn level() -> Value {
    let times = json!({
        "mean": 0.5, "p50": 0.5, "p90": 0.75, "p95": 0.75, "p99": 0.75, "max": 0.75,
    });
    json!({
        "level": {"rate": 0.5},
        "seconds": 3.5,
        "requests": 2,
        "failed": 1,
        "ended_early": 0,
        "retries": 1,
        "failures": {"status 500": failures()},
        "output_tokens_per_second": 2.5,
        "requests_per_second": 0.25,
        "met": 0.5,
        "counted_by": "usage",
        "prompt_tokens": 16,
        "output_tokens": 9,
        "ttft": times,
        "tpot": times,
        "gap": times,
        "e2e": times,
        "held_back": times,
        "most_waiting": 2,
        "samples": [
            {"due": 0.5, "sent": 0.75, "first": 1.5, "last": 2.5, "end": 2.5, "prompt_tokens": 16,
             "output_tokens": 9},
            {"due": 0.75, "sent": 0.75, "first": null, "last": null, "end": 1.5,
             "prompt_tokens": null, "output_tokens": 0, "failure": "status 500"},
        ],
    })
}

fn failures() -> Value {
    json!({"measured": 1, "others": 0, "example": "status 500: down"})
}
