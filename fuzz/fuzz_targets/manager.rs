//! A whole program in a simulated world, an HTTP server and an MQTT broker on one loop: whatever five clients send, in whatever pieces it
//! arrives and however the system misleads the loop, each of them gets the same bytes; and when all are gone nothing is left.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vansire::broker::{AllowAll, Broker, Options};
use vansire::http::Response;
use vansire::mqtt::{Connect, Packet, PacketId, Publish, QoS, Subscribe, Subscription, Version, encode};
use vansire::sim::{Faults, Sim, SimSocket};
use vansire::{Ctx, Event, Manager};

const HTTP: ([u8; 4], u16) = ([10, 0, 0, 1], 80);
const MQTT: ([u8; 4], u16) = ([10, 0, 0, 1], 1883);
const CLIENTS: usize = 5;
/// What the structured steps of an HTTP client send.
const REQUESTS: [&str; 8] = [
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /later HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /chunks HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
    "GET /?",
];
const TOPICS: [&str; 4] = ["a", "a/b", "b/b", "$x"];
const FILTERS: [&str; 4] = ["a", "a/+", "#", "$share/g/a"];

/// What a client has been sent, connection by connection.
type Talk = Vec<Got>;

#[derive(Debug, Default)]
struct Got {
    bytes: Vec<u8>,
    /// The client left before everything had come to its end.
    is_cut: bool,
}

// The first byte seeds what goes wrong in the second run. Then steps of two bytes: who does what, and with which argument; a step of raw
// bytes takes as many as its argument says.
fuzz_target!(|input: &[u8]| {
    let [seed, steps @ ..] = input else { return };
    let (calm, rough) = (run(steps, None), run(steps, Some(u64::from(*seed))));
    for (who, (calm, rough)) in calm.iter().zip(&rough).enumerate() {
        assert_eq!(calm.len(), rough.len());
        for (calm, rough) in calm.iter().zip(rough) {
            if who < 2 {
                // What is wrong with a request that comes in pieces may be found later, when its client has left.
                let (calm, rough) = (undated(calm), undated(rough));
                assert!(calm.0 == rough.0 || calm.1 && calm.0.starts_with(&rough.0), "{calm:?}, but {rough:?}");
            } else {
                assert_eq!(calm.bytes, rough.bytes);
            }
        }
    }
});

fn run(steps: &[u8], seed: Option<u64>) -> [Talk; CLIENTS] {
    let sim = Sim::new(seed.unwrap_or(0));
    if let Some(seed) = seed {
        // What takes no time: a client that is late may be answered otherwise. The rest of the bits choose kinds.
        let bit = |n: u64, most: f64| if seed >> n & 1 == 0 { 0.0 } else { most };
        let faults = Faults::none().short_read(bit(0, 0.9)).short_write(bit(1, 0.9)).would_block(bit(2, 0.4));
        let faults = faults.interrupted(bit(3, 0.3)).spurious(bit(4, 0.3)).shuffle(bit(5, 0.9));
        sim.set_faults(if seed & 64 == 0 { faults } else { faults.segment(1..20) });
    }
    let mut manager = Manager::builder().sim(&sim).build(()).expect("a manager");
    let broker = Broker::new(Options::new().access(AllowAll).queue_messages_max(5).inflight_max(3).packet_max(4096));
    manager.net().listen("http://10.0.0.1:80", serve).expect("listening");
    broker.listen(&mut manager.net(), "mqtt://10.0.0.1:1883").expect("listening");

    let mut clients: [Option<SimSocket>; CLIENTS] = Default::default();
    let mut talks: [Talk; CLIENTS] = Default::default();
    let mut rest = steps;
    while let [step, argument, after @ ..] = rest {
        rest = after;
        let who = usize::from(step >> 4) % CLIENTS;
        let argument = *argument;
        match (step & 0x0f, &clients[who]) {
            (0, _) | (_, None) => {
                let client = sim.connect(if who < 2 { HTTP } else { MQTT });
                if who >= 2 {
                    client.send(&hello(who, argument));
                }
                clients[who] = Some(client);
                if let Some(last) = talks[who].last_mut() {
                    last.is_cut = true;
                }
                talks[who].push(Got::default());
            }
            (1, _) => {
                clients[who] = None;
                if let Some(last) = talks[who].last_mut() {
                    last.is_cut = true;
                }
            }
            (2, Some(client)) => client.shutdown(),
            (3, _) => pass(&sim, &mut manager, Duration::from_secs(u64::from(argument))),
            (4..=6, Some(client)) => {
                let (bytes, after) = rest.split_at(rest.len().min(usize::from(argument)));
                rest = after;
                client.send(bytes);
            }
            (_, Some(client)) if who < 2 => client.send(REQUESTS[usize::from(argument) % REQUESTS.len()].as_bytes()),
            (kind, Some(client)) => client.send(&packet(kind, argument, version(who))),
        }
        // All comes to rest before the next step, or the order of two clients would be the network's choice.
        for _ in 0..3 {
            pass(&sim, &mut manager, Duration::from_millis(5));
            take(&clients, &mut talks);
        }
        let stats = broker.stats();
        assert!(stats.queued <= 3 * (5 + 3) && stats.sessions <= 3, "{stats:?}");
    }
    // Longer than all deadlines together.
    pass(&sim, &mut manager, Duration::from_secs(600));
    take(&clients, &mut talks);
    drop(clients);
    pass(&sim, &mut manager, Duration::from_secs(600));
    // The two that listen.
    assert_eq!((sim.open_sockets(), manager.net().connection_count()), (2, 2));
    talks
}

