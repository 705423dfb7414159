//! From bytes on stdin or in files to records.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use tokio::sync::mpsc;
use types::limits::PRODUCE_INPUT_RECORD_BYTES_MAX;

use crate::failure::{Code, Failure};
use crate::stream::json::{self, Parsed};
use crate::stream::template::Pattern;

/// Bytes that one read asks for.
const READ_BYTES: usize = 256 * 1024;

/// Reads ahead of the records being sent.
const READS_AHEAD: usize = 4;

/// Where the bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Stdin,
    /// One after another.
    Files(Vec<PathBuf>),
}

impl Source {
    /// How many bytes there are, where that can be known.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let of_file = |metadata: io::Result<std::fs::Metadata>| {
            metadata.ok().filter(|file| file.is_file()).map(|file| file.len())
        };
        match self {
            Self::Stdin => of_file(File::from(io::stdin().as_fd().try_clone_to_owned().ok()?).metadata()),
            Self::Files(paths) => paths.iter().map(|path| of_file(std::fs::metadata(path))).sum(),
        }
    }

    /// Reads on a thread of its own: a read of a terminal or pipe cannot be broken off. An error names its file.
    pub(crate) fn open(self) -> mpsc::Receiver<Result<Bytes, Failure>> {
        let (sender, receiver) = mpsc::channel(READS_AHEAD);
        std::thread::spawn(move || {
            let outcome = match self {
                Self::Stdin => io::stdin()
                    .as_fd()
                    .try_clone_to_owned()
                    .and_then(|stdin| pump(File::from(stdin), &sender))
                    .map_err(|error| unreadable("stdin", &error)),
                Self::Files(paths) => paths.iter().try_for_each(|path| {
                    File::open(path)
                        .and_then(|file| pump(file, &sender))
                        .map_err(|error| unreadable(&path.display().to_string(), &error))
                }),
            };
            if let Err(error) = outcome {
                let _ = sender.blocking_send(Err(error));
            }
        });
        receiver
    }
}

/// Input that cannot be read.
pub(super) fn unreadable(name: &str, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::Failed };
    Failure::new(code, format!("cannot read {name}: {error}"))
}

/// Ends early, and well, when nobody wants more.
fn pump(mut file: File, sender: &mpsc::Sender<Result<Bytes, Failure>>) -> io::Result<()> {
    let mut block = vec![0; READ_BYTES];
    loop {
        let read = match file.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if sender.blocking_send(Ok(Bytes::copy_from_slice(&block[..read]))).is_err() {
            return Ok(());
        }
    }
}

/// Cuts a stream of bytes at a delimiter.
#[derive(Debug)]
pub(crate) struct Splitter {
    delimiter: memmem::Finder<'static>,
    pending: BytesMut,
    /// Up to here no delimiter begins.
    searched: usize,
}

impl Splitter {
    /// # Panics
    /// An empty delimiter.
    pub(crate) fn new(delimiter: &[u8]) -> Self {
        assert!(!delimiter.is_empty());
        Self { delimiter: memmem::Finder::new(delimiter).into_owned(), pending: BytesMut::new(), searched: 0 }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next part that is there in full, without its delimiter.
    ///
    /// # Errors
    /// A part grows beyond what a record can be.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, String> {
        let length = self.delimiter.needle().len();
        if let Some(at) = self.delimiter.find(&self.pending[self.searched..]) {
            let part = self.pending.split_to(self.searched + at).freeze();
            let _ = self.pending.split_to(length);
            self.searched = 0;
            return Ok(Some(part));
        }
        self.searched = self.pending.len().saturating_sub(length - 1);
        if PRODUCE_INPUT_RECORD_BYTES_MAX < self.pending.len() {
            return Err(format!(
                "a record of more than {PRODUCE_INPUT_RECORD_BYTES_MAX} bytes: the delimiter (-D) does not come"
            ));
        }
        Ok(None)
    }

    /// What was left when the input ended.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.pending);
        (!rest.is_empty()).then(|| rest.freeze())
    }
}

/// How a part becomes a record.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// Value, or key and value.
    Delimited {
        key_delimiter: Option<Vec<u8>>,
        /// An empty key or value is null.
        nulls: bool,
    },
    /// A JSON object, see `stream::json`.
    Json,
    /// As a format string says.
    Pattern(Pattern),
    /// As Kafka's console producer reads a line.
    Console(ConsoleLine),
}

/// A part that is no record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// This one is left out.
    Record(String),
    /// Nothing after it is read.
    Fatal(String),
}

