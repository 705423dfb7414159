//! The regression check as a maintainer meets it: it must be able to fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("regress-test-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).expect("made");
        Self(path)
    }

    /// Leaves medians where Criterion leaves them.
    fn measure(&self, part: &str, node_ns: f64, floor_ns: f64) {
        for (side, ns) in [("node", node_ns), ("floor", floor_ns)] {
            let folder = self.0.join("criterion").join(part).join(side).join("new");
            fs::create_dir_all(&folder).expect("made");
            let estimates = format!("{{\"median\": {{\"point_estimate\": {ns}}}}}");
            fs::write(folder.join("estimates.json"), estimates).expect("written");
        }
    }

    fn record(&self, text: &str) -> PathBuf {
        let path = self.0.join("record.txt");
        fs::write(&path, text).expect("written");
        path
    }

    fn check(&self, record: &Path, more: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_regress"));
        command.arg("--from").arg(self.0.join("criterion")).arg("--record").arg(record).args(more);
        let Output { status, stdout, stderr } = command.output().expect("runs");
        (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_doctored_record_makes_the_check_fail_and_name_the_part() {
    let folder = Folder::new("doctored");
    folder.measure("append", 240.0, 100.0);
    folder.measure("crc", 50.0, 100.0);
    assert_eq!(folder.check(&folder.record("append 2.4 10\ncrc 0.5 10\n"), &[]).0, Some(0));
    let (code, text) = folder.check(&folder.record("append 2.0 10\ncrc 0.5 10\n"), &[]);
    assert_eq!(code, Some(6), "{text}");
    let regressed: Vec<&str> = text.lines().filter(|line| line.contains("REGRESSED")).collect();
    assert!(regressed.len() == 1 && regressed[0].starts_with("append"), "{text}");
}

#[test]
fn a_written_record_is_met_by_the_run_that_made_it() {
    let folder = Folder::new("written");
    folder.measure("append", 240.0, 100.0);
    let record = folder.0.join("record.txt");
    assert_eq!(folder.check(&record, &["--write"]).0, Some(0));
    assert_eq!(folder.check(&record, &[]).0, Some(0));
    folder.measure("append", 400.0, 100.0);
    assert_eq!(folder.check(&record, &[]).0, Some(6));
}

#[test]
fn the_record_of_this_repository_names_the_parts_that_are_measured() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let record = fs::read_to_string(here.join("hot_path.txt")).expect("on record");
    let record = benches::regress::parse(&record).expect("sound");
    let documented = fs::read_to_string(here.join("benches/hot_path/main.rs")).expect("readable");
    let parts: Vec<&str> =
        documented.lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next()).collect();
    assert_eq!(parts.len(), 8);
    for part in &parts {
        assert!(record.iter().any(|expected| expected.part == *part), "{part} is not on record");
    }
    assert_eq!(record.len(), parts.len());
}
