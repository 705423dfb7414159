//! What the bare servers are told, and how they prepare.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::bare;

/// A bare server that a node is measured against.
#[derive(Parser, Debug)]
#[command(after_help = bare::VERSIONS)]
pub struct Options {
    /// Where to listen, and what Metadata says.
    #[arg(long, default_value = "127.0.0.1:19092")]
    pub listen: SocketAddr,
    /// Partitions of the topic `floor`.
    #[arg(long, default_value_t = 8)]
    pub partitions: u16,
    /// Where the files go; what was in them is lost.
    #[arg(long, default_value = "floor-data")]
    pub dir: PathBuf,
    /// Bytes of a partition's file at which it starts over.
    #[arg(long, default_value_t = 1 << 30)]
    pub log_bytes_max: u64,
    /// The largest request.
    #[arg(long, default_value_t = 4 << 20)]
    pub request_bytes_max: usize,
    /// Only receive and answer: no CRC, no write, nothing to fetch.
    #[arg(long)]
    pub sink: bool,
    /// The CPU to run on.
    #[arg(long)]
    pub cpu: Option<usize>,
}

impl Options {
    /// Reads the command line, pins the thread if told, and empties one file per partition.
    ///
    /// # Errors
    /// When the CPU is not ours or the files cannot be made.
    pub fn prepare() -> io::Result<(Self, Vec<File>)> {
        let options = Self::parse();
        if let Some(cpu) = options.cpu {
            pin(cpu)?;
        }
        std::fs::create_dir_all(&options.dir)?;
        let open = |number| {
            let path = options.dir.join(format!("floor-{number}.log"));
            File::options().read(true).write(true).create(true).truncate(true).open(path)
        };
        let files = (0..options.partitions).map(open).collect::<io::Result<_>>()?;
        Ok((options, files))
    }
}

/// Pins the calling thread, and what it will start, to one CPU.
///
/// # Errors
/// When the CPU is not ours.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu)?;
    Ok(nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?)
}
