#![expect(
    unsafe_code,
    reason = "recvmmsg and sendmmsg, which no wrapper offers over memory that the caller chooses"
)]
//! Moving bytes so that the kernel itself notes how many, in the same system call.
//!
//! - **N1** `recvmmsg` and `sendmmsg` write the length of a message into the header that they were given, before they return to
//!   the program. So if that header lies in shared memory, the number is there whenever the bytes have moved, also if the process
//!   is killed before its next instruction: a SIGKILL takes effect where the kernel returns to the program, or where it waits, and
//!   a call that is not to wait does not.
//! - **N2** The header's page was written by this process a moment before, so that noting the number finds it in memory.
//!
//! The rest of the header is addresses of this process, of which nobody else reads anything. It does not know where the header is.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of a header; it is aligned to 8.
pub(crate) const HEADER: usize = 64;
/// Where in it the kernel notes how many bytes it moved: a `u32`.
pub(crate) const LENGTH: u64 = 56;

const _: () = assert!(size_of::<libc::mmsghdr>() == HEADER && align_of::<libc::mmsghdr>() == 8);
const _: () = assert!(std::mem::offset_of!(libc::mmsghdr, msg_len) == LENGTH as usize);

/// Receives into two pieces without waiting; the kernel notes the number in `header`.
pub(crate) fn receive(fd: BorrowedFd<'_>, header: &mut [u8], first: &mut [u8], second: &mut [u8]) -> io::Result<usize> {
    let mut pieces = [first, second].map(|piece| libc::iovec {
        iov_base: piece.as_mut_ptr().cast(),
        iov_len: piece.len(),
    });
    let message = prepare(header, &mut pieces)?;
    // SAFETY: one header, which `prepare` checked and filled; its two pieces are borrowed exclusively, and so is the header itself.
    moved(message, || unsafe {
        libc::recvmmsg(fd.as_raw_fd(), message, 1, libc::MSG_DONTWAIT, std::ptr::null_mut())
    })
}

/// Sends two pieces without waiting; the kernel notes the number in `header`.
pub(crate) fn send(fd: BorrowedFd<'_>, header: &mut [u8], first: &[u8], second: &[u8]) -> io::Result<usize> {
    let mut pieces = [first, second].map(|piece| libc::iovec {
        iov_base: piece.as_ptr().cast_mut().cast(),
        iov_len: piece.len(),
    });
    let message = prepare(header, &mut pieces)?;
    // SAFETY: as above; the kernel only reads the pieces.
    moved(message, || unsafe {
        libc::sendmmsg(fd.as_raw_fd(), message, 1, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    })
}

/// Fills the header: two pieces, and nothing moved yet.
fn prepare(header: &mut [u8], pieces: &mut [libc::iovec; 2]) -> io::Result<*mut libc::mmsghdr> {
    let message = header.as_mut_ptr().cast::<libc::mmsghdr>();
    if header.len() != HEADER || !message.is_aligned() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    header.fill(0);
    // SAFETY: long enough and aligned (checked), initialised, and zeroes are a valid value of every field.
    let inner = unsafe { &mut (*message).msg_hdr };
    inner.msg_iov = pieces.as_mut_ptr();
    inner.msg_iovlen = pieces.len() as _;
    Ok(message)
}

fn moved(message: *mut libc::mmsghdr, mut call: impl FnMut() -> libc::c_int) -> io::Result<usize> {
    loop {
        if call() == 1 {
            // SAFETY: as in `prepare`.
            return Ok(unsafe { (*message).msg_len } as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// A header where nothing else is, aligned.
    #[repr(align(8))]
    struct Header([u8; HEADER]);

    fn noted(header: &Header) -> u32 {
        let at = LENGTH as usize;
        u32::from_ne_bytes(header.0[at..at + 4].try_into().expect("four"))
    }

    #[test]
    fn the_kernel_notes_what_it_moved() {
        let (mut near, far) = UnixStream::pair().expect("pair");
        let mut header = Header([0xff; HEADER]);
        let (mut a, mut b) = ([0; 5], [0; 9]);
        let nothing = receive(far.as_fd(), &mut header.0, &mut a, &mut b).expect_err("nothing there");
        assert_eq!((nothing.kind(), noted(&header)), (io::ErrorKind::WouldBlock, 0));
        near.write_all(b"eleven byte").expect("write");
        assert_eq!(
            receive(far.as_fd(), &mut header.0, &mut a, &mut b).expect("receive"),
            11
        );
        assert_eq!((&a, &b[..6], noted(&header)), (b"eleve", &b"n byte"[..], 11));
        assert_eq!(
            send(far.as_fd(), &mut header.0, b"four", b"teen more").expect("send"),
            13
        );
        assert_eq!(noted(&header), 13);
        let mut back = [0; 13];
        near.read_exact(&mut back).expect("read");
        assert_eq!(&back, b"fourteen more");
        drop(near);
        assert_eq!(receive(far.as_fd(), &mut header.0, &mut a, &mut b).expect("end"), 0);
        let broken = send(far.as_fd(), &mut header.0, b"x", b"").expect_err("nobody there");
        assert_eq!((broken.kind(), noted(&header)), (io::ErrorKind::BrokenPipe, 0));
        assert!(
            receive(far.as_fd(), &mut header.0[8..], &mut a, &mut b).is_err(),
            "too short"
        );
    }
}
