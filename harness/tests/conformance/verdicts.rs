//! Rows one at a time, as a campaign on a GPU takes them.

use mxlab_harness::conformance::{NAMES, Row, RowVerdict, chapter, chapters};
use mxlab_harness::device::{Device, DeviceError};
use std::collections::HashSet;
use std::io::Write as _;
use std::time::Instant;

#[test]
fn ids_are_unique_and_begin_with_the_chapter() {
    let begun = Instant::now();
    let chapters = chapters();
    let elapsed = begun.elapsed();
    let names: Vec<&str> = chapters.iter().map(|chapter| chapter.name).collect();
    assert_eq!(names, NAMES);
    let mut ids = HashSet::new();
    for chapter in &chapters {
        assert!(!chapter.rows.is_empty(), "{}", chapter.name);
        for row in &chapter.rows {
            let id = row.id();
            assert!(id.starts_with(&format!("{}/", chapter.name)), "{id}");
            assert!(!id.contains('\n') && id.len() < 100, "{id}");
            assert!(row.threads() > 0 && !row.text().is_empty(), "{id}");
            assert!(ids.insert(id.clone()), "{id} occurs twice");
        }
    }
    let _ = writeln!(
        std::io::stderr(),
        "{} rows of {} chapters, made in {elapsed:?}",
        ids.len(),
        chapters.len()
    );
    assert!(chapter("no chapter").is_none());
}

/// The first row of a chapter whose text contains that.
fn row(name: &str, text: &str) -> Row {
    let rows = chapter(name).unwrap().rows;
    let found = rows.into_iter().find(|row| row.text().contains(text));
    found.unwrap_or_else(|| panic!("no {text} in {name}"))
}

#[test]
fn a_row_alone_has_the_verdict_of_its_module() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    for name in NAMES {
        // The first, and one in the middle.
        let rows = chapter(name).unwrap().rows;
        for row in [&rows[0], &rows[rows.len() / 2]] {
            assert_eq!(row.ptx().matches(".entry").count(), 1);
            let verdict = row.run(&device, &stream).unwrap();
            let is_equal =
                matches!(verdict, RowVerdict::Equal { compared } if compared >= row.threads());
            assert!(is_equal, "{}: {verdict:?}", row.id());
        }
    }
}

#[test]
fn a_wrong_instruction_differs_and_says_where() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let row = row("integer", "sub.u32 d, a, b;");
    let wrong = row.ptx().replace("sub.u32 d, a, b;", "add.u32 d, a, b;");
    let module = device.load("wrong", &wrong).unwrap();
    let kernel = module.kernel("row").unwrap();
    match row.run_kernel(&device, &stream, &kernel).unwrap() {
        RowVerdict::Differs { count, of, first } => {
            assert!(0 < count && count <= of && of == row.threads());
            assert_eq!((first.register, first.inputs.len()), ("d", 2));
            let [a, b] = [first.inputs[0] as u32, first.inputs[1] as u32];
            assert_eq!(first.got, u64::from(a.wrapping_add(b)));
            assert_eq!(first.expected, format!("{:#x}", a.wrapping_sub(b)));
        }
        verdict => panic!("{verdict:?}"),
    }
    // Nothing stored at all is not right by accident.
    let silent = row.ptx().replace("st.global.u32 [dst+0], d;", "");
    assert_ne!(silent, row.ptx());
    let kernel = device
        .load("silent", &silent)
        .unwrap()
        .kernel("row")
        .unwrap();
    let verdict = row.run_kernel(&device, &stream, &kernel).unwrap();
    assert!(matches!(verdict, RowVerdict::Differs { .. }), "{verdict:?}");
}

/// The bound of sums takes what chips lose, and not products of the wrong operands.
#[test]
fn a_product_of_other_operands_differs() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    for types in ["bf16.bf16.f32", "f16.f16.f16", "e4m3.e4m3.f32"] {
        let row = row("matrix", types);
        // The last register of A is the one before it.
        let text = row.text().replace("{a, b}", "{a, a}");
        let text = text.replace("{a, b, c, e}", "{a, b, c, c}");
        assert_ne!(text, row.text(), "{types}");
        let wrong = row.ptx().replace(row.text(), &text);
        let kernel = device.load("wrong", &wrong).unwrap().kernel("row").unwrap();
        let verdict = row.run_kernel(&device, &stream, &kernel).unwrap();
        assert!(
            matches!(verdict, RowVerdict::Differs { .. }),
            "{types}: {verdict:?}"
        );
    }
}

#[test]
fn errors_of_the_device_are_errors() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let row = row("integer", "add.u32 d, a, b;");
    // Beyond its inputs.
    let wrong = row.ptx().replace("[src+0]", "[src+1048576]");
    let kernel = device.load("wrong", &wrong).unwrap().kernel("row").unwrap();
    let error = row.run_kernel(&device, &stream, &kernel);
    assert!(matches!(error, Err(DeviceError::Sanitizer(_))), "{error:?}");
}