impl Shape {
    /// The record that `part`, the `number`th (from 1), stands for; `None` when it stands for none.
    pub(crate) fn read(&self, part: &Bytes, number: u64) -> Result<Option<Parsed>, Refusal> {
        match self {
            Self::Delimited { key_delimiter, nulls } => Ok(read_delimited(part, key_delimiter.as_deref(), *nulls)),
            Self::Json if part.trim_ascii().is_empty() => Ok(None),
            Self::Json => json::parse(part).map(Some).map_err(Refusal::Record),
            Self::Pattern(_) if part.is_empty() => Ok(None),
            Self::Pattern(pattern) => pattern.read(part).map(Some).map_err(Refusal::Record),
            Self::Console(console) => console.read(part, number).map(Some).map_err(Refusal::Fatal),
        }
    }
}

/// As kcat: an empty part is no record, and one without the key's delimiter is a value.
fn read_delimited(part: &Bytes, key_delimiter: Option<&[u8]>, nulls: bool) -> Option<Parsed> {
    if part.is_empty() {
        return None;
    }
    let (key, value) = match key_delimiter.and_then(|delimiter| cut(part, delimiter)) {
        Some((key, value)) => (Some(key), value),
        None => (None, part.clone()),
    };
    let present = |part: &Bytes| !nulls || !part.is_empty();
    Some(Parsed { key: key.filter(present), value: Some(value).filter(present), ..Parsed::default() })
}

/// What lies before and after the first `delimiter`.
pub(crate) fn cut(part: &Bytes, delimiter: &[u8]) -> Option<(Bytes, Bytes)> {
    let at = memmem::find(part, delimiter)?;
    Some((part.slice(..at), part.slice(at + delimiter.len()..)))
}

/// The properties of Kafka's `LineMessageReader`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ConsoleLine {
    pub(crate) parse_key: bool,
    pub(crate) key_separator: String,
    pub(crate) parse_headers: bool,
    pub(crate) headers_delimiter: String,
    pub(crate) headers_separator: String,
    pub(crate) headers_key_separator: String,
    pub(crate) ignore_error: bool,
    pub(crate) null_marker: Option<String>,
}

impl Default for ConsoleLine {
    fn default() -> Self {
        Self {
            parse_key: false,
            key_separator: "\t".to_owned(),
            parse_headers: false,
            headers_delimiter: "\t".to_owned(),
            headers_separator: ",".to_owned(),
            headers_key_separator: ":".to_owned(),
            ignore_error: false,
            null_marker: None,
        }
    }
}

impl ConsoleLine {
    fn read(&self, line: &Bytes, number: u64) -> Result<Parsed, String> {
        let mut rest = line.strip_suffix(b"\r").map_or_else(|| line.clone(), |line_only| line.slice_ref(line_only));
        let headers = self.take(self.parse_headers, &mut rest, &self.headers_delimiter, "headers delimiter", number)?;
        let key = self.take(self.parse_key, &mut rest, &self.key_separator, "key separator", number)?;
        let headers = match headers.filter(|headers| !self.is_null(headers)) {
            Some(headers) => self.read_headers(&headers, number)?,
            None => Vec::new(),
        };
        let present = |part: &Bytes| !self.is_null(part);
        Ok(Parsed { key: key.filter(present), value: Some(rest).filter(present), headers, ..Parsed::default() })
    }

    fn is_null(&self, part: &[u8]) -> bool {
        self.null_marker.as_ref().is_some_and(|marker| marker.as_bytes() == part)
    }

    /// Takes what lies before `delimiter` off `rest`.
    fn take(
        &self,
        wanted: bool,
        rest: &mut Bytes,
        delimiter: &str,
        name: &str,
        number: u64,
    ) -> Result<Option<Bytes>, String> {
        if !wanted {
            return Ok(None);
        }
        match cut(rest, delimiter.as_bytes()) {
            Some((part, after)) => {
                *rest = after;
                Ok(Some(part))
            }
            None if self.ignore_error => Ok(None),
            None => {
                let line = String::from_utf8_lossy(rest);
                Err(format!("No {name} found on line number {number}: '{line}'"))
            }
        }
    }

