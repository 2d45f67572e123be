//! The system calls of a stream in line: without a function that returns between them and the loop.
//!
//! A function that was entered before a system call and returns after it costs far more than a return does elsewhere: those
//! that lay there, some six, took a third of a microsecond a request, of five. A processor guesses where a function returns to
//! from the calls that it has seen, and the kernel makes many, which some kernels on AMD also guard against being guessed.
//! Hence rustix where it makes the call itself, while std goes through libc; and hence all that lies between the loop and here
//! is `inline(always)`. ARCHITECTURE.md has the figures.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::io::{self, IoSlice};
    use std::os::fd::AsFd;

    use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

    #[inline(always)]
    pub(crate) fn recv(socket: &impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
        let (n, _) = rustix::net::recv(socket, buf, RecvFlags::empty())?;
        Ok(n)
    }

    // Here a peer that is gone is an error, never a signal, also where a host in another language has not ignored SIGPIPE, as
    // Rust's runtime does. `sendfile` cannot be told so.

    #[inline(always)]
    pub(crate) fn send(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)
    }

    #[inline(always)]
    pub(crate) fn send_vectored(socket: &impl AsFd, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::net::sendmsg(socket, parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?)
    }

    /// As [`send`], where more follows at once: the system may wait for it to fill a packet.
    #[cfg(feature = "static")]
    #[inline(always)]
    pub(crate) fn send_more(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(socket, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?)
    }
}

/// Where rustix has no calls of its own, and std's are as good.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use std::io::{self, IoSlice, Read, Write};

    pub(crate) fn recv<S>(mut socket: &S, buf: &mut [u8]) -> io::Result<usize>
    where
        for<'a> &'a S: Read,
    {
        socket.read(buf)
    }

    pub(crate) fn send<S>(mut socket: &S, bytes: &[u8]) -> io::Result<usize>
    where
        for<'a> &'a S: Write,
    {
        socket.write(bytes)
    }

    pub(crate) fn send_vectored<S>(mut socket: &S, parts: &[IoSlice<'_>]) -> io::Result<usize>
    where
        for<'a> &'a S: Write,
    {
        socket.write_vectored(parts)
    }
}

pub(crate) use imp::*;
