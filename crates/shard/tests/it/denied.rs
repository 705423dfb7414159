//! A kernel that denies what a shard needs, as containers do: played by a seccomp filter in a process of its own.

use shard::{LogFile, OpenMode, ShardSpec, mailboxes, probe, spawn};
use types::ShardId;

const SYS_IO_URING_SETUP: u32 = libc::SYS_io_uring_setup as u32;
const SYS_CACHESTAT: u32 = 451;

#[test]
fn denied_io_uring_is_an_error_that_names_the_cure() {
    if crate::in_own_process("denied::denied_io_uring_is_an_error_that_names_the_cure") {
        return;
    }
    deny(SYS_IO_URING_SETUP, libc::EPERM);
    let (mut receivers, _mailboxes) = mailboxes::<u64>(1).expect("eventfds");
    let error = spawn(ShardSpec::new(ShardId::new(0)), receivers.remove(0), |_| async {}).expect_err("denied");
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    for word in ["io_uring", "seccomp", "io_uring_enter"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(probe::io_uring().expect_err("denied").to_string(), error.to_string());
}

#[test]
fn without_cachestat_the_other_probe_answers() {
    if crate::in_own_process("denied::without_cachestat_the_other_probe_answers") {
        return;
    }
    deny(SYS_CACHESTAT, libc::ENOSYS);
    assert!(!probe::cachestat());
    let dir = crate::TestDir::new();
    let file = LogFile::open_blocking(dir.path("log"), OpenMode::Create).expect("new");
    file.write_at_blocking(0, &[1; 10_000]).expect("written");
    assert!(file.is_cached(0, 10_000));
}

/// Makes one system call answer `errno` for this thread and those it starts.
fn deny(call: u32, errno: i32) {
    let filter = [
        // Load the call's number, the first word of seccomp_data; equal: answer errno; else: allow.
        libc::sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf: 1, k: call },
        libc::sock_filter {
            code: (libc::BPF_RET | libc::BPF_K) as u16,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ERRNO | errno as u32,
        },
        libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: plain flags, no memory of ours.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: `program` points at four valid instructions, which the kernel copies during the call.
    let answer = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(answer, 0, "seccomp filters are allowed for oneself");
}