    fn read_headers(&self, headers: &Bytes, number: u64) -> Result<Vec<(String, Option<Bytes>)>, String> {
        let mut read = Vec::new();
        let mut rest = Some(headers.clone());
        while let Some(pairs) = rest.take() {
            let pair = match cut(&pairs, self.headers_separator.as_bytes()) {
                Some((pair, after)) => {
                    rest = Some(after).filter(|after| !after.is_empty());
                    pair
                }
                None => pairs,
            };
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            match cut(&pair, self.headers_key_separator.as_bytes()) {
                Some((name, _)) if self.is_null(&name) => {
                    return Err(format!(
                        "Header keys should not be equal to the null marker '{}' as they can't be null",
                        text(&name)
                    ));
                }
                Some((name, value)) => read.push((text(&name), Some(value).filter(|value| !self.is_null(value)))),
                None if self.ignore_error => read.push((text(&pair), None)),
                None => {
                    let pair = text(&pair);
                    return Err(format!("No header key separator found in pair '{pair}' on line number {number}"));
                }
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(delimiter: &str, chunks: &[&str]) -> Vec<String> {
        let mut splitter = Splitter::new(delimiter.as_bytes());
        let mut parts = Vec::new();
        for chunk in chunks {
            splitter.push(chunk.as_bytes());
            while let Some(part) = splitter.next().expect("small") {
                parts.push(part);
            }
        }
        parts.extend(splitter.rest());
        parts.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    }

    #[test]
    fn parts_are_cut_wherever_the_reads_end() {
        assert_eq!(parts("\n", &["a\nb", "c\n", "\n", "d"]), ["a", "bc", "", "d"]);
        assert_eq!(parts("--", &["a-", "-b-", "c--"]), ["a", "b-c"]);
        assert_eq!(
            parts("aab", &["xaa", "aab", "y"]),
            ["xaa".strip_suffix("aa").unwrap_or_default().to_owned() + "aa", "y".to_owned()]
        );
        assert_eq!(parts("\n", &[]), Vec::<String>::new());
    }

    #[test]
    fn a_part_without_end_is_refused() {
        let mut splitter = Splitter::new(b"\0");
        let block = vec![b'x'; 8 << 20];
        let refused = (0..=PRODUCE_INPUT_RECORD_BYTES_MAX / block.len()).any(|_| {
            splitter.push(&block);
            splitter.next().is_err()
        });
        assert!(refused);
    }

    fn delimited(
        part: &'static str,
        key_delimiter: Option<&str>,
        nulls: bool,
    ) -> Option<(Option<Bytes>, Option<Bytes>)> {
        read_delimited(&Bytes::from(part), key_delimiter.map(str::as_bytes), nulls).map(|read| (read.key, read.value))
    }

    #[test]
    fn keys_values_and_nulls_are_read_as_kcat_reads_them() {
        let some = |text: &'static str| Some(Bytes::from(text));
        assert_eq!(delimited("v", None, false), Some((None, some("v"))));
        assert_eq!(delimited("k:v:w", Some(":"), false), Some((some("k"), some("v:w"))));
        assert_eq!(delimited("v", Some(":"), false), Some((None, some("v"))));
        assert_eq!(delimited("k:", Some(":"), false), Some((some("k"), some(""))));
        assert_eq!(delimited("k:", Some(":"), true), Some((some("k"), None)));
        assert_eq!(delimited(":v", Some(":"), true), Some((None, some("v"))));
        assert_eq!(delimited("", None, true), None);
    }

    #[test]
    fn console_lines_are_read_as_kafkas_reader_reads_them() {
        let some = |text: &'static str| Some(Bytes::from(text));
        let both = ConsoleLine { parse_key: true, parse_headers: true, ..ConsoleLine::default() };
        let read = both.read(&Bytes::from("h1:v1,h2:v2\tkey\tvalue\r"), 1).expect("read");
        assert_eq!((read.key, read.value), (some("key"), some("value")));
        assert_eq!(read.headers, [("h1".to_owned(), some("v1")), ("h2".to_owned(), some("v2"))]);

        let key = ConsoleLine { parse_key: true, key_separator: "=>".to_owned(), ..ConsoleLine::default() };
        assert_eq!(
            key.read(&Bytes::from("value"), 7).expect_err("no key"),
            "No key separator found on line number 7: 'value'"
        );
        let lenient = ConsoleLine { ignore_error: true, ..key.clone() };
        assert_eq!(lenient.read(&Bytes::from("value"), 7).expect("read").value, some("value"));

        let nulls = ConsoleLine { null_marker: Some("NULL".to_owned()), ..both };
        let read = nulls.read(&Bytes::from("NULL\tNULL\tNULL"), 1).expect("read");
        assert_eq!((read.key, read.value, read.headers), (None, None, Vec::new()));
        assert!(nulls.read(&Bytes::from("NULL:v\tk\tv"), 1).expect_err("refused").contains("can't be null"));
        assert!(nulls.read(&Bytes::from("odd\tk\tv"), 1).expect_err("refused").contains("in pair 'odd'"));
    }
}
