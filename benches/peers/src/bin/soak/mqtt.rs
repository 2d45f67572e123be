//! MQTT clients. Each kind knows to the message what the broker has to make of what it is sent, and notes that in the ledger.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use vansire::aio::{MqttClient, MqttMessages, Overflow};
use vansire::mqtt::{
    ClientOptions, Connect, DecodeLimits, Packet, PacketId, Property, PropertyBuf, Publish, QoS, Reconnect, Subscribe,
    Subscription, Version, Will, decode, encode,
};

use crate::ledger::{Number, Row, add, add_all};
use crate::load::{Dice, PATIENCE, World, every};
use crate::serve::QUEUE;

/// The longest packet that clients take here.
pub(crate) const LARGEST: usize = 40_000;

/// Whose connection is cut off now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Nobody,
    Subscriber,
    Publisher,
    Both,
}

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Notes an error as a broken promise: none is expected of clients that keep to the rules.
fn tell(world: &World, who: &str, outcome: Outcome) {
    if let Err(e) = outcome {
        world.ledger.broken(format!("{who}: {e}"));
    }
}

/// A client of this name; one whose session lasts comes back by itself.
async fn client(world: &World, name: &str, version: Version, lasts: bool) -> Outcome<MqttClient<()>> {
    let mut options = ClientOptions::new().client_id(name).version(version).clean_start(!lasts);
    if lasts {
        let pauses = Reconnect { min: Duration::from_millis(50), max: Duration::from_secs(1) };
        options = options.session_expiry(Duration::from_secs(3600)).reconnect(pauses);
    }
    let client = MqttClient::connect(&world.handle, world.urls.mqtt.as_str(), options).await?;
    client.opened().await?;
    add(&world.ledger.connects, 1);
    Ok(client)
}

/// A session that lasted is to be no more.
async fn forget(world: &World, name: &str, version: Version) -> Outcome {
    Ok(client(world, name, version, false).await?.disconnect().await?)
}

/// The number in the first bytes of a message.
fn number(payload: &[u8]) -> u64 {
    payload.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}

/// The next message, whatever it is: its number.
async fn next(world: &World, what: &str, messages: &mut MqttMessages) -> Outcome<u64> {
    match world.within(what, messages.next()).await.flatten() {
        Some(message) => Ok(number(message.payload())),
        None => Err(format!("{what}: no message").into()),
    }
}

/// Has the server end a client's connection: at once, or in order.
async fn cut(world: &World, name: &str, dice: &mut Dice) {
    let how = if dice.roll(2) == 0 { "cut" } else { "kick" };
    world.ask(&format!("/{how}/{name}")).await;
    add(&world.ledger.cuts, 1);
}

// ---- a row of numbers from one to another

/// Messages at once.
const BURST: u64 = 8;
/// Messages between two cuts, at least.
const CALM: u64 = 300;

/// What one side of a stream knows of the other.
struct Stream {
    name: &'static str,
    qos: QoS,
    cut: Cut,
    sent: Cell<u64>,
    got: Cell<u64>,
    is_complete: Cell<bool>,
}

pub(crate) async fn stream(world: Rc<World>, name: &'static str, version: Version, qos: QoS, cut: Cut, mut dice: Dice) {
    let stream =
        Rc::new(Stream { name, qos, cut, sent: Cell::default(), got: Cell::default(), is_complete: Cell::default() });
    tell(&world, name, stream.run(&world, version, &mut dice).await);
}

