//! Parquet files as on the hub: equal to their original lines, found by name, refused if broken.

use std::path::{Path, PathBuf};

use std::sync::Arc;

use ::parquet::basic::{Compression, GzipLevel, ZstdLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use mxlab::excerpt::Excerpt;
use mxlab::task::{DataSources, FewShot, Task, file, load, parquet};

/// Files of every codec that is read have the same rows.
#[test]
fn codecs_are_read() {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let gzip = Compression::GZIP(GzipLevel::default());
    let (snappy, lz4) = (Compression::SNAPPY, Compression::LZ4_RAW);
    for codec in [Compression::UNCOMPRESSED, snappy, gzip, lz4, zstd] {
        let schema = "message rows { required binary page (UTF8); }";
        let schema = Arc::new(parse_message_type(schema).expect("a schema"));
        let properties = WriterProperties::builder().set_compression(codec).build();
        let mut writer =
            SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).expect("a writer");
        let mut group = writer.next_row_group().expect("a group");
        let mut column = group.next_column().expect("a column").expect("one");
        let pages = ["one page", "another page, of the same words", "one page"];
        let values = pages.map(|page| ByteArray::from(page.as_bytes().to_vec()));
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, None, None).expect("rows");
        column.close().expect("written");
        group.close().expect("written");
        let file = writer.into_inner().expect("a file");
        let lines = parquet::lines("pages.parquet", file.into()).expect("rows");
        let expected = pages
            .map(|page| format!("{{\"page\":\"{page}\"}}\n"))
            .concat();
        assert_eq!(lines, expected, "{codec:?}");
    }
}

/// Files written by the hub's library, and their original lines.
fn parquet_files() -> [(&'static str, PathBuf, Task); 4] {
    ["arc", "gsm8k", "hellaswag", "wikitext"].map(|name| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet");
        let lines =
            file::read(&Excerpt::whole(folder.join(format!("{name}.jsonl")))).expect("a task");
        (name, folder.join(format!("{name}.parquet")), lines)
    })
}

#[test]
fn parquet_files_are_read_as_the_lines_they_were_written_of() {
    for (name, path, lines) in parquet_files() {
        let task = file::read(&Excerpt::whole(&path)).expect(name);
        assert_eq!(task.examples, lines.examples, "{name}");
        assert_eq!(task.name, name);
    }
}

#[test]
fn named_tasks_are_those_files_of_the_hub() {
    let files = parquet_files();
    let none = FewShot {
        count: Some(0),
        ..FewShot::default()
    };
    for (task, repository, file) in [
        (
            "arc_challenge",
            "allenai/ai2_arc",
            "ARC-Challenge/test-00000-of-00001.parquet",
        ),
        ("gsm8k", "openai/gsm8k", "main/test-00000-of-00001.parquet"),
        (
            "hellaswag",
            "Rowan/hellaswag",
            "data/validation-00000-of-00001.parquet",
        ),
        (
            "wikitext",
            "EleutherAI/wikitext_document_level",
            "wikitext-2-raw-v1/wikitext-2-raw-v1-test.parquet",
        ),
    ] {
        let (_, path, lines) = files
            .iter()
            .find(|(name, ..)| task.starts_with(name))
            .expect("a file");
        let asked = |of: &str, name: &str| {
            assert_eq!((of, name), (repository, file));
            Ok(path.clone())
        };
        let from = |data_dir, hub_file| {
            let embedded = "";
            let sources = DataSources {
                data_dir,
                embedded,
                hub_file,
            };
            load(task, &none, &sources).expect(task)
        };
        assert_eq!(from(None, &asked).examples, lines.examples);
        // A copy of the repository in the data directory takes precedence over the hub.
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join(repository).join(file);
        std::fs::create_dir_all(copy.parent().expect("a parent")).expect("writable");
        std::fs::copy(path, &copy).expect("writable");
        let offline = |_: &str, _: &str| unreachable!("the file is there");
        let local = from(Some(folder.path()), &offline);
        assert_eq!(local.examples, lines.examples);
    }
}

/// Any file is read or refused, without a panic.
#[test]
fn broken_parquet_files_are_refused() {
    for (name, path, _) in parquet_files() {
        let intact = std::fs::read(&path).expect("readable");
        let cut = (0..intact.len())
            .step_by(7)
            .map(|end| intact[..end].to_vec());
        for (end, bytes) in cut.enumerate() {
            let error = parquet::lines("cut.parquet", bytes.into()).expect_err(name);
            assert!(
                error.to_string().contains("`cut.parquet`"),
                "{end}: {error}"
            );
        }
        for index in 0..intact.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut bytes = intact.clone();
                bytes[index] ^= flip;
                let _ = parquet::lines("flipped.parquet", bytes.into());
            }
        }
    }
}
