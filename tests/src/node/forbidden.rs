//! A process that may not have the descriptors of another, as where `kernel.yama.ptrace_scope` forbids it: the system call fails with EPERM, and
//! everything else is as ever.

#![expect(unsafe_code, reason = "a filter of system calls is installed by pointer")]

use nix::libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, EPERM, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP,
    SECCOMP_MODE_FILTER, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SYS_pidfd_getfd, c_ulong, prctl, sock_filter,
    sock_fprog,
};
use std::io;

/// Arguments of `prctl` are words.
const ONE: c_ulong = 1;
const NONE: c_ulong = 0;

/// `pidfd_getfd` fails from now on, in this thread and in those that it starts.
///
/// # Errors
/// The system has no such filters.
pub fn forbid_pidfd_getfd() -> io::Result<()> {
    let op = |code: u32, k: u32, jt: u8, jf: u8| sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // The number of the call is the first word of what the filter sees. Other tables of numbers than this program's are not told apart: it makes no
    // call of theirs.
    let mut program = [
        op(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
        op(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_getfd as u32, 0, 1),
        op(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM.cast_unsigned(), 0, 0),
        op(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0),
    ];
    let filter = sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: numbers only.
    if unsafe { prctl(PR_SET_NO_NEW_PRIVS, ONE, NONE, NONE, NONE) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `filter` and what it points to live until the call is over, which copies them.
    if unsafe { prctl(PR_SET_SECCOMP, c_ulong::from(SECCOMP_MODE_FILTER), &raw const filter) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
