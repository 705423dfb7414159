//! The plain way to write `floor`: tokio, one task per connection, read a frame, append it, answer. What `floor` must
//! beat. Produce only; every partition has a file of its own, written by a blocking pwrite inline.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use benches::bare::{self, Header, Reader};
use benches::options::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

struct Partition {
    file: File,
    end: u64,
    end_offset: i64,
}

impl Partition {
    fn append(&mut self, records: &mut [u8], bytes_max: u64) -> Result<i64, i16> {
        let base = self.end_offset;
        let next = bare::stamp(records, base, true)?;
        if self.end + records.len() as u64 > bytes_max {
            self.end = 0;
        }
        // 56 is KAFKA_STORAGE_ERROR.
        self.file.write_all_at(records, self.end).map_err(|_| 56_i16)?;
        self.end += records.len() as u64;
        self.end_offset = next;
        Ok(base)
    }
}

type Log = Rc<RefCell<Vec<Partition>>>;

async fn serve(socket: TcpStream, log: Log, options: Rc<Options>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (reading, mut writing) = socket.into_split();
    let mut reading = BufReader::with_capacity(64 << 10, reading);
    let mut out = Vec::new();
    loop {
        let bytes = reading.read_u32().await? as usize;
        if bytes > options.request_bytes_max {
            return Ok(());
        }
        let mut frame = vec![0; bytes];
        reading.read_exact(&mut frame).await?;
        let mut reader = Reader(&mut frame);
        let Some(header) = Header::read(&mut reader) else { return Ok(()) };
        out.clear();
        match header.api {
            0 => {
                let mut log = log.borrow_mut();
                let append = |partition, records: &mut [u8]| match log.get_mut(partition as usize) {
                    Some(partition) => partition.append(records, options.log_bytes_max),
                    None => Err(bare::UNKNOWN_PARTITION),
                };
                if header.produce(&mut reader, &mut out, append).is_none() {
                    return Ok(());
                }
            }
            3 => header.metadata(&mut out, options.listen, options.partitions),
            18 => header.api_versions(&mut out),
            _ => return Ok(()),
        }
        writing.write_all(&out).await?;
    }
}

fn main() -> io::Result<()> {
    let (options, files) = Options::prepare()?;
    let options = Rc::new(options);
    let partitions = files.into_iter().map(|file| Partition { file, end: 0, end_offset: 0 }).collect();
    let log: Log = Rc::new(RefCell::new(partitions));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(options.listen).await?;
        println!("echo_append listens on {} with {} partitions", options.listen, options.partitions);
        loop {
            let (socket, _) = listener.accept().await?;
            tokio::task::spawn_local(serve(socket, Rc::clone(&log), Rc::clone(&options)));
        }
    })
}
