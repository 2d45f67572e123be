//! What the system notes of datagrams: when they came, however late they are read, and to which of the machine's addresses, from which
//! their answers have to leave. On Linux; elsewhere nobody does.

use std::net::IpAddr;
use std::time::Duration;

pub(super) use self::system::{enable, recv_from, send_from};

/// What is known of a datagram besides its sender; nothing where nobody noted it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noted {
    /// How long ago it came.
    pub(crate) age: Option<Duration>,
    /// The address that it was sent to, where the socket has more than one.
    pub(crate) to: Option<IpAddr>,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
    use std::os::fd::AsRawFd;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use mio::net::UdpSocket;
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
    use socket2::{MsgHdr, SockAddr, SockRef};

    use super::Noted;

    /// Room for the notes, where the system's headers may lie.
    #[repr(align(16))]
    struct Notes([u8; 128]);

    /// A note says that it was made longer ago than that: the system's clock was set meanwhile.
    const AGE_MAX: Duration = Duration::from_secs(10);

    /// Has the system note when datagrams come, and to where, if the socket is bound to every address.
    pub(in crate::net) fn enable(socket: &UdpSocket) -> io::Result<()> {
        setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
        match socket.local_addr()? {
            SocketAddr::V4(local) if local.ip().is_unspecified() => {
                setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
            }
            SocketAddr::V6(local) if local.ip().is_unspecified() => {
                setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Receives a datagram, and what was noted of it.
    pub(in crate::net) fn recv_from(socket: &UdpSocket, buf: &mut [u8]) -> io::Result<(usize, SocketAddr, Noted)> {
        let mut notes = Notes([0; 128]);
        let mut parts = [IoSliceMut::new(buf)];
        let received =
            recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut notes.0), MsgFlags::empty())?;
        let from = received.address.as_ref().and_then(addr).ok_or(io::ErrorKind::InvalidData)?;
        let mut noted = Noted::default();
        for note in received.cmsgs().into_iter().flatten() {
            match note {
                ControlMessageOwned::ScmTimestampns(at) => {
                    let at = u64::try_from(at.tv_sec()).ok().zip(u32::try_from(at.tv_nsec()).ok());
                    let at = at.and_then(|(seconds, nanos)| UNIX_EPOCH.checked_add(Duration::new(seconds, nanos)));
                    let age = at.and_then(|at| SystemTime::now().duration_since(at).ok());
                    noted.age = age.filter(|age| *age <= AGE_MAX);
                }
                // Of what is sent to many, the address that the system would answer from.
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    noted.to = Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into());
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    let to = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    noted.to = (!to.is_multicast()).then_some(to.into());
                }
                _ => {}
            }
        }
        Ok((received.bytes, from, noted))
    }

    /// Sends a datagram from one of the addresses of a socket that is bound to all.
    pub(in crate::net) fn send_from(
        socket: &UdpSocket,
        data: &[u8],
        to: SocketAddr,
        from: IpAddr,
    ) -> io::Result<usize> {
        let mut note = [0; NOTE_MAX];
        let note = note_of(from, &mut note);
        let (to, parts) = (SockAddr::from(to), [IoSlice::new(data)]);
        let message = MsgHdr::new().with_addr(&to).with_buffers(&parts).with_control(note);
        SockRef::from(socket).sendmsg(&message, 0)
    }

    /// The header of a note: its length, what it is about, and what it says (`cmsg(3)`).
    const HEADER_LEN: usize = size_of::<usize>() + 8;
    /// A header, an IPv6 address and the number of an interface.
    const NOTE_MAX: usize = HEADER_LEN + 20;

    /// Has the system send from an address: an `in_pktinfo` of `ip(7)`, or an `in6_pktinfo` of RFC 3542 §6.2. nix writes these as well,
    /// but allocates for each.
    fn note_of(from: IpAddr, note: &mut [u8; NOTE_MAX]) -> &[u8] {
        let (level, kind, len) = match from {
            IpAddr::V4(from) => {
                // The interface, which the routes tell, the address, and that of the header, which is not read.
                note[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&from.octets());
                (libc::IPPROTO_IP, libc::IP_PKTINFO, HEADER_LEN + 12)
            }
            IpAddr::V6(from) => {
                note[HEADER_LEN..HEADER_LEN + 16].copy_from_slice(&from.octets());
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, HEADER_LEN + 20)
            }
        };
        note[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
        note[size_of::<usize>()..][..4].copy_from_slice(&level.to_ne_bytes());
        note[size_of::<usize>() + 4..][..4].copy_from_slice(&kind.to_ne_bytes());
        &note[..len]
    }

    fn addr(storage: &SockaddrStorage) -> Option<SocketAddr> {
        let v4 = storage.as_sockaddr_in().map(|addr| SocketAddr::V4(SocketAddrV4::from(*addr)));
        v4.or_else(|| storage.as_sockaddr_in6().map(|addr| SocketAddr::V6(SocketAddrV6::from(*addr))))
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::io;
    use std::net::{IpAddr, SocketAddr};

    use mio::net::UdpSocket;

    use super::Noted;

    pub(in crate::net) fn enable(_: &UdpSocket) -> io::Result<()> {
        Ok(())
    }

    pub(in crate::net) fn recv_from(socket: &UdpSocket, buf: &mut [u8]) -> io::Result<(usize, SocketAddr, Noted)> {
        socket.recv_from(buf).map(|(n, from)| (n, from, Noted::default()))
    }

    pub(in crate::net) fn send_from(socket: &UdpSocket, data: &[u8], to: SocketAddr, _: IpAddr) -> io::Result<usize> {
        socket.send_to(data, to)
    }
}