impl Stream {
    async fn run(self: Rc<Self>, world: &Rc<World>, version: Version, dice: &mut Dice) -> Outcome {
        let topic = format!("stream/{}", self.name);
        let names = [format!("{}-s", self.name), format!("{}-p", self.name)];
        let lasts = self.cut != Cut::Nobody;
        let subscriber = client(world, &names[0], version, lasts).await?;
        let messages = subscriber.subscribe(Subscription::new(&topic, self.qos), 100, Overflow::Pause).await?;
        let publisher = client(world, &names[1], version, lasts).await?;
        let reader = Rc::clone(&self).read(Rc::clone(world), messages, Dice(dice.roll(1 << 32) + 1));
        let reader = tokio::task::spawn_local(reader);
        self.write(world, &publisher, &topic, dice).await?;
        self.is_complete.set(true);
        // The reader ends by itself once it has all.
        if world.within(&format!("{}: all messages", self.name), reader).await.is_none() {
            world.ledger.broken(format!("{}: {} of {} have come", self.name, self.got.get(), self.sent.get()));
        }
        add(&world.ledger.routed, self.sent.get());
        add(&world.ledger.published, self.sent.get());
        add(&world.ledger.delivered, self.sent.get());
        world.ledger.same(&format!("{}: numbers that have come", self.name), self.got.get(), self.sent.get());
        publisher.disconnect().await?;
        subscriber.disconnect().await?;
        if lasts {
            forget(world, &names[0], version).await?;
            forget(world, &names[1], version).await?;
        }
        Ok(())
    }

    async fn write(&self, world: &World, publisher: &MqttClient<()>, topic: &str, dice: &mut Dice) -> Outcome {
        let mut tick = every(Duration::from_millis(25));
        let is_cut = matches!(self.cut, Cut::Publisher | Cut::Both);
        let mut cut_at = CALM;
        while world.goes_on() {
            tick.tick().await;
            let mut burst = JoinSet::new();
            for n in self.sent.get()..self.sent.get() + BURST {
                // Now and then one that does not fit into one read.
                let len = if dice.roll(50) == 0 { 20_000 } else { 8 + dice.roll(500) as usize };
                let mut payload = n.to_le_bytes().to_vec();
                payload.resize(len, b'x');
                let (publisher, topic, qos) = (publisher.clone(), topic.to_owned(), self.qos);
                burst.spawn_local(async move {
                    let publish = Publish { qos, ..Publish::new(&topic, &payload) };
                    publisher.publish(&publish).await
                });
            }
            // In the midst of it.
            if is_cut && self.sent.get() > cut_at {
                cut(world, &format!("{}-p", self.name), dice).await;
                cut_at = self.sent.get() + CALM + dice.roll(3 * CALM);
            }
            while let Some(published) = burst.join_next().await {
                published??;
            }
            self.sent.set(self.sent.get() + BURST);
        }
        Ok(())
    }

    /// Each number comes in its order, and once; at QoS 1 again where a connection was lost meanwhile.
    async fn read(self: Rc<Self>, world: Rc<World>, mut messages: MqttMessages, mut dice: Dice) {
        let (mut row, name) = (Row::default(), self.name);
        let is_cut = matches!(self.cut, Cut::Subscriber | Cut::Both);
        let mut cut_at = CALM;
        while !(self.is_complete.get() && row.whole() >= self.sent.get()) {
            let wait = tokio::time::timeout(Duration::from_millis(300), messages.next());
            let message = match wait.await {
                Ok(Some(message)) => message,
                Ok(None) => {
                    return world.ledger.broken(format!("{name}: the stream has ended: {:?}", messages.error()));
                }
                Err(_) => continue,
            };
            let number = number(message.payload());
            self.got.set(row.whole());
            // While the acknowledgement is on its way.
            if is_cut && row.whole() > cut_at && world.goes_on() {
                let (world, mut toss) = (Rc::clone(&world), Dice(dice.roll(1 << 32) + 1));
                tokio::task::spawn_local(async move { cut(&world, &format!("{name}-s"), &mut toss).await });
                cut_at = row.whole() + CALM + dice.roll(3 * CALM);
            }
            match row.take(number) {
                Number::Next => {}
                Number::Again if self.cut != Cut::Nobody && self.qos == QoS::AtLeastOnce => {
                    add(&world.ledger.again, 1);
                    // What is published again is another message; what is only delivered again is none.
                    if self.cut == Cut::Publisher {
                        add(&world.ledger.published, 1);
                        add(&world.ledger.routed, 1);
                        add(&world.ledger.delivered, 1);
                    }
                }
                what => world.ledger.broken(format!("{name}: number {number} is {what:?} at {}", row.whole())),
            }
        }
        self.got.set(row.whole());
    }
}

// ---- clients that come and go

