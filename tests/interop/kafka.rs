//! Apache Kafka's jars on this machine, and its log reader.

use std::process::Command;

use tests::clients_dir;

/// Whether Kafka can be run; why not, else.
pub fn present() -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let lacks = |program: &&str| !std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let missing: Vec<&str> = ["java", "mvn"].into_iter().filter(lacks).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no {} on this machine", missing.join(", "))) }
}

/// Runs DumpLogSegments; what it complains of is an error.
pub fn dump(arguments: &[&str]) -> Result<String, String> {
    let jars = format!("{}/reference/*", clients_dir().display());
    let output = Command::new("timeout")
        .args(["90", "java", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &jars, "org.apache.kafka.tools.DumpLogSegments"])
        .args(arguments)
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let bad = [
        "isvalid: false",
        "Non-monotonic",
        "Mismatches in",
        "timestamp mismatch",
        "not found",
        "Exception",
        "Could not",
    ];
    if let Some(line) = text.lines().find(|line| bad.iter().any(|needle| line.contains(needle))) {
        return Err(format!("it says: {line}"));
    }
    if output.status.success() { Ok(text) } else { Err(format!("{}: {text}", output.status)) }
}

/// Whether a text has all of these.
pub fn holds(text: &str, needles: &[&str]) -> Result<(), String> {
    match needles.iter().find(|needle| !text.contains(**needle)) {
        Some(needle) => Err(format!("no `{needle}` in: {}", text.chars().take(800).collect::<String>())),
        None => Ok(()),
    }
}
