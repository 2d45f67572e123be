//! What must hold for every connection, whatever its handlers do: invariants 2 and 3.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::event::{CloseReason, Event};
use crate::id::ConnId;
use crate::manager::Ctx;

use super::Outcome;

/// Watches the events of all connections of a manager.
#[derive(Debug, Clone, Default)]
pub struct Lives(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    seen: BTreeMap<ConnId, Life>,
    open: usize,
    broken: Vec<String>,
}

#[derive(Debug, Default)]
struct Life {
    events: u64,
    connected: bool,
    closed: Option<CloseReason>,
}

impl Lives {
    /// To be called with every event, before anything else is done with it.
    pub fn see<S>(&self, cx: &Ctx<'_, S>, event: &Event<'_>) {
        let inner = &mut *self.0.borrow_mut();
        let id = cx.conn;
        let life = inner.seen.entry(id).or_default();
        let what = match (event, life.events, &life.closed) {
            (Event::Opened, 0, None) => {
                inner.open += 1;
                None
            }
            (Event::Opened, _, _) => Some("Opened twice"),
            (_, 0, _) => Some("not Opened first"),
            (_, _, Some(_)) => Some("told after Closed"),
            (Event::Connected, _, _) if std::mem::replace(&mut life.connected, true) => Some("Connected twice"),
            (Event::MqttLost { .. }, ..) => {
                life.connected = false;
                None
            }
            (Event::Closed(reason), _, None) => {
                inner.open -= 1;
                life.closed = Some(reason.clone());
                None
            }
            _ => None,
        };
        life.events += 1;
        if let Some(what) = what {
            inner.broken.push(format!("{id}: {what} ({})", event.name()));
        }
    }

    /// Remembers what a handler found wrong: a panic there would only close its connection.
    pub fn complain(&self, what: String) {
        self.0.borrow_mut().broken.push(what);
    }

    /// Connections that are open, as far as their handlers know.
    pub fn open(&self) -> usize {
        self.0.borrow().open
    }

    pub fn closed(&self, id: ConnId) -> Option<CloseReason> {
        self.0.borrow().seen.get(&id)?.closed.clone()
    }

    /// Nothing was found wrong so far.
    pub fn check(&self) -> Outcome {
        match self.0.borrow().broken.first() {
            Some(what) => Err(what.clone()),
            None => Ok(()),
        }
    }

    /// Nothing was found wrong, and everything that was opened is closed: to be asked when the manager is gone.
    pub fn check_all_over(&self) -> Outcome {
        self.check()?;
        let inner = self.0.borrow();
        match inner.seen.iter().find(|(_, life)| life.closed.is_none()) {
            Some((id, _)) => Err(format!("{id} was opened and never closed")),
            None => Ok(()),
        }
    }
}
