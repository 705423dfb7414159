//! Runs the micro benchmarks and says which part of the hot path has become dearer, in units of its own floor:
//!
//! ```sh
//! cargo run --release -p benches --bin regress
//! ```

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use benches::regress::{self, Measured};
use clap::Parser;

/// Compares the micro benchmarks with the ratios on record; exit code 6 when one has regressed.
#[derive(Parser)]
struct Options {
    /// The ratios on record.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/hot_path.txt"))]
    record: PathBuf,
    /// Runs of all benchmarks, about half a minute each; of each part the median ratio counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
    /// Judge what Criterion left in this folder (one a round) instead of running anything.
    #[arg(long)]
    from: Vec<PathBuf>,
    /// Make what is found the new record.
    #[arg(long)]
    write: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(6),
        Err(why) => {
            eprintln!("regress: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every part held.
fn run(options: &Options) -> Result<bool, String> {
    let told = |error: std::io::Error| format!("{}: {error}", options.record.display());
    let record = match std::fs::read_to_string(&options.record) {
        Err(error) if options.write && error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        text => regress::parse(&text.map_err(told)?).map_err(|why| format!("{}: {why}", options.record.display()))?,
    };
    let rounds: Result<Vec<_>, _> = match &options.from[..] {
        [] => (0..options.rounds).map(|_| measure()).collect(),
        homes => homes.iter().map(|home| read(home)).collect(),
    };
    let measured = regress::median_of(&rounds?);
    if measured.is_empty() {
        return Err("nothing was measured".to_owned());
    }
    let times = |part: &str| {
        let row = measured.iter().find(|row| row.part == part);
        row.map_or_else(|| "-".to_owned(), |row| format!("{:.1} / {:.1} ns", row.node_ns, row.floor_ns))
    };
    println!("{:<18} {:>22} {:>8} {:>10}", "part", "ours / floor", "ratio", "on record");
    let verdicts = regress::judge(&record, &measured);
    let number = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
    for (part, expected, found, verdict) in &verdicts {
        println!("{part:<18} {:>22} {:>8} {:>10}  {verdict}", times(part), number(*found), number(*expected));
    }
    if options.write {
        std::fs::write(&options.record, regress::render(&measured, &record)).map_err(told)?;
        println!("{} holds these ratios now", options.record.display());
        return Ok(true);
    }
    Ok(verdicts.iter().all(|(.., verdict)| !verdict.fails()))
}

/// One round, into a folder of its own.
fn measure() -> Result<Vec<Measured>, String> {
    let home = std::env::temp_dir().join(format!("ringlog-regress-{}", std::process::id()));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["bench", "--quiet", "-p", "benches", "--bench", "hot_path", "--", "--quiet"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("CRITERION_HOME", &home)
        // Its lines are repeated in the table, with what they mean.
        .stdout(std::process::Stdio::null())
        .status()
        .map_err(|error| format!("cargo bench does not start: {error}"))?;
    let measured = if status.success() { read(&home) } else { Err(format!("cargo bench ended with {status}")) };
    let _ = std::fs::remove_dir_all(&home);
    measured
}

fn read(home: &std::path::Path) -> Result<Vec<Measured>, String> {
    regress::read_criterion(home).map_err(|error| format!("{}: {error}", home.display()))
}