fn take(clients: &[Option<SimSocket>; CLIENTS], talks: &mut [Talk; CLIENTS]) {
    for (client, talk) in clients.iter().zip(talks) {
        if let (Some(client), Some(got)) = (client, talk.last_mut()) {
            got.bytes.extend(client.take());
        }
    }
}

/// Without the dates, and without `100 Continue`, which is sent only where the body lets wait for itself; and whether it was cut.
fn undated(got: &Got) -> (String, bool) {
    let text = String::from_utf8_lossy(&got.bytes).replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    let lines: Vec<_> = text.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect();
    (lines.concat(), got.is_cut)
}

fn pass(sim: &Sim, manager: &mut Manager<()>, time: Duration) {
    sim.run_for(&mut [manager], time).expect("it comes to rest");
}

fn serve(cx: &mut Ctx<'_, ()>, event: Event<'_>) {
    let Event::HttpRequest(request) = event else { return };
    match request.raw_path() {
        "/later" => {
            let Some(later) = cx.defer() else { return };
            cx.timer_after(Duration::from_millis(1), move |cx| {
                cx.net.reply(later, Response::text(200, "later"));
            });
        }
        "/chunks" => {
            let id = cx.conn;
            cx.net.start(id, Response::new(200));
            cx.net.write(id, b"one");
            cx.net.write(id, request.body());
            cx.net.finish(id, &[]);
        }
        _ => drop(cx.reply(Response::new(200).body(request.body()))),
    }
}

fn version(who: usize) -> Version {
    [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5][who % 3]
}

fn hello(who: usize, argument: u8) -> Vec<u8> {
    let id = format!("c{who}");
    let connect = Connect { clean_start: argument & 1 == 0, keep_alive: 100, ..Connect::new(version(who), &id) };
    let mut out = Vec::new();
    encode(&Packet::Connect(connect), version(who), &mut out).expect("a packet");
    out
}

fn packet(kind: u8, argument: u8, version: Version) -> Vec<u8> {
    let qos = QoS::from_u8(argument % 3).expect("a quality");
    let id = PacketId::new(u16::from(argument >> 4) + 1).expect("not zero");
    let subscriptions = [Subscription::new(FILTERS[usize::from(argument >> 2) % 4], qos)];
    let packet = match kind {
        7 | 8 => {
            Packet::Subscribe(Subscribe { id, subscriptions: (&subscriptions).into(), properties: Default::default() })
        }
        9 => Packet::PingReq,
        _ => Packet::Publish(Publish {
            qos,
            retain: argument & 8 != 0,
            id: (qos != QoS::AtMostOnce).then_some(id),
            ..Publish::new(TOPICS[usize::from(argument >> 2) % 4], "x")
        }),
    };
    let mut out = Vec::new();
    encode(&packet, version, &mut out).expect("a packet");
    out
}
