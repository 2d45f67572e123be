//! The floor: what the kernel alone costs. One epoll loop that answers without looking at what is asked.
//!
//! Any read that ends in a blank line is answered with one fixed response for each blank line in it, in one write. A
//! server that reads the request, keeps limits and deadlines and calls a handler can only cost more.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::SystemTime;

use memchr::memmem;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use vansire_peers::{BODY, addr_argument, listen};

fn main() -> io::Result<()> {
    let listener = listen(addr_argument()?)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut server = Server::new(epoll);
    let mut events = Vec::<Event>::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&server.epoll, spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => server.accept(&listener)?,
                fd => server.serve(fd as usize, event.flags),
            }
        }
    }
}

struct Server {
    epoll: OwnedFd,
    /// Indexed by descriptor: 4 bytes are all that a connection costs here.
    connections: Vec<Option<OwnedFd>>,
    /// One buffer for all connections, as nothing is kept between two reads.
    buffer: Vec<u8>,
    /// `COPIES` responses in a row.
    responses: Vec<u8>,
    response_len: usize,
    blank_line: memmem::Finder<'static>,
}

impl Server {
    fn new(epoll: OwnedFd) -> Self {
        let date = httpdate::fmt_http_date(SystemTime::now());
        let response = format!(
            "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        Self {
            epoll,
            connections: Vec::new(),
            buffer: vec![0; 64 << 10],
            responses: response.repeat(COPIES).into_bytes(),
            response_len: response.len(),
            blank_line: memmem::Finder::new(BLANK_LINE),
        }
    }

    fn accept(&mut self, listener: &std::net::TcpListener) -> io::Result<()> {
        loop {
            let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(e) => return Err(e.into()),
            };
            let fd = socket.as_raw_fd() as usize;
            let interest = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.epoll, &socket, EventData::new_u64(fd as u64), interest)?;
            if self.connections.len() <= fd {
                self.connections.resize_with(fd + 1, || None);
            }
            self.connections[fd] = Some(socket);
        }
    }

    fn serve(&mut self, fd: usize, flags: EventFlags) {
        let Some(socket) = &self.connections[fd] else { return };
        let mut open = !flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        loop {
            let read = match recv(socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((len @ 1.., _)) => &self.buffer[..len],
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Ok((0, _)) | Err(_) => {
                    open = false;
                    break;
                }
            };
            if read.ends_with(BLANK_LINE) {
                let count = self.blank_line.find_iter(read).count();
                open &= self.answer(socket, count) && !read.ends_with(CLOSE);
            }
            // A short read means drained; the end of the stream comes as an event of its own.
            if read.len() < self.buffer.len() {
                break;
            }
        }
        if !open {
            self.connections[fd] = None;
        }
    }

    /// Sends `count` responses; false when the socket does not take them all, which no client of this comparison causes.
    fn answer(&self, socket: &OwnedFd, count: usize) -> bool {
        let mut left = count * self.response_len;
        while left > 0 {
            let part = &self.responses[..left.min(self.responses.len())];
            if send(socket, part, SendFlags::NOSIGNAL) != Ok(part.len()) {
                return false;
            }
            left -= part.len();
        }
        true
    }
}

const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 1024;
const COPIES: usize = 64;
const BLANK_LINE: &[u8] = b"\r\n\r\n";
const CLOSE: &[u8] = b"Connection: close\r\n\r\n";
