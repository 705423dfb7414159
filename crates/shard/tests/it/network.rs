//! Sockets: reading, sending, sendfile, and moving between shards.

use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;

use bytes::BytesMut;
use shard::{
    AppendBackend, Listener, ListenerOptions, LogFile, OpenMode, ShardEvent, ShardSpec, Socket, SocketParts, mailboxes,
    spawn,
};
use types::ShardId;

use crate::{PATIENCE, TestDir, on_shard};

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

async fn connected(options: ListenerOptions) -> (Socket, TcpStream) {
    let listener = Listener::bind(LOCAL, options).expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
    client.set_read_timeout(Some(PATIENCE)).expect("set");
    let parts = listener.accept().await.expect("accepted");
    assert_eq!(parts.peer_addr(), client.local_addr().expect("connected"));
    (parts.attach().expect("attached"), client)
}

async fn read_some(socket: &Socket, buffer: &mut BytesMut) -> usize {
    loop {
        buffer.reserve(1024);
        if let Some(read) = socket.try_read_into(buffer).expect("connected") {
            return read;
        }
        socket.readable().await.expect("the reactor lives");
    }
}

#[test]
fn taken_port_is_an_error_that_says_what_to_do() {
    on_shard(AppendBackend::Ring, |_| async {
        let first = Listener::bind(LOCAL, ListenerOptions::default()).expect("a free port");
        let address = first.local_addr().expect("bound");
        let error = Listener::bind(address, ListenerOptions::default()).expect_err("taken");
        let text = error.to_string();
        assert!(text.contains(&address.to_string()) && text.contains("another process listens"), "{text}");
        drop(first);
        Listener::bind(address, ListenerOptions::default()).expect("free again");
    });
}

#[test]
fn bytes_go_both_ways_and_the_end_is_seen() {
    on_shard(AppendBackend::Ring, |_| async {
        let (socket, mut client) = connected(ListenerOptions::default()).await;
        client.write_all(b"ping").expect("connected");
        let mut buffer = BytesMut::new();
        assert_eq!(read_some(&socket, &mut buffer).await, 4);
        assert_eq!(&buffer[..], b"ping");
        socket.writable().await.expect("the reactor lives");
        let sent = socket.try_send(&[IoSlice::new(b"po"), IoSlice::new(b"ng")], false).expect("connected");
        assert_eq!(sent, Some(4));
        let mut answer = [0; 4];
        client.read_exact(&mut answer).expect("answered");
        assert_eq!(&answer, b"pong");
        drop(client);
        assert_eq!(read_some(&socket, &mut buffer).await, 0);
    });
}

/// Small reads that each empty the socket, against a peer that writes at every moment in between, and at last ends.
#[test]
fn many_short_reads_miss_neither_bytes_nor_the_end() {
    const MESSAGES: u32 = 3000;
    on_shard(AppendBackend::Ring, |_| async {
        let (socket, mut client) = connected(ListenerOptions::default()).await;
        let writer = std::thread::spawn(move || {
            for number in 0..MESSAGES {
                client.write_all(&number.to_be_bytes()).expect("connected");
                if number % 64 == 0 {
                    std::thread::sleep(std::time::Duration::from_micros(u64::from(number % 200)));
                }
            }
        });
        let mut buffer = BytesMut::new();
        while read_some(&socket, &mut buffer).await > 0 {}
        assert_eq!(buffer.len(), MESSAGES as usize * 4);
        assert!(buffer.chunks(4).enumerate().all(|(index, chunk)| chunk == (index as u32).to_be_bytes()));
        writer.join().expect("wrote all");
    });
}

/// Bytes and the end arrive together: the read that takes the bytes must leave the end to be seen.
#[test]
fn end_that_came_with_the_last_bytes_is_seen() {
    on_shard(AppendBackend::Ring, |_| async {
        let (socket, mut client) = connected(ListenerOptions::default()).await;
        client.write_all(b"last").expect("connected");
        drop(client);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let mut buffer = BytesMut::new();
        assert_eq!(read_some(&socket, &mut buffer).await, 4);
        assert_eq!(read_some(&socket, &mut buffer).await, 0);
    });
}

