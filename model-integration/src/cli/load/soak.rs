//! `mxlab load --soak`: many clients, some of which misbehave.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};
use mxlab_harness::record::Environment;

use super::args::{LoadArgs, OutputFormat};
use crate::cli::Done;
use crate::cli::output::{Usage, print};
use crate::columns::aligned;
use crate::load::exchange::Client;
use crate::load::generator::Generator;
use crate::load::soak::Soak;
use crate::memory::memory;
use crate::record;
use crate::record::soak::{ActRecord, SoakRecord, Soaked};

/// Soaks, and prints what became of the clients.
pub fn run(
    args: &LoadArgs,
    generator: &Generator,
    client: Client,
    model: String,
    stop: &AtomicBool,
) -> Result<Done> {
    let clients = match args.load.concurrency.as_slice() {
        [] => 16,
        [clients] => *clients,
        _ => return Err(Usage("--soak takes one --concurrency".to_owned()).into()),
    };
    ensure!(
        !client.endpoint().is_tls,
        Usage("--soak needs http: some clients write below it".to_owned())
    );
    if let Some(pid) = args.soak.pid {
        ensure!(
            memory(pid).is_some(),
            "--pid {pid}: found no memory of such a process in /proc"
        );
    }
    let path = args.output.output_path.as_deref();
    if let Some(path) = path.filter(|path| path.is_file() && !args.output.overwrite) {
        anyhow::bail!(
            "`{}` exists; give another --output-path, or --overwrite",
            path.display()
        );
    }
    let mut record = SoakRecord {
        environment: Environment::capture(),
        url: args.url.clone(),
        model: model.clone(),
        prompts: args.request.described(),
        output_tokens: args.request.output_tokens.to_string(),
        clients,
        seed: args.request.seed,
        soaked: Soaked::default(),
    };
    let mut prompts = args.request.prompts(model)?;
    // Answers have the length that was asked for.
    prompts.fields.insert("ignore_eos".to_owned(), true.into());
    let soak = Arc::new(Soak {
        client,
        prompts,
        requests: args.load.requests,
        clients,
        pid: args.soak.pid,
        seed: args.request.seed,
    });
    let Some(soaked) = generator.soak(&soak, stop)? else {
        eprintln!("interrupted: a soak has no result before its end");
        return Ok(Done::Interrupted);
    };
    record.soaked = soaked;
    if let Some(path) = path {
        record::write(path, &record)?;
    }
    match args.output.format {
        OutputFormat::Json => print(&record::to_json(&record))?,
        OutputFormat::Text => print(&table(&record.soaked))?,
    }
    let findings = findings(&record.soaked, args.soak.most_growth);
    for finding in &findings {
        eprintln!("{finding}");
    }
    Ok(match findings.is_empty() {
        true => Done::Ok,
        false => Done::WithFindings,
    })
}

fn table(soaked: &Soaked) -> String {
    let row = |(name, act): (&String, &ActRecord)| {
        let counts = act.counts();
        let counts = counts.iter().map(usize::to_string);
        std::iter::once(name.clone()).chain(counts).collect()
    };
    let rows: Vec<Vec<String>> = soaked.acts.iter().map(row).collect();
    let mut text = aligned(1, &ActRecord::COLUMNS, &rows);
    if let Some(last) = soaked.memory.last() {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (least, most) = (mebibytes(last.least_bytes), mebibytes(last.most_bytes));
        text += &format!(
            "memory of the server: at least {least:.1} and at most {most:.1} MiB during the last \
             answers\n"
        );
    }
    if let Some(growth) = soaked.growth {
        text += &format!(
            "it keeps {:+.2} % after the first tenth of the answers\n",
            100.0 * growth
        );
    }
    text
}

/// What a server should not do.
fn findings(soaked: &Soaked, most_growth: f64) -> Vec<String> {
    let failures = soaked.failures.iter();
    let failures = failures.map(|(kind, own)| own.line(kind));
    let mut findings: Vec<String> = failures.collect();
    if let Some(left) = soaked.unfinished.filter(|left| *left > 0) {
        findings.push(format!(
            "no client is left, and the server has {left} sequences"
        ));
    }
    if let Some(growth) = soaked.growth.filter(|growth| 100.0 * growth > most_growth) {
        findings.push(format!(
            "the server keeps {:.2} % more memory than after the first tenth of the answers, \
             expected at most {most_growth} %",
            100.0 * growth
        ));
    }
    findings
}
