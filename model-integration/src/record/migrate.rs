//! Migrations of records from earlier versions.

use serde_json::{Map, Value};

use super::study::Frozen;
use super::{Kind, Recorded};

/// A step from one version of a kind to the next.
struct Step {
    kind: Kind,
    from: u64,
    change: fn(&mut Map<String, Value>),
}

/// Every migration; versions without one are refused. Version 1 of `verify` has none: it counted
/// kernels for other chips as `not run`, which cannot be told from the record.
const STEPS: &[Step] = &[Step {
    kind: Frozen::KIND,
    from: 1,
    // Version 1 was recognised by its file name, `study.json`, and had no kind.
    change: |fields| {
        fields.insert("kind".to_owned(), Frozen::KIND.name.into());
    },
}];

/// Brings a record of `kind` to the newest version that migrations reach.
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
