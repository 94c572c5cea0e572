//! Broken golden folders are refused by file and tensor; what is not understood is listed.

use mxlab_kernels::cpu::Isa;
use mxlab_kernels::golden::{GoldenError, Report, verify_dir};
use safetensors::tensor::{Dtype, TensorView, serialize};

/// A safetensors file of float32 and byte tensors.
fn archive(tensors: &[(&str, Dtype, &[usize])]) -> Vec<u8> {
    let zeros = vec![0; 1 << 12];
    let views = tensors.iter().map(|(name, dtype, shape)| {
        let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (
            *name,
            TensorView::new(*dtype, shape.to_vec(), &zeros[..bytes]).unwrap(),
        )
    });
    serialize(views, None).unwrap()
}

fn verify(file: &str, bytes: &[u8]) -> Result<Report, GoldenError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(file), bytes).unwrap();
    verify_dir(dir.path(), &[Isa::Portable], None)
}

const MX: &str = "mx_fp4_e2m1.safetensors";
const IN: (&str, Dtype, &[usize]) = ("in.a.f32", Dtype::F32, &[2, 40]);

#[test]
fn broken_files_are_errors_that_name_them() {
    let missing = verify_dir("no/such/folder".as_ref(), &[], None);
    assert!(matches!(missing, Err(GoldenError::Io { .. })));
    for bytes in [
        &b""[..],
        b"\xff\xff\xff\xff\xff\xff\xff\xff{}",
        &archive(&[IN])[..60],
    ] {
        let error = verify(MX, bytes).unwrap_err();
        assert!(matches!(error, GoldenError::Safetensors { .. }));
        assert!(error.to_string().contains(MX));
    }
    for bytes in ["", "[]", "{\"formats\": 3}"] {
        let error = verify("codes.json", bytes.as_bytes());
        assert!(matches!(error, Err(GoldenError::Json { .. })));
    }
    for values in ["7", "[[]]", "[\"x\"]"] {
        let json = format!("{{\"formats\": {{\"fp4_e2m1\": {{\"values\": {values}}}}}}}");
        let error = verify("codes.json", json.as_bytes());
        assert!(matches!(error, Err(GoldenError::CodeTable { .. })));
    }
    let long = vec!["0"; 300].join(",");
    let json = format!("{{\"formats\": {{\"fp8_e4m3\": {{\"values\": [{long}]}}}}}}");
    assert!(matches!(
        verify("codes.json", json.as_bytes()),
        Err(GoldenError::CodeTable { .. })
    ));
    // A table without boundaries, or with one too few, compares less than it seems to.
    let values: Vec<String> = (0..16).map(|code| code.to_string()).collect();
    for (boundaries, is_complete) in [("", false), ("0.5", false), (HALVES, true)] {
        let json = format!(
            "{{\"formats\": {{\"fp4_e2m1\": {{\"values\": [{}], \
             \"rne_boundaries\": [{boundaries}]}}}}}}",
            values.join(",")
        );
        let report = verify("codes.json", json.as_bytes());
        match is_complete {
            true => assert!(report.is_ok(), "{report:?}"),
            false => {
                let error = report.unwrap_err().to_string();
                assert!(error.contains("rne_boundaries"), "{error}");
            }
        }
    }
}

/// Between the 16 values 0 to 15.
const HALVES: &str = "0.5,1.5,2.5,3.5,4.5,5.5,6.5,7.5,8.5,9.5,10.5,11.5,12.5,13.5,14.5";

