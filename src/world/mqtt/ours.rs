//! A client of the library, whose session lasts and which comes back by itself.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::mqtt::{ClientOptions, Failure, Publish, QoS, ReasonCode, Reconnect, Token, Version, Will};
use crate::sim::Rng;
use crate::{Address, CloseReason, ConnId, ConnectOptions, Ctx, Event, Net};

use super::model::number_of;
use super::plain::random_qos;
use super::users::random_friend;
use super::{FILTERS, HERE, Stage, random_subscription};
use crate::world::play::Side;
use crate::world::{Outcome, Promise, up_to};

pub(crate) type Shared = Rc<RefCell<Ours>>;

pub(crate) struct Ours {
    stage: Rc<Stage>,
    rng: Rng,
    version: Version,
    ip: Ipv4Addr,
    steps: usize,
    conn: Option<ConnId>,
    addr: Option<SocketAddr>,
    is_in: bool,
    /// What is under way: messages by their numbers, and what was asked.
    tokens: BTreeMap<Token, Option<u32>>,
}

impl Ours {
    pub(crate) fn start(net: &mut Net<'_, ()>, stage: &Rc<Stage>, at: usize, rng: &mut Rng) -> crate::Result<Shared> {
        let version = *rng.pick(&[Version::Mqtt311, Version::Mqtt5]);
        let me = Rc::new(RefCell::new(Self {
            stage: stage.clone(),
            version,
            ip: Ipv4Addr::new(10, 0, 2, at as u8),
            steps: if stage.is_planned { 0 } else { 2 + rng.below(8) },
            rng: rng.fork(),
            conn: None,
            addr: None,
            is_in: false,
            tokens: BTreeMap::new(),
        }));
        let mut options = ClientOptions::new()
            .version(version)
            .client_id(format!("o{at}"))
            .clean_start(false)
            .session_expiry(Duration::from_secs(86_400))
            .keep_alive(Duration::from_secs(10))
            .connack_timeout(Duration::from_secs(5))
            .reconnect(Reconnect { min: Duration::from_millis(100), max: Duration::from_secs(3) });
        if let Some(user) = random_friend(rng).filter(|_| stage.has_rules) {
            options = options.username(user);
        }
        if rng.chance(0.5) {
            let payload = stage.number().to_string();
            let will = Will { qos: random_qos(rng), ..Will::new("w/a", payload.as_bytes()) };
            options = options.will(&will).unwrap_or_default();
        }
        let mine = me.clone();
        let handler = stage.watched(Side::Clients, move |cx: &mut Ctx<'_, ()>, event: Event<'_>| {
            let mut ours = mine.borrow_mut();
            if let Err(what) = ours.hear(cx, &event) {
                let what = format!("o{at}: {what}");
                ours.stage.complain(Promise::MqttClient, what);
            }
        });
        let to = ConnectOptions::new(format!("mqtt://{HERE}:1883")).local_addr((me.borrow().ip, 0));
        let conn = net.mqtt_connect(to.timeout(Duration::from_secs(5)), options, handler)?;
        me.borrow_mut().conn = Some(conn);
        again(net, &me);
        Ok(me)
    }

    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Does something that a plan says.
    pub(crate) fn act_once(&mut self, net: &mut Net<'_, ()>, seed: u64) {
        self.rng = Rng::new(seed);
        self.act(net);
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.is_in && self.tokens.is_empty()
    }

    /// Where it is.
    pub(crate) fn state(&self) -> String {
        format!("our client at {}: let in {}, under way: {:?}", self.ip, self.is_in, self.tokens)
    }

    fn hear(&mut self, cx: &mut Ctx<'_, ()>, event: &Event<'_>) -> Outcome {
        match event {
            Event::MqttOpened(_) => {
                self.is_in = true;
                self.addr = match cx.net.local_addr(cx.conn) {
                    Some(Address::Inet(addr)) => Some(addr),
                    _ => None,
                };
            }
            Event::MqttMessage(message, _) => {
                let number = number_of(message.payload).ok_or("a payload that nobody has sent")?;
                self.stage.see(self.addr, number, message.topic.to_owned(), message);
            }
            Event::MqttDelivered { token, .. } => {
                let number = self.end(*token)?.ok_or("a subscription is delivered")?;
                self.stage.acked.borrow_mut().push(number);
            }
            Event::MqttSubscribed { token, .. } | Event::MqttUnsubscribed { token, .. } => {
                if let Some(number) = self.end(*token)? {
                    return Err(format!("message {number} is subscribed"));
                }
            }
            Event::MqttFailed { token, why } => match (self.end(*token)?, why) {
                (Some(number), Failure::Refused(ReasonCode::NotAuthorized)) => {
                    self.stage.refused.borrow_mut().push(number);
                }
                // Its session lasts, its queue has room, and nothing that it says can grow old.
                (what, why) => return Err(format!("{what:?} has failed: {why}")),
            },
            Event::MqttLost { .. } => self.is_in = false,
            Event::Closed(CloseReason::Stopped) => {}
            Event::Closed(reason) => return Err(format!("it is over: {reason}")),
            _ => {}
        }
        Ok(())
    }

    /// What was under way, which ends once.
    fn end(&mut self, token: Token) -> Result<Option<u32>, String> {
        self.tokens.remove(&token).ok_or_else(|| format!("{token:?} ends a second time"))
    }

    fn act(&mut self, net: &mut Net<'_, ()>) {
        let Some(conn) = self.conn else { return };
        let rng = &mut self.rng;
        // What it refuses to say, or has no room for, is not said.
        match rng.below(10) {
            0..3 => {
                let asked = net.subscribe(conn, &[random_subscription(rng, self.version)]);
                self.tokens.extend(asked.map(|token| (token, None)));
            }
            3 => {
                let asked = net.unsubscribe(conn, &[*rng.pick(&FILTERS)]);
                self.tokens.extend(asked.map(|token| (token, None)));
            }
            _ => {
                for _ in 0..=rng.below(3) {
                    let (qos, retain, number) = (random_qos(rng), rng.chance(0.2), self.stage.number());
                    // What waits while it is away has no bound in time.
                    if qos == QoS::AtMostOnce && !self.is_in {
                        continue;
                    }
                    let payload = self.stage.payload(number);
                    let publish = Publish { qos, retain, ..Publish::new(self.stage.topic(rng), &payload) };
                    if let Ok(Some(token)) = net.publish(conn, &publish) {
                        self.tokens.insert(token, Some(number));
                    }
                }
            }
        }
    }
}

fn again(net: &mut Net<'_, ()>, me: &Shared) {
    let wait = up_to(&mut me.borrow_mut().rng, 4000);
    let me = me.clone();
    net.timer_after(wait, move |cx| {
        let mut ours = me.borrow_mut();
        if ours.stage.is_calm.get() || ours.steps == 0 {
            return;
        }
        ours.steps -= 1;
        ours.act(&mut cx.net);
        drop(ours);
        again(&mut cx.net, &me);
    });
}
