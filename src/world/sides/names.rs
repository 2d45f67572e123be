//! A name server that is silent at times, and lookups of the server's.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use crate::dns::{Data, Flags, LookupError, Message, Name, Record, Soa};
use crate::error::{Error, Result};
use crate::manager::Net;
use crate::sim::{Rng, SimUdp};

use crate::world::play::{HERE, Scene};
use crate::world::story::Promise;

/// The name server, and what the server asks it.
pub(crate) struct Names {
    scene: Rc<Scene>,
    rng: RefCell<Rng>,
    socket: SimUdp,
    /// Somebody who answers what he was not asked.
    stranger: SimUdp,
    begun: Cell<usize>,
    told: Cell<usize>,
}

/// What the name server knows.
fn addr_of(name: &Name) -> Option<Option<Ipv4Addr>> {
    let name = name.to_string();
    let label = name.split('.').next().unwrap_or_default();
    match label {
        "web" => Some(Some(HERE)),
        // It exists, and has no address.
        "h4" => Some(None),
        "h0" | "h1" | "h2" | "h3" => Some(Some(Ipv4Addr::new(10, 1, 0, label.as_bytes()[1] - b'0'))),
        _ => None,
    }
}

impl Names {
    pub(crate) fn new(scene: &Rc<Scene>, rng: &mut Rng) -> Result<Self> {
        let socket = |ip: [u8; 4]| scene.sim.udp((ip, 53)).map_err(|e| Error::io("a name server", e));
        let (socket, stranger) = (socket([10, 0, 0, 53])?, socket([10, 0, 0, 66])?);
        Ok(Self {
            scene: scene.clone(),
            rng: RefCell::new(rng.fork()),
            socket,
            stranger,
            begun: Cell::new(0),
            told: Cell::new(0),
        })
    }

    pub(crate) fn sockets(&self) -> usize {
        2
    }

    pub(crate) fn are_over(&self) -> bool {
        self.begun.get() == self.told.get()
    }

    /// The name server's part.
    pub(crate) fn serve(&self) {
        while let Some((from, bytes)) = self.socket.take() {
            match Message::decode(&bytes) {
                Ok(query) if query.questions.len() == 1 => self.answer(from, &query),
                other => self.complain(format!("a query that is none: {other:?}")),
            }
        }
    }

    /// What the query was is known to whoever guesses it: not its number, or not from where it is answered.
    fn forge(&self, to: SocketAddr, query: &Message) {
        let asked = &query.questions[0];
        let mut message = Message { id: query.id, questions: query.questions.clone(), ..Message::default() };
        message.flags = Flags(Flags::RESPONSE | Flags::RECURSION_DESIRED | Flags::RECURSION_AVAILABLE);
        message.answers.push(Record::new(asked.name.clone(), 60, Data::A(FORGED)));
        self.say(&self.stranger, &message, to);
        message.id ^= 1 << self.rng.borrow_mut().below(16);
        self.say(&self.socket, &message, to);
    }

    fn say(&self, from: &SimUdp, message: &Message, to: SocketAddr) {
        match message.encode() {
            Some(bytes) => from.send_to(&bytes, to),
            None => self.complain(format!("an answer that cannot be said: {message:?}")),
        }
    }

    fn answer(&self, to: SocketAddr, query: &Message) {
        if self.scene.has_forgers() {
            self.forge(to, query);
        }
        if !self.scene.is_calm() && self.rng.borrow_mut().chance(0.1) {
            return;
        }
        let asked = &query.questions[0];
        let mut message = Message { id: query.id, questions: query.questions.clone(), ..Message::default() };
        message.flags = Flags(Flags::RESPONSE | Flags::RECURSION_DESIRED | Flags::RECURSION_AVAILABLE);
        let known = addr_of(&asked.name);
        if known.is_none() {
            message.flags.0 |= NO_SUCH_NAME;
        }
        match known.flatten().map(Data::A).filter(|data| data.rtype() == asked.rtype) {
            Some(data) => message.answers.push(Record::new(asked.name.clone(), 1, data)),
            None => {
                let soa = Soa { server: asked.name.clone(), mailbox: asked.name.clone(), numbers: [1; 4], minimum: 1 };
                message.authority.push(Record::new(asked.name.clone(), 1, Data::Soa(Box::new(soa))));
            }
        }
        self.say(&self.socket, &message, to);
    }

    /// The server looks a name up.
    pub(crate) fn look_up(self: &Rc<Self>, net: &mut Net<'_, ()>, number: usize) {
        let (me, name, must_come) = (self.clone(), format!("h{number}.lan"), self.scene.is_well());
        self.begun.set(self.begun.get() + 1);
        let asked = name.clone();
        let found = net.resolve(&name, move |_, result| {
            let _inside = me.scene.enter("a lookup");
            me.told.set(me.told.get() + 1);
            me.scene.tell(|| format!("{asked} is {result:?}"));
            let truth = asked.parse().ok().and_then(|name| addr_of(&name)).flatten().map(IpAddr::V4);
            let is_right = match &result {
                Ok(addrs) => !addrs.is_empty() && addrs.iter().all(|addr| Some(*addr) == truth),
                // That there is none is an answer as well; to hear none is a matter of the network.
                Err(e) => {
                    let says = |why: LookupError| e.to_string().ends_with(&why.to_string());
                    let says_none = says(LookupError::NoName) || says(LookupError::NoData);
                    if says_none { truth.is_none() } else { !must_come }
                }
            };
            if !is_right {
                me.complain(format!("{asked} is said to be {result:?}, and is {truth:?}"));
            }
            if me.told.get() > me.begun.get() {
                me.complain(format!("the lookup of {asked} ends twice"));
            }
        });
        if let Err(e) = found {
            self.told.set(self.told.get() + 1);
            self.complain(format!("{name} cannot be looked up: {e}"));
        }
    }

    fn complain(&self, what: String) {
        self.scene.complain(Promise::Names, what);
    }
}

/// Where nobody is.
const FORGED: Ipv4Addr = Ipv4Addr::new(10, 6, 6, 6);

/// NXDOMAIN, RFC 1035 §4.1.1.
const NO_SUCH_NAME: u16 = 3;