#[test]
fn broken_tensors_are_errors_that_name_them() {
    let out = "out.a.Cf32.b32.s8.even";
    let orphan = verify(MX, &archive(&[(out, Dtype::F32, &[2, 40])])).unwrap_err();
    assert!(matches!(orphan, GoldenError::MissingInput { .. }));
    assert!(orphan.to_string().contains(out) && orphan.to_string().contains("in.a.f32"));
    for shape in [&[2, 41][..], &[80], &[40, 2]] {
        let error = verify(MX, &archive(&[IN, (out, Dtype::F32, shape)]));
        assert!(matches!(error, Err(GoldenError::Shape { .. })));
    }
    let scale = ("scale.a.f32.b32", Dtype::U8, &[2, 3][..]);
    assert!(matches!(
        verify(MX, &archive(&[IN, scale])),
        Err(GoldenError::Shape { .. })
    ));
    let flat = ("in.a.f32", Dtype::F32, &[80][..]);
    let error = verify(MX, &archive(&[flat, (out, Dtype::F32, &[80])]));
    assert!(matches!(error, Err(GoldenError::Shape { .. })));
    for dtype in [Dtype::U8, Dtype::F64] {
        let error = verify(MX, &archive(&[IN, (out, dtype, &[2, 40])]));
        assert!(matches!(error, Err(GoldenError::Dtype { .. })));
    }
    let convert = [
        ("elem.int8.in", Dtype::F32, &[5][..]),
        ("elem.int8.rne_sat", Dtype::U8, &[6]),
    ];
    let error = verify("convert.safetensors", &archive(&convert));
    assert!(matches!(error, Err(GoldenError::Shape { .. })));
}

#[test]
fn what_is_not_understood_is_listed() {
    let names = [
        "out.a.Cf32.b32.s9.even",
        "out.a.Cf32.b0.s8.even",
        "out.a.Cf32.b32.s8.odd",
        "out.a.Xf32.b32.s8.even",
        "out.a.Tf16.b32.s8.even",
        "in.a.f8",
        "scale.a",
        "noise",
    ];
    for name in names {
        let report = verify(MX, &archive(&[IN, (name, Dtype::F32, &[2, 40])])).unwrap();
        assert_eq!(report.unknown, [format!("{MX}: {name}")]);
        assert_eq!(report.elements(), 0);
    }
    for file in [
        "mx_fp5.safetensors",
        "def_fp4_e9m9.safetensors",
        "notes.json",
    ] {
        assert_eq!(verify(file, b"?").unwrap().unknown, [file]);
    }
    assert!(verify("notes.txt", b"?").unwrap().unknown.is_empty());
    let convert = [
        ("scale.ue5m3.in", Dtype::F32, &[5][..]),
        ("scale.ue5m3.floor", Dtype::U8, &[5]),
    ];
    let report = verify("convert.safetensors", &archive(&convert)).unwrap();
    assert_eq!(report.unknown, ["convert.safetensors: scale.ue5m3.floor"]);
}

#[test]
fn what_has_no_elements_is_listed() {
    let name = "out.a.Cf32.b32.s8.even";
    let none = [
        ("in.a.f32", Dtype::F32, &[2, 0][..]),
        (name, Dtype::F32, &[2, 0]),
    ];
    let report = verify(MX, &archive(&none)).unwrap();
    assert_eq!(report.unknown, [format!("{MX}: {name}")]);
    let none = [
        ("elem.int8.in", Dtype::F32, &[0][..]),
        ("elem.int8.rne_sat", Dtype::U8, &[0]),
    ];
    let report = verify("convert.safetensors", &archive(&none)).unwrap();
    assert_eq!(report.unknown, ["convert.safetensors: elem.int8.rne_sat"]);
}

#[test]
fn a_wrong_value_is_counted_and_described() {
    let out = ("out.a.Cf32.b32.s8.even", Dtype::F32, &[2, 40][..]);
    let report = verify(MX, &archive(&[IN, out])).unwrap();
    assert_eq!((report.elements(), report.mismatches()), (3 * 80, 0));
    let mut bytes = archive(&[IN, out]);
    // The last element of the last tensor becomes 1.0.
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&1f32.to_le_bytes());
    let report = verify(MX, &bytes).unwrap();
    assert_eq!(report.mismatches(), 3);
    let first = report.sections[0].first_mismatch.as_deref().unwrap();
    assert!(
        first.contains("out.a.Cf32.b32.s8.even[79]") && first.contains("1.0"),
        "{first}"
    );
}
