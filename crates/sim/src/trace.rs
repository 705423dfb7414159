//! What a run did, folded into one number: two runs of one seed must give the same.

use std::fmt::Debug;
use std::fmt::Write;

/// FNV-1a, 64 bits, over everything noted.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    /// Lines of text, kept only when asked for: formatting is most of a run's time.
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace; with `keep_lines` it can be read afterwards.
    #[must_use]
    pub const fn new(keep_lines: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: if keep_lines { Some(Vec::new()) } else { None } }
    }

    /// Notes numbers.
    pub fn numbers(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.bytes(&number.to_le_bytes());
        }
    }

    /// Notes bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Adds a line for people; costs nothing when lines are not kept, and is not part of the hash.
    pub fn line(&mut self, what: &str, detail: &dyn Debug) {
        if let Some(lines) = &mut self.lines {
            let mut line = String::new();
            let _ = write!(line, "{what} {detail:?}");
            lines.push(line);
        }
    }

    /// Everything noted so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, if they were kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or(&[])
    }
}