/// Connects, retains something or clears it, hears itself, and goes; again and again.
pub(crate) async fn passing(world: Rc<World>, slot: u64) {
    let mut tick = every(Duration::from_millis(120));
    let mut round = 0;
    while world.goes_on() {
        tick.tick().await;
        tell(&world, &format!("passing {slot}.{round}"), pass(&world, slot, round).await);
        round += 1;
    }
    // Nothing is to be left.
    tell(&world, "clearing", clear(&world, &format!("kept/{slot}")).await);
}

const OWN: u64 = 10;

async fn pass(world: &World, slot: u64, round: u64) -> Outcome {
    let ledger = &world.ledger;
    let version = [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5][(round % 3) as usize];
    let qos = QoS::from_u8((round / 3 % 3) as u8).unwrap_or_default();
    let client = client(world, &format!("pass{slot}.{round}"), version, false).await?;
    let (own, kept) = (format!("own/{slot}/{round}"), format!("kept/{slot}"));

    if round.is_multiple_of(2) {
        let value = round.to_le_bytes();
        client.publish(&Publish { qos: QoS::AtLeastOnce, retain: true, ..Publish::new(&kept, &value) }).await?;
        let mut retained = client.subscribe(Subscription::new(&kept, QoS::AtLeastOnce), 10, Overflow::Pause).await?;
        ledger.same("what was retained", next(world, "what was retained", &mut retained).await?, round);
        add_all(&[&ledger.published, &ledger.routed, &ledger.delivered], 1);
    } else {
        client.publish(&Publish { qos: QoS::AtLeastOnce, retain: true, ..Publish::new(&kept, b"") }).await?;
        add(&ledger.published, 1);
    }

    // Room for all: nothing is taken before the last is published.
    let mut messages = client.subscribe(Subscription::new(&own, qos), 2 * OWN as usize, Overflow::Pause).await?;
    // One that is longer than this client has said it takes.
    if version.is_5() {
        client.publish(&Publish { qos: QoS::AtLeastOnce, ..Publish::new(&own, &vec![0; LARGEST + 1]) }).await?;
        add_all(&[&ledger.published, &ledger.routed, &ledger.too_large], 1);
    }
    for n in 0..OWN {
        client.publish(&Publish { qos, ..Publish::new(&own, &n.to_le_bytes()) }).await?;
    }
    for n in 0..OWN {
        ledger.same("what a client says to itself", next(world, &own, &mut messages).await?, n);
    }
    add_all(&[&ledger.published, &ledger.routed, &ledger.delivered], OWN);
    if round.is_multiple_of(4) {
        // As who takes his leave without having unsubscribed.
        client.disconnect().await?;
    }
    drop(messages);
    client.disconnect().await?;
    Ok(())
}

async fn clear(world: &World, topic: &str) -> Outcome {
    let client = client(world, &topic.replace('/', "-"), Version::Mqtt5, false).await?;
    client.publish(&Publish { qos: QoS::AtLeastOnce, retain: true, ..Publish::new(topic, b"") }).await?;
    add(&world.ledger.published, 1);
    Ok(client.disconnect().await?)
}

// ---- clients that are away

/// Subscribes, goes, is sent more or less than its queue holds, and comes back for it; or does not, or too late.
pub(crate) async fn away(world: Rc<World>, version: Version, slot: usize) {
    let name = format!("away{slot}");
    let mut tick = every(Duration::from_millis(500));
    let mut round = 0;
    while world.goes_on() {
        tick.tick().await;
        tell(&world, &format!("{name}, round {round}"), leave_and_return(&world, &name, version, round).await);
        round += 1;
    }
    tell(&world, &name, forget(&world, &name, version).await);
}

