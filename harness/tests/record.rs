//! Records survive whatever happens while they are written.

use not_run::not_run;
use std::fs;
use std::path::Path;

use mxlab_harness::record::{AppendLog, LogError, Resumed, write_atomic};

#[test]
fn writing_replaces_whole_files_and_creates_directories() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("new/run.json");
    write_atomic(&path, b"one").expect("writable");
    write_atomic(&path, b"two").expect("writable");
    assert_eq!(fs::read(&path).expect("readable"), b"two");
    let files = fs::read_dir(path.parent().expect("parent")).expect("readable");
    assert_eq!(files.count(), 1, "no temporary file stays behind");
}

#[test]
fn failed_writes_name_the_file_and_keep_the_old_one() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.json");
    write_atomic(&path, b"old").expect("writable");

    let below_a_file = path.join("x.json");
    let error = write_atomic(&below_a_file, b"new").expect_err("a file is no directory");
    assert!(error.to_string().contains("run.json"), "{error}");
    let error = write_atomic(directory.path(), b"new").expect_err("a directory is no file");
    assert!(error.to_string().contains("no regular file"), "{error}");
    assert_eq!(fs::read(&path).expect("readable"), b"old");

    if Path::new("/dev/full").exists() {
        let error = write_atomic(Path::new("/dev/full"), b"new").expect_err("no space");
        assert!(error.to_string().contains("`/dev/full`"), "{error}");
        assert!(error.to_string().contains("No space"), "{error}");
    } else {
        not_run("a_full_disk", "/dev/full");
    }
}

fn resume(path: &Path) -> Option<Resumed<String, Vec<u32>>> {
    AppendLog::resume(path).expect("resumable")
}

#[test]
fn a_log_cut_at_any_byte_keeps_every_whole_entry() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("log.jsonl");
    let entries: Vec<Vec<u32>> = (0..5).map(|i| (0..i).collect()).collect();
    let mut log = AppendLog::create(&path, &"header").expect("creatable");
    log.append(&entries[..2]).expect("writable");
    log.append(&entries[2..]).expect("writable");
    drop(log);

    let whole = fs::read(&path).expect("readable");
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).expect("writable");
        let lines = whole[..cut].iter().filter(|&&b| b == b'\n').count();
        let Some(mut resumed) = resume(&path) else {
            assert_eq!(lines, 0, "cut at {cut}");
            continue;
        };
        assert_eq!(resumed.header, "header");
        assert_eq!(resumed.entries, entries[..lines - 1], "cut at {cut}");
        resumed.log.append(&entries[lines - 1..]).expect("writable");
        drop(resumed);
        assert_eq!(fs::read(&path).expect("readable"), whole, "cut at {cut}");
    }
}

#[test]
fn entries_can_be_given_up() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("log.jsonl");
    let mut log = AppendLog::create(&path, &"header").expect("creatable");
    log.append(&[vec![1_u32], vec![2], vec![3]])
        .expect("writable");
    drop(log);
    for keep in [2, 0] {
        let mut resumed = resume(&path).expect("there");
        resumed.keep(keep).expect("writable");
        drop(resumed);
        assert_eq!(resume(&path).expect("there").entries.len(), keep);
    }
}

#[test]
fn damage_before_the_tail_is_an_error_and_a_broken_tail_is_not() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("log.jsonl");
    fs::write(&path, "\"header\"\n[1]\nrubbish\n[2]\n").expect("writable");
    let Err(error) = AppendLog::resume::<String, Vec<u32>>(&path) else {
        panic!("damage must not be skipped");
    };
    assert!(error.to_string().contains("line 3"), "{error}");

    fs::write(&path, "\"header\"\n[1]\nrubbish\n").expect("writable");
    assert_eq!(resume(&path).expect("there").entries, [[1]]);
}

#[test]
fn two_runs_cannot_share_a_log() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("log.jsonl");
    let _log = AppendLog::create(&path, &"header").expect("creatable");
    let second = AppendLog::resume::<String, Vec<u32>>(&path);
    assert!(matches!(second, Err(LogError::Busy { .. })));
}

#[test]
fn a_full_disk_is_reported_with_the_file() {
    if !Path::new("/dev/full").exists() {
        not_run("a_full_disk", "/dev/full");
        return;
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("log.jsonl");
    #[cfg(unix)]
    std::os::unix::fs::symlink("/dev/full", &path).expect("linkable");
    let Err(error) = AppendLog::create(&path, &"header") else {
        panic!("the disk is full");
    };
    assert!(error.to_string().contains("log.jsonl"), "{error}");
}
