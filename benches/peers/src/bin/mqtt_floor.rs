//! The floor under MQTT brokers: a relay in one epoll loop that cuts the stream into packets and decides nothing.
//!
//! Whoever subscribes, to whatever, is sent the bytes of every PUBLISH from then on; acknowledgements of QoS 1 and 2 are
//! answered by their type, each side by itself. No topics, no sessions, no retained messages, no limits: a broker can only
//! cost more.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use vansire_peers::{addr_argument, listen};

fn main() -> io::Result<()> {
    let listener = listen(addr_argument()?)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut relay =
        Relay { epoll, clients: Vec::new(), subscribers: Vec::new(), dirty: Vec::new(), buffer: vec![0; READ] };
    let mut events = Vec::<Event>::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&relay.epoll, spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => relay.accept(&listener)?,
                fd => relay.serve(fd as usize, event.flags),
            }
        }
        relay.flush();
    }
}

struct Relay {
    epoll: OwnedFd,
    /// Indexed by descriptor.
    clients: Vec<Option<Client>>,
    subscribers: Vec<usize>,
    /// Those with output that has not been tried to send.
    dirty: Vec<usize>,
    buffer: Vec<u8>,
}

struct Client {
    socket: OwnedFd,
    /// The beginning of a packet whose end has not come.
    rest: Vec<u8>,
    output: Vec<u8>,
    is_dirty: bool,
}

impl Relay {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(e) => return Err(e.into()),
            };
            let fd = socket.as_raw_fd() as usize;
            let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.epoll, &socket, EventData::new_u64(fd as u64), interest)?;
            if self.clients.len() <= fd {
                self.clients.resize_with(fd + 1, || None);
            }
            self.clients[fd] = Some(Client { socket, rest: Vec::new(), output: Vec::new(), is_dirty: false });
        }
    }

    fn serve(&mut self, fd: usize, flags: EventFlags) {
        let mut open = !flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(client) = &mut self.clients[fd] {
            let kept = client.rest.len();
            buffer[..kept].copy_from_slice(&client.rest);
            let len = match recv(&client.socket, &mut buffer[kept..], RecvFlags::empty()) {
                Ok((len @ 1.., _)) => len,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    if !client.output.is_empty() {
                        self.touch(fd);
                    }
                    break;
                }
                Ok((0, _)) | Err(_) => {
                    open = false;
                    break;
                }
            };
            let input = &buffer[..kept + len];
            let Some(used) = self.relay(fd, input) else {
                open = false;
                break;
            };
            if let Some(client) = &mut self.clients[fd] {
                client.rest.clear();
                client.rest.extend_from_slice(&input[used..]);
            }
            // A short read means drained; the end of the stream comes as an event of its own.
            if kept + len < buffer.len() {
                break;
            }
        }
        self.buffer = buffer;
        if !open {
            self.subscribers.retain(|&subscriber| subscriber != fd);
            self.clients[fd] = None;
        }
    }

    /// Acts on the whole packets in `input` and says how many bytes they take; `None`: the client takes its leave, or sends
    /// what is too large or no packet.
    fn relay(&mut self, fd: usize, input: &[u8]) -> Option<usize> {
        let mut at = 0;
        // Messages in a row go on in one piece.
        let mut run = 0..0;
        while let Some(packet) = packet(&input[at..])? {
            let start = at;
            at += packet.len();
            if packet[0] >> 4 == PUBLISH {
                if run.end != start {
                    self.forward(&input[run]);
                    run = start..start;
                }
                run.end = at;
                let qos = packet[0] >> 1 & 3;
                if qos > 0 {
                    let reply = if qos == 1 { PUBACK } else { PUBREC };
                    self.reply(fd, &acknowledge(reply, published_id(packet)?));
                }
                continue;
            }
            match packet[0] {
                CONNECT => self.reply(fd, &[0x20, 2, 0, 0]),
                SUBSCRIBE => {
                    // One filter in each, whose quality comes last.
                    let (id, qos) = (packet.get(2..4)?, *packet.last()?);
                    self.reply(fd, &[0x90, 3, id[0], id[1], qos]);
                    if !self.subscribers.contains(&fd) {
                        self.subscribers.push(fd);
                    }
                }
                PUBREC => self.reply(fd, &acknowledge(PUBREL, packet.get(2..4)?)),
                PUBREL => self.reply(fd, &acknowledge(PUBCOMP, packet.get(2..4)?)),
                PINGREQ => self.reply(fd, &[0xd0, 0]),
                PUBACK | PUBCOMP => {}
                _ => return None,
            }
        }
        self.forward(&input[run]);
        Some(at)
    }

    fn forward(&mut self, messages: &[u8]) {
        if messages.is_empty() {
            return;
        }
        for index in 0..self.subscribers.len() {
            self.reply(self.subscribers[index], messages);
        }
    }

    fn reply(&mut self, fd: usize, bytes: &[u8]) {
        if let Some(Some(client)) = self.clients.get_mut(fd) {
            client.output.extend_from_slice(bytes);
            self.touch(fd);
        }
    }

    fn touch(&mut self, fd: usize) {
        if let Some(Some(client)) = self.clients.get_mut(fd)
            && !client.is_dirty
        {
            client.is_dirty = true;
            self.dirty.push(fd);
        }
    }

    /// One write for each client that has output. What the socket does not take waits until it is writable.
    fn flush(&mut self) {
        for fd in self.dirty.drain(..) {
            let Some(Some(client)) = self.clients.get_mut(fd) else { continue };
            client.is_dirty = false;
            match send(&client.socket, &client.output, SendFlags::NOSIGNAL) {
                Ok(len) if len == client.output.len() => {
                    client.output.clear();
                    if client.output.capacity() > OUTPUT_KEPT {
                        client.output = Vec::new();
                    }
                }
                Ok(len) => drop(client.output.drain(..len)),
                // A client that is gone has an event of its own.
                Err(_) => {}
            }
        }
    }
}

/// The packet at the start of the input; `Some(None)`: more has to come; `None`: it is none, or too large.
fn packet(input: &[u8]) -> Option<Option<&[u8]>> {
    let (mut len, mut at) = (0, 1);
    loop {
        let Some(&byte) = input.get(at) else { return Some(None) };
        len |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte < 0x80 {
            break;
        }
        if at == 5 {
            return None;
        }
    }
    if at + len > READ { None } else { Some(input.get(..at + len)) }
}

/// The bytes of the packet identifier, behind the topic.
fn published_id(packet: &[u8]) -> Option<&[u8]> {
    let topic = 1 + packet[1..].iter().position(|&byte| byte < 0x80)? + 1;
    let id = topic + 2 + usize::from(u16::from_be_bytes([*packet.get(topic)?, *packet.get(topic + 1)?]));
    packet.get(id..id + 2)
}

fn acknowledge(first: u8, id: &[u8]) -> [u8; 4] {
    [first, 2, id[0], id[1]]
}

const PUBLISH: u8 = 3;
/// First bytes of the others.
const CONNECT: u8 = 0x10;
const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;
const SUBSCRIBE: u8 = 0x82;
const PINGREQ: u8 = 0xc0;

const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 1024;
/// What is read at once, and the largest packet.
const READ: usize = 256 << 10;
/// An output buffer that grew beyond this is given back when it is empty.
const OUTPUT_KEPT: usize = 1 << 20;
