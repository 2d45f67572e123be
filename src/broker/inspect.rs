//! Looking into a broker page by page, in an order that stays the same while clients come and go.

use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::rc::Rc;

use crate::proto::mqtt::{Filter, QoS, TopicError};
use crate::time::Moment;

use super::admin::ClientInfo;
use super::core::Core;
use super::message::Message;

/// A subscription of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionInfo {
    /// The client identifier.
    pub client: Box<str>,
    /// The filter, with `$share/group/` where it is shared.
    pub filter: Box<str>,
    /// The best quality that it is sent at.
    pub qos: QoS,
}

/// A page of the retained messages that a filter matches.
#[derive(Debug)]
#[non_exhaustive]
pub struct RetainedPage {
    /// In the order of their topics.
    pub messages: Vec<Rc<Message>>,
    /// The topic after which the next page begins; `None`: there is no more.
    pub next: Option<Box<str>>,
}

/// Topics that are looked at for a page of retained messages, as [`Retained::walk`](super::retained::Retained::walk) counts them: some
/// 5 ms.
pub(super) const STEPS: usize = 32 * 1024;

impl Core {
    pub(super) fn retained_page(
        &self,
        filter: &str,
        after: Option<&str>,
        max: usize,
        mut steps: usize,
    ) -> Result<RetainedPage, TopicError> {
        Filter::parse(filter)?;
        let mut messages = Vec::new();
        if max == 0 {
            return Ok(RetainedPage { messages, next: after.map(Into::into) });
        }
        let stopped = self.retained.walk(filter, after, &mut steps, |message: &Rc<Message>| {
            messages.push(Rc::clone(message));
            if messages.len() < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let last = messages.last().filter(|_| messages.len() == max).map(|last| last.topic());
        let next = stopped.or(last).map(Into::into);
        Ok(RetainedPage { messages, next })
    }

    pub(super) fn clients_page(&self, after: Option<&str>, max: usize, now: Moment) -> Vec<ClientInfo> {
        let ids = self.sessions.iter().map(|session| &*session.id).filter(|id| after.is_none_or(|after| *id > after));
        smallest(ids, max).into_iter().filter_map(|id| self.client(id, now)).collect()
    }

    pub(super) fn subscriptions_page(
        &self,
        of: Option<&str>,
        after: Option<(&str, &str)>,
        max: usize,
    ) -> Vec<SubscriptionInfo> {
        let sessions = self.sessions.iter().filter(|session| of.is_none_or(|of| *session.id == *of));
        let all = sessions.flat_map(|session| session.subscriptions.iter().map(|filter| (&*session.id, filter)));
        let page = smallest(all.filter(|found| after.is_none_or(|after| *found > after)), max);
        let info = |(client, filter): (&str, &str)| {
            let qos = self.subscribed_qos(client, filter).unwrap_or_default();
            SubscriptionInfo { client: client.into(), filter: filter.into(), qos }
        };
        page.into_iter().map(info).collect()
    }

    fn subscribed_qos(&self, client: &str, filter: &str) -> Option<QoS> {
        let who = self.sessions.find(client)?;
        let filter = Filter::parse(filter).ok()?;
        let wanted = match filter.group {
            None => *self.subscriptions.get(filter.levels, who)?,
            Some(group) => self.shares.wanted(group, filter.levels, who)?,
        };
        Some(wanted.qos())
    }
}

/// The smallest ones in their order: `max` at most, and no memory for the others.
fn smallest<T: Ord>(all: impl Iterator<Item = T>, max: usize) -> Vec<T> {
    let mut heap = BinaryHeap::new();
    for item in all {
        if heap.len() < max {
            heap.push(item);
        } else if let Some(mut largest) = heap.peek_mut()
            && item < *largest
        {
            *largest = item;
        }
    }
    heap.into_sorted_vec()
}

#[cfg(test)]
mod tests {
    use super::smallest;

    #[test]
    fn a_page_has_the_smallest_in_order() {
        let all = [5, 3, 9, 1, 7];
        for (max, expected) in [(0, &[][..]), (1, &[1]), (3, &[1, 3, 5]), (9, &[1, 3, 5, 7, 9])] {
            assert_eq!(smallest(all.into_iter(), max), expected, "{max}");
        }
    }
}
