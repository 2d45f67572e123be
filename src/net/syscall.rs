//! The system calls of a stream in line: without a function that returns between them and the loop.
//!
//! A processor foretells where a function returns to. What it has noted for that is gone after a system call: the kernel's
//! own calls have pushed it out, and kernels that guard their returns against speculation (on AMD) leave wrong notes. So
//! each function that was entered before a system call and returns after it costs a wrong guess, which is dear: six of them
//! on the way of one request took 6 % of its time. Hence rustix where it issues the call itself, while std goes through
//! libc; and hence all that lies between the loop and a call to here is `inline(always)`. ARCHITECTURE.md has the figures.

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

    // A peer that is gone is an error, not a signal: no other part of the process has to see to that.

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

/// Where every call goes through libc anyway.
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