async fn leave_and_return(world: &World, name: &str, version: Version, round: u64) -> Outcome {
    let (ledger, topic) = (&world.ledger, format!("away/{name}"));
    let wanted = Subscription::new(&topic, QoS::AtLeastOnce);
    let subscriber = client(world, name, version, true).await?;
    let messages = subscriber.subscribe(wanted, 10, Overflow::Pause).await?;
    subscriber.disconnect().await?;
    drop((messages, subscriber));

    let expires = round % 5 == 3 && version.is_5();
    // What expires while the queue is filled makes room: how much that is depends on how long it takes, unless all of it fits.
    let count = match round.is_multiple_of(2) {
        true => 50,
        false if expires => QUEUE,
        false => QUEUE + 50,
    };
    let kept = count.min(QUEUE);
    let publisher = client(world, &format!("{name}-p"), Version::Mqtt5, false).await?;
    let mut properties = PropertyBuf::new();
    if expires {
        properties.push(Property::MessageExpiryInterval(1))?;
    }
    for n in 0..count {
        let qos = if n.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let payload = n.to_le_bytes();
        publisher
            .publish(&Publish { qos, properties: properties.as_properties(), ..Publish::new(&topic, &payload) })
            .await?;
    }
    publisher.disconnect().await?;
    add_all(&[&ledger.published, &ledger.routed], count);
    add(&ledger.queue_full, count - kept);

    if round % 5 == 4 {
        add(&ledger.session_ended, kept);
        return forget(world, name, version).await;
    }
    if expires {
        tokio::time::sleep(Duration::from_millis(2100)).await;
    }
    let subscriber = client(world, name, version, true).await?;
    let mut messages = subscriber.subscribe(wanted, 10, Overflow::Pause).await?;
    for n in 0..if expires { 0 } else { kept } {
        ledger.same("what came for a client that was away", next(world, &topic, &mut messages).await?, n);
    }
    add(if expires { &ledger.expired } else { &ledger.delivered }, kept);
    subscriber.disconnect().await?;
    Ok(())
}

// ---- wills

/// Clients that are gone without a word, and one that hears of each.
pub(crate) async fn wills(world: Rc<World>) {
    let result = async {
        let heir = client(&world, "heir", Version::Mqtt5, false).await?;
        let mut wills = heir.subscribe(Subscription::new("wills/+", QoS::AtLeastOnce), 10, Overflow::Pause).await?;
        let mut tick = every(Duration::from_millis(60));
        let mut number = 0u64;
        while world.goes_on() {
            tick.tick().await;
            let payload = number.to_le_bytes();
            let will = Will { qos: QoS::AtLeastOnce, ..Will::new("wills/soak", &payload) };
            let version = if number.is_multiple_of(2) { Version::Mqtt5 } else { Version::Mqtt311 };
            let mut mortal = raw(&world, TcpSocket::new_v4()?, &format!("mortal{number}"), version, Some(will)).await?;
            if number.is_multiple_of(3) {
                socket2::SockRef::from(&mortal).set_linger(Some(Duration::ZERO))?;
            } else {
                mortal.shutdown().await?;
            }
            drop(mortal);
            world.ledger.same("the will", next(&world, "a will", &mut wills).await?, number);
            let ledger = &world.ledger;
            add_all(&[&ledger.published, &ledger.routed, &ledger.delivered, &ledger.wills], 1);
            number += 1;
        }
        Ok(heir.disconnect().await?)
    };
    let result = result.await;
    tell(&world, "wills", result);
}

/// A connection on which CONNECT has been answered, and nothing else is done by itself.
async fn raw(
    world: &World,
    socket: TcpSocket,
    name: &str,
    version: Version,
    will: Option<Will<'_>>,
) -> Outcome<TcpStream> {
    let addr = world.urls.mqtt.trim_start_matches("mqtt://").parse()?;
    let mut stream = socket.connect(addr).await?;
    let mut bytes = Vec::new();
    encode(&Packet::Connect(Connect { will, ..Connect::new(version, name) }), version, &mut bytes)?;
    stream.write_all(&bytes).await?;
    bytes.clear();
    match read(&mut stream, &mut bytes, version, |packet| matches!(packet, Packet::ConnAck(_))).await? {
        true => add(&world.ledger.connects, 1),
        false => return Err("no CONNACK".into()),
    }
    Ok(stream)
}

