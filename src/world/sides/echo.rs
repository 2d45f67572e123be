//! Datagrams: the server sends each back, some more than once, and its queue is bounded.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::event::{Event, Sent};
use crate::id::ConnId;
use crate::manager::{Ctx, Net};
use crate::sim::{Rng, SimUdp};

use crate::world::Outcome;
use crate::world::play::{HERE, Scene, Side};
use crate::world::story::Promise;

/// A server of datagrams, and those who send them.
pub(crate) struct Echo {
    scene: Rc<Scene>,
    conn: Cell<Option<ConnId>>,
    senders: Vec<SimUdp>,
    /// Datagrams by sender, and what became of each.
    sent: RefCell<BTreeMap<(SocketAddr, Vec<u8>), Fate>>,
    /// What the queue had no room for.
    refused: Cell<u64>,
    /// `Drained` is owed.
    is_full: Cell<bool>,
    wakeups: Cell<u32>,
}

struct Fate {
    /// The network loses nothing.
    must_come: bool,
    /// How often it came to the server, was sent back, and came to its sender.
    came: u32,
    queued: u32,
    returned: u32,
}

impl Echo {
    pub(crate) fn listen(scene: &Rc<Scene>, net: &mut Net<'_, ()>) -> Result<Rc<Self>> {
        let sender = |n: u8| scene.sim.udp(([10, 0, 7, n], 7)).map_err(|e| Error::io("a sender", e));
        let senders = (0..3).map(sender).collect::<Result<_>>()?;
        let echo = Rc::new(Self {
            scene: scene.clone(),
            conn: Cell::new(None),
            senders,
            sent: RefCell::default(),
            refused: Cell::new(0),
            is_full: Cell::new(false),
            wakeups: Cell::new(0),
        });
        let serving = echo.clone();
        let handler = scene.handler(Side::Server, move |cx, event| serving.serve(cx, &event));
        let options = crate::ListenOptions::new(format!("udp://{HERE}:7"));
        let limits = crate::Limits::new().datagrams_max(8).turn_messages(4);
        echo.conn.set(Some(net.listen(options.limits(limits), handler)?));
        Ok(echo)
    }

    /// The server's socket.
    pub(crate) fn conn(&self) -> Option<ConnId> {
        self.conn.get()
    }

    pub(crate) fn sockets(&self) -> usize {
        self.senders.len()
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// How often a datagram may arrive: the network doubles it once at the most.
    fn copies(&self) -> u32 {
        1 + u32::from(self.scene.nature.doubles_datagrams)
    }

    /// What must have come when all is over.
    pub(crate) fn check(&self) -> Outcome {
        for ((from, _), fate) in self.sent.borrow().iter().filter(|(_, fate)| fate.must_come) {
            let Fate { came, queued, returned, .. } = *fate;
            if came == 0 || returned < queued {
                return Err(format!(
                    "of {from} it came {came} times, left {queued} times and came back {returned} times"
                ));
            }
        }
        if self.is_full.get() { Err("it was full, and Drained is owed".to_owned()) } else { Ok(()) }
    }

    /// Wakeups that have come to the server's socket.
    pub(crate) fn wakeups(&self) -> u32 {
        self.wakeups.get()
    }

    /// Somebody sends so many at once.
    pub(crate) fn ask(&self, count: usize, rng: &mut Rng) {
        let sender = rng.pick(&self.senders);
        let must_come = self.scene.is_well() || !self.scene.nature.loses_datagrams;
        for _ in 0..count {
            let len = rng.below(200);
            let data = [&rng.next_u64().to_be_bytes()[..], &rng.bytes(len)].concat();
            sender.send_to(&data, (HERE, 7));
            let fate = Fate { must_come, came: 0, queued: 0, returned: 0 };
            self.sent.borrow_mut().insert((sender.local_addr(), data), fate);
        }
    }

    fn serve(&self, cx: &mut Ctx<'_, ()>, event: &Event<'_>) {
        match event {
            Event::Datagram { from, data } => {
                let mut sent = self.sent.borrow_mut();
                let Some(fate) = sent.get_mut(&(*from, data.to_vec())) else {
                    return self.complain(format!("{} bytes come from {from}, which sent no such thing", data.len()));
                };
                fate.came += 1;
                if fate.came > self.copies() {
                    self.complain(format!("a datagram of {from} comes for the {}th time", fate.came));
                }
                for _ in 0..1 + data.len() % 3 {
                    let answer = cx.send_to(*from, data);
                    match answer {
                        Sent::Queued | Sent::High => fate.queued += 1,
                        Sent::Full => self.refused.set(self.refused.get() + 1),
                        Sent::Gone | Sent::Invalid => self.complain(format!("send_to answers {answer:?}")),
                    }
                    self.is_full.set(self.is_full.get() || matches!(answer, Sent::High | Sent::Full));
                }
            }
            Event::Drained if !self.is_full.replace(false) => self.complain("Drained, and it was not full".to_owned()),
            Event::Wakeup(bytes) => {
                let expected = self.wakeups.get();
                if *bytes != expected.to_be_bytes() {
                    let what = format!("{bytes:?} comes, not {:?}", expected.to_be_bytes());
                    self.scene.complain(Promise::Wakeups, what);
                }
                self.wakeups.set(expected + 1);
            }
            _ => {}
        }
    }

    /// The senders look at what has come back.
    pub(crate) fn take(&self) {
        for sender in &self.senders {
            while let Some((from, data)) = sender.take() {
                let (here, to) = (SocketAddr::from((HERE, 7)), sender.local_addr());
                match self.sent.borrow_mut().get_mut(&(to, data)) {
                    Some(fate) if from == here && fate.returned < fate.queued * self.copies() => fate.returned += 1,
                    Some(fate) => {
                        let (returned, queued) = (fate.returned + 1, fate.queued);
                        self.complain(format!(
                            "{to} gets from {from} for the {returned}th time what left {queued} times"
                        ));
                    }
                    None => self.complain(format!("{to} gets from {from} what it has not sent")),
                }
            }
        }
    }

    fn complain(&self, what: String) {
        self.scene.complain(Promise::Datagrams, what);
    }
}
