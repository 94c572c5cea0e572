//! How records of earlier versions become those of today.

use serde_json::{Map, Value};

use super::study::Frozen;
use super::{Kind, Recorded};

/// A step from one version of a kind to the next.
struct Step {
    kind: Kind,
    from: u64,
    change: fn(&mut Map<String, Value>),
}

/// Every step that is written; versions without one are refused. Version 1 of `verify`, for one,
/// counted kernels for other chips as not run, which no step can tell apart.
const STEPS: &[Step] = &[Step {
    kind: Frozen::KIND,
    from: 1,
    // Version 1 was known by the name of its file, `study.json`, and named no kind.
    change: |fields| {
        fields.insert("kind".to_owned(), Frozen::KIND.name.into());
    },
}];

/// Brings a record that is read as `kind` to the newest version that steps lead to.
pub fn migrate(kind: Kind, version: Option<u64>, record: &mut Value) {
    let (Some(mut version), Some(fields)) = (version, record.as_object_mut()) else {
        return;
    };
    if fields.get("kind").is_some_and(|other| other != kind.name) {
        return;
    }
    let step = |version| move |step: &&Step| step.kind == kind && step.from == version;
    while let Some(step) = STEPS.iter().find(step(version)) {
        (step.change)(fields);
        version += 1;
        fields.insert("schema_version".to_owned(), version.into());
    }
}