/// Reads one packet, and says what it is.
async fn read<T>(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    version: Version,
    what: impl Fn(&Packet<'_>) -> T,
) -> Outcome<T> {
    loop {
        if let Some((packet, used)) = decode(bytes, version, &DecodeLimits::default())? {
            let what = what(&packet);
            bytes.drain(..used);
            return Ok(what);
        }
        let more = tokio::time::timeout(PATIENCE, stream.read_buf(bytes)).await?;
        if more? == 0 {
            return Err("the connection has ended".into());
        }
    }
}

// ---- a shared subscription

/// Three members that are cut off now and then, one that comes and goes: together they get each message.
pub(crate) async fn shared(world: Rc<World>, mut dice: Dice) {
    tell(&world, "shared", share(&world, &mut dice).await);
}

const SHARED: &str = "$share/soak/shared/#";

async fn share(world: &Rc<World>, dice: &mut Dice) -> Outcome {
    let (row, done) = (Shared::default(), Rc::new(Cell::new(false)));
    let mut members = Vec::new();
    let mut readers = JoinSet::new();
    for n in 0..3 {
        let member = client(world, &format!("member{n}"), Version::Mqtt5, true).await?;
        let messages = member.subscribe(Subscription::new(SHARED, QoS::AtLeastOnce), 50, Overflow::Pause).await?;
        readers.spawn_local(take_share(Rc::clone(world), messages, Rc::clone(&row), Rc::clone(&done)));
        members.push(member);
    }
    let guests = tokio::task::spawn_local(guests(Rc::clone(world), Rc::clone(&row)));
    let publisher = client(world, "sharer", Version::Mqtt5, false).await?;
    let mut tick = every(Duration::from_millis(5));
    let (mut sent, mut cut_at) = (0u64, 200);
    while world.goes_on() {
        tick.tick().await;
        publisher.publish(&Publish { qos: QoS::AtLeastOnce, ..Publish::new("shared/n", &sent.to_le_bytes()) }).await?;
        sent += 1;
        if sent == cut_at {
            cut(world, &format!("member{}", dice.roll(3)), dice).await;
            cut_at += 100 + dice.roll(200);
        }
    }
    guests.await?;
    let all = async {
        while row.borrow().whole() < sent {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    world.within("all that was shared", all).await;
    world.ledger.same("numbers that were shared", row.borrow().whole(), sent);
    add_all(&[&world.ledger.published, &world.ledger.routed, &world.ledger.delivered], sent);
    publisher.disconnect().await?;
    // What is under way again, to a member that was just cut off, is to be acknowledged.
    for n in 0..3 {
        let name = format!("/client/member{n}");
        let open = async {
            while world.ask(&name).await.is_none_or(|client| client["open"] != 0) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        world.within("the last acknowledgements", open).await;
    }
    done.set(true);
    while readers.join_next().await.is_some() {}
    for (n, member) in members.into_iter().enumerate() {
        member.disconnect().await?;
        forget(world, &format!("member{n}"), Version::Mqtt5).await?;
    }
    Ok(())
}

type Shared = Rc<std::cell::RefCell<Row>>;

async fn take_share(world: Rc<World>, mut messages: MqttMessages, row: Shared, done: Rc<Cell<bool>>) {
    while !done.get() {
        match tokio::time::timeout(Duration::from_millis(300), messages.next()).await {
            Ok(Some(message)) => note(&world, &row, number(message.payload())),
            Ok(None) => return world.ledger.broken(format!("a member's stream has ended: {:?}", messages.error())),
            Err(_) => {}
        }
    }
}

fn note(world: &World, row: &Shared, number: u64) {
    if row.borrow_mut().take(number) == Number::Again {
        add(&world.ledger.again, 1);
    }
}

/// A member for two seconds, another time and again.
async fn guests(world: Rc<World>, row: Shared) {
    for n in 0.. {
        world.pause(Duration::from_secs(1)).await;
        if !world.goes_on() {
            return;
        }
        let guest = async {
            let guest = client(&world, &format!("guest{n}"), Version::Mqtt5, false).await?;
            let mut messages =
                guest.subscribe(Subscription::new(SHARED, QoS::AtLeastOnce), 50, Overflow::Pause).await?;
            let stay = async {
                while let Some(message) = messages.next().await {
                    note(&world, &row, number(message.payload()));
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(2), stay).await;
            Ok(guest.disconnect().await?)
        };
        let result = guest.await;
        tell(&world, "a guest", result);
    }
}

// ---- one that does not read

/// Messages of a flood, and their length: more than the broker lets wait, and the system's buffers hold.
const FLOOD: u64 = 320;
const FLOOD_LEN: usize = 30_000;

/// Is sent more than it reads, at QoS 0, and gets all but what the broker says that it has dropped.
pub(crate) async fn flood(world: Rc<World>) {
    let mut round = 0;
    while world.goes_on() {
        tell(&world, "a flood", endure(&world, round).await);
        round += 1;
        world.pause(Duration::from_secs(15)).await;
    }
    if world.ledger.slow.get() == 0 {
        world.ledger.broken("no flood was too much: nothing was tried");
    }
}

async fn endure(world: &World, round: u64) -> Outcome {
    let (ledger, version, name) = (&world.ledger, Version::Mqtt311, format!("flooded{round}"));
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(64 * 1024)?;
    let mut victim = raw(world, socket, &name, version, None).await?;
    let mut bytes = Vec::new();
    let subscriptions = [Subscription::new("flood", QoS::AtMostOnce)];
    let subscribe =
        Subscribe { id: PacketId::MIN, subscriptions: (&subscriptions).into(), properties: Default::default() };
    encode(&Packet::Subscribe(subscribe), version, &mut bytes)?;
    victim.write_all(&bytes).await?;
    bytes.clear();
    if !read(&mut victim, &mut bytes, version, |packet| matches!(packet, Packet::SubAck(_))).await? {
        return Err("no SUBACK".into());
    }

    let publisher = client(world, "flooding", Version::Mqtt5, false).await?;
    let mut payload = vec![b'f'; FLOOD_LEN];
    for n in 0..FLOOD {
        payload[..8].copy_from_slice(&n.to_le_bytes());
        publisher.publish(&Publish::new("flood", &payload)).await?;
    }
    // Once this is acknowledged all of them have been routed.
    publisher.publish(&Publish { qos: QoS::AtLeastOnce, ..Publish::new("nobody", b"") }).await?;
    publisher.disconnect().await?;
    let Some(client) = world.ask(&format!("/client/{name}")).await else { return Err("is not there any more".into()) };
    let dropped = client["dropped"]["slow"].as_u64().ok_or("no counter")?;
    let (mut last, mut got) = (None, 0);
    while got < FLOOD - dropped {
        let number = read(&mut victim, &mut bytes, version, |packet| match packet {
            Packet::Publish(publish) => Some(number(publish.payload)),
            _ => None,
        });
        let number = number.await?.ok_or("what came is no message")?;
        if last.is_some_and(|last| number <= last) {
            ledger.broken(format!("a flood: {number} after {last:?}"));
        }
        (last, got) = (Some(number), got + 1);
    }
    bytes.clear();
    encode(&Packet::PingReq, version, &mut bytes)?;
    victim.write_all(&bytes).await?;
    bytes.clear();
    if !read(&mut victim, &mut bytes, version, |packet| matches!(packet, Packet::PingResp)).await? {
        return Err("more came than was counted".into());
    }
    add(&ledger.published, FLOOD + 1);
    add(&ledger.routed, FLOOD);
    add(&ledger.delivered, got);
    add(&ledger.slow, dropped);
    Ok(())
}

// ---- what the program publishes

/// Hears the program: one number after the other, the first of them retained.
pub(crate) async fn program(world: Rc<World>) {
    tell(&world, "the program", hear(&world).await);
}

async fn hear(world: &World) -> Outcome {
    let client = client(world, "hearer", Version::Mqtt5, false).await?;
    let mut ticks = client.subscribe(Subscription::new("program/+", QoS::AtLeastOnce), 50, Overflow::Pause).await?;
    let first = next(world, "a tick", &mut ticks).await?;
    let mut due = first + 1;
    while world.goes_on() {
        world.ledger.same("a tick", next(world, "a tick", &mut ticks).await?, due);
        due += 1;
    }
    world.ask("/rest").await;
    let stats = world.ask("/stats").await.ok_or("no counters")?;
    let last = stats["published"].as_u64().ok_or("no counter")?;
    while due < last {
        world.ledger.same("a tick", next(world, "a tick", &mut ticks).await?, due);
        due += 1;
    }
    add_all(&[&world.ledger.routed, &world.ledger.delivered], due - first);
    Ok(client.disconnect().await?)
}
