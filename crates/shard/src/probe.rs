//! What this machine allows, as plain facts for `doctor` and `serve`.

use std::io;

/// Rewords what the kernel answers to a ring, so that whoever runs the node knows the cure.
pub(crate) fn uring_denied(error: io::Error) -> io::Error {
    let cure = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "the kernel denies io_uring: in a container allow it in the seccomp profile (Docker: \
             --security-opt seccomp=<profile with io_uring_setup, io_uring_enter, io_uring_register>), else set \
             sysctl kernel.io_uring_disabled=0"
        }
        Some(libc::ENOSYS) => "this kernel has no io_uring: Linux 6.1 or newer is needed",
        Some(libc::EINVAL) => "this kernel's io_uring is too old: Linux 6.1 or newer is needed",
        Some(libc::ENOMEM) => "the ring does not fit the locked-memory limit: raise it (`ulimit -l`, LimitMEMLOCK=)",
        Some(libc::EMFILE | libc::ENFILE) => "no file descriptors are left: raise the limit (`ulimit -n`)",
        _ => "io_uring cannot be used",
    };
    io::Error::new(error.kind(), format!("{cure} ({error})"))
}