#[test]
fn aborted_connection_is_reset_and_shut_down_one_ends() {
    on_shard(AppendBackend::Ring, |_| async {
        let (socket, mut client) = connected(ListenerOptions::default()).await;
        socket.shutdown_write().expect("connected");
        assert_eq!(client.read(&mut [0; 8]).expect("the end"), 0);
        let (socket, mut client) = connected(ListenerOptions::default()).await;
        socket.abort();
        let error = client.read(&mut [0; 8]).expect_err("reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn full_connection_makes_the_sender_wait_and_loses_nothing() {
    const BYTES: usize = 4 << 20;
    on_shard(AppendBackend::Ring, |_| async {
        let options = ListenerOptions { send_buffer_bytes: Some(16 << 10), receive_buffer_bytes: Some(16 << 10) };
        let (socket, mut client) = connected(options).await;
        let data: Vec<u8> = (0..BYTES).map(|index| (index % 251) as u8).collect();
        let expected = data.clone();
        let reader = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let mut got = vec![0; BYTES];
            client.read_exact(&mut got).expect("all of it");
            assert!(got == expected);
        });
        let (mut sent, mut waits) = (0, 0);
        while sent < BYTES {
            match socket.try_send(&[IoSlice::new(&data[sent..])], false).expect("connected") {
                Some(bytes) => sent += bytes,
                None => {
                    waits += 1;
                    socket.writable().await.expect("the reactor lives");
                }
            }
        }
        assert!(waits > 1, "the buffers are far smaller");
        reader.join().expect("the same bytes");
    });
}

#[test]
fn sendfile_follows_a_header_and_a_cut_file_is_an_error() {
    on_shard(AppendBackend::Ring, |_| async {
        let dir = TestDir::new();
        let file = LogFile::open_blocking(dir.path("log"), OpenMode::Create).expect("new");
        let data: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 253) as u8).collect();
        file.write_at_blocking(0, &data).expect("written");
        let (socket, mut client) = connected(ListenerOptions::default()).await;
        let expected = data[1000..].to_vec();
        let reader = std::thread::spawn(move || {
            let mut header = [0; 6];
            client.read_exact(&mut header).expect("a header");
            assert_eq!(&header, b"header");
            let mut got = vec![0; expected.len()];
            client.read_exact(&mut got).expect("all of it");
            assert!(got == expected);
        });
        socket.writable().await.expect("the reactor lives");
        assert_eq!(socket.try_send(&[IoSlice::new(b"header")], true).expect("connected"), Some(6));
        let mut position = 1000;
        while position < data.len() {
            match socket.try_sendfile(&file, position as u64, data.len() - position).expect("connected") {
                Some(sent) => {
                    assert!(0 < sent && sent <= types::limits::SENDFILE_BYTES_MAX);
                    position += sent;
                }
                None => socket.writable().await.expect("the reactor lives"),
            }
        }
        reader.join().expect("the same bytes");
        let error = socket.try_sendfile(&file, data.len() as u64, 1).expect_err("nothing there");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn connection_moves_to_another_shard_with_bytes_under_way() {
    let (mut receivers, mailboxes) = mailboxes::<SocketParts>(2).expect("eventfds");
    let (bound, address) = mpsc::channel();
    let second = receivers.remove(1);
    let target = spawn(ShardSpec::new(ShardId::new(1)), second, |runtime| async move {
        let (sender, mut arrived) = tokio::sync::mpsc::unbounded_channel();
        runtime
            .on_event(move |event| {
                if let ShardEvent::Mail(parts) = event {
                    drop(sender.send(parts));
                }
            })
            .expect("first handler");
        let parts: SocketParts = arrived.recv().await.expect("handed over");
        let socket = parts.attach().expect("attached");
        let mut buffer = BytesMut::new();
        while buffer.len() < 6 {
            assert_ne!(read_some(&socket, &mut buffer).await, 0);
        }
        assert_eq!(&buffer[..], b"second");
        socket.writable().await.expect("the reactor lives");
        socket.try_send(&[IoSlice::new(b"done")], false).expect("connected");
    })
    .expect("io_uring is allowed here");
    let origin = spawn(ShardSpec::new(ShardId::new(0)), receivers.remove(0), move |runtime| async move {
        runtime.on_event(|_| {}).expect("first handler");
        let listener = Listener::bind(LOCAL, ListenerOptions::default()).expect("a free port");
        bound.send(listener.local_addr().expect("bound")).expect("the test waits");
        let socket = listener.accept().await.expect("accepted").attach().expect("attached");
        let mut buffer = BytesMut::with_capacity(5);
        while buffer.len() < 5 {
            socket.readable().await.expect("the reactor lives");
            // Exactly the first message: the rest stays with the kernel.
            let mut part = BytesMut::with_capacity(5 - buffer.len());
            if socket.try_read_into(&mut part).expect("connected").is_some() {
                buffer.extend_from_slice(&part);
            }
        }
        assert_eq!(&buffer[..], b"first");
        runtime.send(ShardId::new(1), socket.detach().expect("detached")).expect("room");
    })
    .expect("io_uring is allowed here");
    let mut client = TcpStream::connect(address.recv_timeout(PATIENCE).expect("bound")).expect("listening");
    client.set_read_timeout(Some(PATIENCE)).expect("set");
    client.write_all(b"firstsecond").expect("connected");
    let mut answer = [0; 4];
    client.read_exact(&mut answer).expect("answered by the other shard");
    assert_eq!(&answer, b"done");
    origin.join().expect("ends cleanly");
    target.join().expect("ends cleanly");
    drop(mailboxes);
}
