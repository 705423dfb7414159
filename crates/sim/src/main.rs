//! Runs seeds by hand: `cargo run --release -p sim -- --seeds 100000 [--start N] [--scenario NAME]`, or one of them to
//! read: `-- --explain SEED --scenario NAME`.

use std::process::ExitCode;

use sim::faults::Tally;
use sim::scenario::{SCENARIOS, Scenario};

struct Options {
    seeds: u64,
    start: u64,
    scenarios: Vec<Scenario>,
    explain: Option<u64>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { seeds: 1_000, start: 0, scenarios: SCENARIOS.to_vec(), explain: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{name} {value}: {error}"));
        match name.as_str() {
            "--seeds" => options.seeds = number()?,
            "--start" => options.start = number()?,
            "--explain" => options.explain = Some(number()?),
            "--scenario" => {
                let scenario = Scenario::named(&value).ok_or_else(|| format!("no scenario is called {value}"))?;
                options.scenarios = vec![scenario];
            }
            "--mutant" => {
                let in_log = storage::mutants::Mutant::named(&value);
                let in_host = machine::mutants::Mutant::named(&value);
                let in_quorum = quorum::mutants::Mutant::named(&value);
                if in_log.is_none() && in_host.is_none() && in_quorum.is_none() {
                    return Err(format!("no mutant is called {value}"));
                }
                let armed = storage::mutants::Mutant::arm(in_log)
                    && machine::mutants::Mutant::arm(in_host)
                    && quorum::mutants::Mutant::arm(in_quorum);
                if !armed {
                    return Err("mutants need a build with --features mutants".to_owned());
                }
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("sim: {reason}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = options.explain {
        let (violation, lines) = sim::explain(options.scenarios[0], seed);
        for line in lines {
            println!("{line}");
        }
        println!("{violation:#?}");
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for scenario in options.scenarios {
        let mut tally = Tally::default();
        let mut shown = 0;
        for seed in options.start..options.start + options.seeds {
            let outcome = sim::run(scenario, seed);
            tally.add(&outcome.tally);
            if let Some(violation) = outcome.violation {
                failed += 1;
                shown += 1;
                if shown <= 3 {
                    println!("{} seed {seed}: {}: {}", scenario.name, violation.invariant, violation.detail);
                }
            }
        }
        println!("{}: {} seeds, {shown} failed\n{tally}", scenario.name, options.seeds);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
