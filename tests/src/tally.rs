//! The tally of what was judged, with the plain closing line.

/// Counts and prints verdicts as they come.
pub struct Tally {
    name: &'static str,
    passed: u32,
    failed: Vec<String>,
    skipped: u32,
}

impl Tally {
    /// A tally whose closing line starts with `name`.
    pub fn new(name: &'static str) -> Tally {
        Tally { name, passed: 0, failed: Vec::new(), skipped: 0 }
    }

    /// `what` held.
    pub fn pass(&mut self, what: &str) {
        self.passed += 1;
        println!("PASS {what}");
    }

    /// `what` did not hold.
    pub fn fail(&mut self, what: &str, why: &str) {
        self.failed.push(format!("{what}: {why}"));
        println!("FAIL {what}: {why}");
    }

    /// `what` could not be judged on this machine; `count` cells.
    pub fn skip(&mut self, what: &str, why: &str, count: u32) {
        self.skipped += count;
        println!("SKIP {what}: {why}");
    }

    /// `what` by its result.
    pub fn judge(&mut self, what: &str, result: Result<(), String>) {
        match result {
            Ok(()) => self.pass(what),
            Err(why) => self.fail(what, &why),
        }
    }

    /// Repeats the failures, prints the closing line and returns the exit code.
    pub fn close(self) -> i32 {
        if !self.failed.is_empty() {
            println!("\nfailed:");
            for line in &self.failed {
                println!("  {line}");
            }
        }
        println!("{}: {} passed, {} failed, {} skipped", self.name, self.passed, self.failed.len(), self.skipped);
        i32::from(!self.failed.is_empty())
    }
}
