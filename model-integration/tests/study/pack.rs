//! `mxlab study pack`.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Folder, done, mxlab, refused, run, text, without_links};

/// The report of a packed study equals that of its folder. An unfinished study is packed only on
/// request, and a damaged file is refused.
#[test]
fn a_packed_study_is_its_folder() {
    let folder = Folder::new();
    let (study, output) = (folder.name("small.toml"), folder.name("output"));
    let packed = folder.name("output.json.gz");
    let error = refused(&["study", "pack", &folder.name("none")]);
    assert!(
        error.contains("none") && error.contains("study.json"),
        "{error}"
    );
    done(&run(&study, &output, &[]));
    let printed = done(&["study", "pack", &output]);
    assert!(printed.contains("output.json.gz"), "{printed}");
    let plain = folder.name("plain.json");
    done(&["study", "pack", &output, "--output", &plain]);
    let error = refused(&["study", "pack", &output, "--output", &folder.name("x.zip")]);
    assert!(
        error.contains("x.zip") && error.contains(".json.gz"),
        "{error}"
    );

    let report = |of: &str, to: &str| {
        let to = folder.name(to);
        done(&["study", "report", of, "--output-path", &to]);
        without_links(Path::new(&to))
    };
    let whole = report(&output, "of-folder");
    assert!(
        whole.len() > 6 && whole["REPORT.md"].contains("8x4"),
        "{:?}",
        whole.keys()
    );
    for file in [&packed, &plain] {
        let made = report(file, "of-file");
        for (name, content) in &whole {
            assert!(made[name] == *content, "{file}: {name} differs");
        }
        assert_eq!(made.len(), whole.len());
    }

    // The folder of the study and its packed file are one study.
    let beside = folder.name("beside");
    fs::create_dir(&beside).expect("a folder");
    fs::rename(&plain, Path::new(&beside).join("plain.json")).expect("moved");
    let of_both = mxlab(&[
        "report",
        "--records",
        &folder.name(""),
        "--output-path",
        &beside,
    ]);
    let message = text(&of_both.stderr);
    assert!(of_both.status.success(), "{message}");
    assert_eq!(
        message.matches("is left out: the folder").count(),
        2,
        "{message}"
    );
    fs::rename(Path::new(&beside).join("plain.json"), &plain).expect("moved back");

    // Unfinished: one cell begun, and one not begun.
    let records = Path::new(&output).join("records");
    fs::remove_file(records.join("score.synthetic_tiny.0.baseline.json")).expect("removed");
    fs::remove_file(records.join("speed.synthetic_tiny.8x4.a.json")).expect("removed");
    let error = refused(&["study", "pack", &output]);
    for words in [
        "2 cells",
        "score.synthetic_tiny.0.baseline",
        "speed.synthetic_tiny.8x4.a",
        "--unfinished",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let part = folder.name("part.json");
    done(&["study", "pack", &output, "--unfinished", "--output", &part]);
    assert!(
        fs::metadata(&part).expect("a file").len() < fs::metadata(&plain).expect("a file").len()
    );

    // Damaged: cut off, a byte changed, a cell of another study, a duplicate cell.
    let bytes = fs::read(&packed).expect("a file");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 0x20;
    let json = fs::read_to_string(&plain).expect("a file");
    let mut twice: Value = serde_json::from_str(&json).expect("JSON");
    let cells = twice["cells"].as_array_mut().expect("cells");
    cells.push(cells[0].clone());
    let hash = twice["plan"]["hash"].as_str().expect("a hash").to_owned();
    let strange = json.replacen(
        &format!("\"hash\":\"{hash}\",\"model\""),
        "\"hash\":\"00\",\"model\"",
        1,
    );
    assert_ne!(strange, json);
    for (name, content, words) in [
        ("cut.json.gz", bytes[..bytes.len() / 2].to_vec(), "cut off"),
        ("flipped.json.gz", flipped, "damaged"),
        ("cut.json", json[..json.len() / 2].into(), "cut off"),
        ("twice.json", twice.to_string().into(), "twice"),
        ("strange.json", strange.into(), "belongs to another study"),
        (
            "older.json",
            json.replacen("\"schema_version\":1", "\"schema_version\":0", 1)
                .into(),
            "mxlab study pack",
        ),
    ] {
        let path = folder.name(name);
        fs::write(&path, content).expect("writable");
        let error = refused(&["study", "report", &path]);
        assert!(
            error.contains(name) && error.contains(words),
            "{name}: {error}"
        );
    }
}
