//! Cancel safety, swept: every call, and whole stories of calls, dropped after each of their polls, by an executor that is driven by hand.

use std::sync::Arc;

use vansire::aio::{Conn, Handle, HttpClient, MqttClient, MqttMessages, Overflow, SntpClient};
use vansire::broker::{Broker, Options};
use vansire::http::Request;
use vansire::mqtt::{ClientOptions, Publish, QoS};
use vansire::{AsyncManager, Ctx, Event};

use crate::mqtt_peer::{q1, sub};
use crate::support::{Blocker, Hand, addr, counter, hello, ms, nothing, until};

/// What has to be as it was after each call that was dropped.
struct World {
    /// Has one place for commands: one that is not given back is missed at once.
    near: AsyncManager<u64>,
    far: AsyncManager<u64>,
    _servers: [Conn; 2],
    /// Of `near` and `far`.
    gates: [Gate; 2],
    means: Means,
    /// A stream that stays.
    stream: MqttMessages,
    /// Connections on `near` and `far`.
    open: (usize, usize),
}

/// What the calls use.
#[derive(Clone)]
struct Means {
    near: Handle<u64>,
    http: String,
    mqtt: String,
    sntp: String,
    /// A client that stays.
    kept: MqttClient<u64>,
    /// Whatever a call is given holds it.
    life: Arc<()>,
}

impl Means {
    fn handler(&self) -> impl FnMut(&mut Ctx<'_, u64>, Event<'_>) + Send + use<> {
        let life = Arc::clone(&self.life);
        move |_: &mut Ctx<'_, u64>, _: Event<'_>| _ = &life
    }
}

impl World {
    async fn new() -> Self {
        let far = counter().start().await.unwrap();
        let http = far.listen("http://127.0.0.1:0", hello).await.unwrap();
        let broker = far.mqtt_listen("mqtt://127.0.0.1:0", |_| Broker::new(Options::new())).await.unwrap();
        let sntp = far.with(|cx| {
            let id = cx.net.sntp_listen("sntp://127.0.0.1:0", nothing).unwrap();
            format!("sntp://{}", cx.net.local_addr(id).unwrap())
        });
        let sntp = sntp.await.unwrap();
        let near = counter().commands(1).start().await.unwrap();
        let gates = [Gate::new(&near).await, Gate::new(&far).await];
        let mqtt = format!("mqtt://{}", addr(&broker));
        let kept = MqttClient::connect(&near, &mqtt, ClientOptions::new()).await.unwrap();
        let stream = kept.subscribe(sub("kept"), 10, Overflow::Pause).await.unwrap();
        let http_url = format!("http://{}/", addr(&http));
        let means = Means { near: near.handle(), http: http_url, mqtt, sntp, kept, life: Arc::new(()) };
        let mut world = Self { near, far, _servers: [http, broker], gates, means, stream, open: (0, 0) };
        world.open = world.count().await;
        world
    }

    async fn count(&self) -> (usize, usize) {
        let count = async |manager: &AsyncManager<u64>| manager.with(|cx| cx.net.connection_count()).await.unwrap();
        (count(&self.near).await, count(&self.far).await)
    }

    /// Nothing is left, and nothing is closed that should stay.
    async fn check(&mut self) {
        while self.count().await != self.open || Arc::strong_count(&self.means.life) > 1 {
            tokio::task::yield_now().await;
        }
        self.means.kept.publish(&q1("kept", "")).await.unwrap();
        assert_eq!(self.stream.next().await.unwrap().topic(), "kept");
    }

    /// Drops a call after one poll, after two, and so on, each time before and after it was woken again, until it comes to its end,
    /// which takes so many polls at least. Both loops stand still during each poll, so that whatever is sent has to be waited for, and
    /// during the first one there is no place either.
    async fn sweep(&mut self, name: &str, least: usize, call: impl AsyncFn(Means)) {
        for polls in 1..1000 {
            for is_woken in [false, true] {
                let mut hand = Hand::new(call(self.means.clone()));
                self.gates.iter().for_each(Gate::close);
                self.near.post(|_| ()).unwrap();
                let mut is_done = hand.poll().is_ready();
                for n in 1..polls {
                    if !is_done {
                        self.wake(name, &hand, n);
                        is_done = hand.poll().is_ready();
                    }
                }
                if is_woken && !is_done {
                    self.wake(name, &hand, polls);
                }
                drop(hand);
                self.gates.iter().for_each(Gate::open);
                let checked = tokio::time::timeout(crate::common::DEADLINE, self.check()).await;
                assert!(checked.is_ok(), "{name}, dropped after {polls} polls, left something");
                if is_done {
                    assert!(polls >= least, "{name}: its end came after {polls} polls");
                    return;
                }
            }
        }
        panic!("{name} comes to no end");
    }

    /// Lets the near loop do what it was sent; if nobody is woken by that, the far one has its turn.
    fn wake<F: Future>(&self, name: &str, hand: &Hand<F>, n: usize) {
        let [near, far] = &self.gates;
        near.open();
        near.close();
        if hand.wakes() < n {
            far.open();
            near.open();
            until(&format!("{name}, polled {n} times, to be woken"), || hand.wakes() >= n);
            near.close();
            far.close();
        }
    }
}

/// Has a loop stand still. It takes no place.
struct Gate {
    listener: Conn,
    blocker: Blocker,
}

impl Gate {
    async fn new(manager: &AsyncManager<u64>) -> Self {
        let (blocker, block) = Blocker::new();
        let handler = move |_: &mut Ctx<'_, u64>, ev: Event<'_>| {
            if let Event::Wakeup(_) = ev {
                block();
            }
        };
        Self { listener: manager.listen("tcp://127.0.0.1:0", handler).await.unwrap(), blocker }
    }

    fn close(&self) {
        self.listener.wakeup(b"").unwrap();
        self.blocker.wait_until_inside();
    }

    fn open(&self) {
        self.blocker.release();
    }
}

/// It waits at least for a place and for its answer: three polls.
#[test]
fn every_call_may_be_dropped_at_every_point_and_leaves_nothing() {
    sweep_on_each_runtime(async |world| {
        world.sweep("with", 3, async |m| drop(m.near.with(move |_| m.life).await.unwrap())).await;
        world.sweep("submit", 2, async |m| m.near.submit(move |_| drop(m.life)).await.unwrap()).await;
        world.sweep("stats", 3, async |m| assert_eq!(m.near.stats().await.unwrap().handler_panics, 0)).await;
        world.sweep("listen", 3, async |m| drop(m.near.listen("tcp://127.0.0.1:0", m.handler()).await.unwrap())).await;
        let connect = async |m: Means| {
            let to = m.http.replace("http", "tcp");
            drop(m.near.connect(to, m.handler()).await.unwrap());
        };
        world.sweep("connect", 3, connect).await;
        let http_connect = async |m: Means| drop(m.near.http_connect(&*m.http, m.handler()).await.unwrap());
        world.sweep("http_connect", 3, http_connect).await;
        let mqtt_connect =
            async |m: Means| drop(m.near.mqtt_connect(&*m.mqtt, ClientOptions::new(), m.handler()).await.unwrap());
        world.sweep("mqtt_connect", 3, mqtt_connect).await;
        let mqtt_listen = async |m: Means| {
            let broker = move |_: &mut u64| {
                drop(m.life);
                Broker::new(Options::new())
            };
            drop(m.near.mqtt_listen("mqtt://127.0.0.1:0", broker).await.unwrap());
        };
        world.sweep("mqtt_listen", 3, mqtt_listen).await;
        let sntp_connect = async |m: Means| drop(m.near.sntp_connect(&*m.sntp, m.handler()).await.unwrap());
        world.sweep("sntp_connect", 3, sntp_connect).await;
        let timer_after = async |m: Means| drop(m.near.timer_after(ms(100_000), move |_| _ = &m.life).await.unwrap());
        world.sweep("timer_after", 3, timer_after).await;
        let timer_every = async |m: Means| drop(m.near.timer_every(ms(100_000), move |_| _ = &m.life).await.unwrap());
        world.sweep("timer_every", 3, timer_every).await;
    });
}

/// As users write them: one future with many points at which it waits.
#[test]
fn whole_stories_may_be_dropped_at_every_point_and_leave_nothing() {
    sweep_on_each_runtime(async |world| {
        let events = async |m: Means| {
            let socket = m.near.listen("udp://127.0.0.1:0", m.handler()).await.unwrap();
            let mut events = m.near.events(socket.id(), 4, Overflow::Pause).await.unwrap();
            socket.wakeup(b"x").unwrap();
            while !matches!(events.next().await.unwrap().1, vansire::aio::OwnedEvent::Wakeup(_)) {}
        };
        world.sweep("events", 5, events).await;
        let http = async |m: Means| {
            let client = HttpClient::new(&m.near);
            for _ in 0..2 {
                assert_eq!(client.request(Request::get(&m.http)).await.unwrap().text(), Some("hello"));
            }
            drop(m.life);
        };
        world.sweep("HttpClient", 6, http).await;
        let mqtt = async |m: Means| {
            let client = MqttClient::connect(&m.near, &m.mqtt, ClientOptions::new()).await.unwrap();
            client.opened().await.unwrap();
            let mut stream = client.subscribe(sub("swept"), 10, Overflow::Pause).await.unwrap();
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                client.publish(&Publish { qos, ..Publish::new("swept", "") }).await.unwrap();
                assert_eq!(stream.next().await.unwrap().qos(), qos);
            }
            client.disconnect().await.unwrap();
            assert!(stream.next().await.is_none());
            drop(m.life);
        };
        world.sweep("MqttClient", 12, mqtt).await;
        // On a connection that stays.
        let kept = async |m: Means| {
            let mut stream = m.kept.subscribe(sub("swept"), 10, Overflow::Pause).await.unwrap();
            m.kept.publish(&q1("swept", "")).await.unwrap();
            stream.next().await.unwrap();
            drop(m.life);
        };
        world.sweep("subscribe, publish, next", 6, kept).await;
        // A server limits how often it is asked: it may say nothing.
        let sntp = async |m: Means| {
            let options = vansire::sntp::ClientOptions::new(&*m.sntp).timeout(ms(50)).tries(1);
            drop(SntpClient::new(&m.near, options).query().await);
            drop(m.life);
        };
        world.sweep("SntpClient", 4, sntp).await;
        let start = async |m: Means| {
            // Its own loop stands still for nobody: it begins when the near one goes on.
            let state = move || {
                let (go, goes) = std::sync::mpsc::channel();
                loop {
                    let go = go.clone();
                    match m.near.post(move |_| go.send(()).unwrap()) {
                        Ok(()) => break,
                        Err(e) => assert!(e.is_limit_reached(), "{e}"),
                    }
                    std::thread::yield_now();
                }
                goes.recv().unwrap();
                m.life
            };
            let manager = AsyncManager::builder(state).start().await.unwrap();
            manager.with(|_| ()).await.unwrap();
            assert!(!manager.run(async {}).await.abandoned);
            assert!(!manager.shutdown().await.abandoned && !manager.ended().await.abandoned);
        };
        world.sweep("start, run, shutdown, ended", 2, start).await;
    });
}

fn sweep_on_each_runtime(test: impl AsyncFn(&mut World)) {
    for (_, runtime) in crate::support::runtimes() {
        runtime.block_on(async {
            let mut world = World::new().await;
            test(&mut world).await;
        });
    }
}
