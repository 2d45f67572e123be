//! The plan of a seed.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::sim::{Faults, Rng};

use super::up_to;

/// What happens in a world, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    seed: u64,
    steps: Vec<Step>,
}

/// One thing that happens. Leaving one out changes no other.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its number in the plan of the seed, which it keeps when others are left out.
    pub number: usize,
    /// When, by the world's time.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What may happen. A `seed` decides the details of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The network fails in this way from now on.
    Weather(Box<Faults>),
    /// The server and some host do not hear each other.
    Partition(Ipv4Addr, Duration),
    /// The machines stand still, as in suspend: nothing is done meanwhile, and what was due is late.
    Sleep(Duration),
    /// Somebody sets the wall clock, by so many seconds.
    WallClock(i64),
    /// No machine has more descriptors than these for a while.
    Descriptors(usize, Duration),
    /// Somebody forges the answers of name servers and time servers for a while.
    Forger(Duration),
    /// An HTTP client sends a pipeline: of whole requests, or broken ones, slow, or cut off in the midst.
    Http(u64),
    /// Our HTTP client fetches from the server, by name: so many bytes.
    Fetch(usize),
    /// Somebody sends so many datagrams at once.
    Datagrams(usize, u64),
    /// A timer, of so many ticks; cancelled by itself after the last.
    Timer(Duration, u32),
    /// So many wakeups from elsewhere.
    Wakeups(u32),
    /// The server looks a name up.
    Lookup(usize),
    /// Somebody asks the server for the time, and the server somebody else.
    Time,
    /// An MQTT client does something: it connects, publishes, subscribes, crashes, comes back, stops reading...
    Mqtt(usize, u64),
    /// An MQTT client of ours does something.
    Ours(usize, u64),
    /// An MQTT client breaks the rules.
    Hostile(u64),
    /// The broker ends a client's connection.
    Kick(String),
}

/// How long things happen.
pub(super) const CHAOS: Duration = Duration::from_secs(20);
/// MQTT clients that are played by hand, and those of the library.
pub(super) const CLIENTS: usize = 6;
pub(super) const OURS: usize = 2;

impl Schedule {
    /// The plan of a seed. The same seed gives the same plan.
    pub fn of(seed: u64) -> Self {
        let rng = &mut Rng::new(seed ^ 0x776f_726c_6473);
        let mut steps = Vec::new();
        // The weather at the beginning, and its changes.
        for at in 0..1 + rng.below(4) {
            let when = if at == 0 { Duration::ZERO } else { moment(rng) };
            steps.push((when, What::Weather(Box::new(weather(rng)))));
        }
        let mut add = |rng: &mut Rng, most: usize, mut what: Box<dyn FnMut(&mut Rng) -> What>| {
            for _ in 0..rng.below(most + 1) {
                let step = what(rng);
                steps.push((moment(rng), step));
            }
        };
        add(rng, 3, Box::new(|rng| What::Partition(host(rng), up_to(rng, 15_000))));
        add(rng, 2, Box::new(|rng| What::Sleep(up_to(rng, *rng.clone().pick(&[10, 1000, 8000])))));
        add(rng, 2, Box::new(|rng| What::WallClock(rng.below(7_200_000) as i64 - 3_600_000)));
        add(rng, 2, Box::new(|rng| What::Descriptors(6 + rng.below(12), up_to(rng, 5000))));
        add(rng, 5, Box::new(|rng| What::Http(rng.next_u64())));
        add(rng, 4, Box::new(|rng| What::Fetch(*rng.pick(&[0, 1, 100, 3000, 60_000]))));
        add(rng, 5, Box::new(|rng| What::Datagrams(1 + rng.below(30), rng.next_u64())));
        add(rng, 6, Box::new(|rng| What::Timer(up_to(rng, 4000), rng.below(6) as u32)));
        add(rng, 5, Box::new(|rng| What::Wakeups(1 + rng.below(20) as u32)));
        add(rng, 6, Box::new(|rng| What::Lookup(rng.below(6))));
        add(rng, 4, Box::new(|_| What::Time));
        add(rng, 2, Box::new(|rng| What::Hostile(rng.next_u64())));
        add(rng, 2, Box::new(|rng| What::Kick(format!("{}{}", rng.pick(&["o", "p"]), rng.below(OURS)))));
        for client in 0..CLIENTS {
            add(rng, 10, Box::new(move |rng| What::Mqtt(client, rng.next_u64())));
        }
        for client in 0..OURS {
            add(rng, 8, Box::new(move |rng| What::Ours(client, rng.next_u64())));
        }
        add(rng, 2, Box::new(|rng| What::Forger(up_to(rng, 15_000))));
        steps.sort_by_key(|(at, _)| *at);
        Self::with(seed, steps)
    }

    /// A plan of one's own: what happens, and when.
    pub fn with(seed: u64, steps: impl IntoIterator<Item = (Duration, What)>) -> Self {
        let steps = steps.into_iter().enumerate().map(|(number, (at, what))| Step { number, at, what });
        Self { seed, steps: steps.collect() }
    }

    /// The seed, which decides what no step does.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The steps, in their order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The same plan with these steps only.
    #[must_use]
    pub fn keep(&self, numbers: &[usize]) -> Self {
        let steps = self.steps.iter().filter(|step| numbers.contains(&step.number)).cloned();
        Self { seed: self.seed, steps: steps.collect() }
    }

    /// How long all stand still, all in all.
    pub(super) fn sleep(&self) -> Duration {
        let times = self.steps.iter().map(|step| if let What::Sleep(time) = step.what { time } else { Duration::ZERO });
        times.sum()
    }

    /// What the network may do on some day of this plan. Partitions concern those who are named.
    pub(super) fn nature(&self) -> Nature {
        let some_day = |does: fn(&Faults) -> bool| {
            self.steps.iter().any(|step| matches!(&step.what, What::Weather(faults) if does(faults)))
        };
        Nature {
            cuts_connections: some_day(|it| it.reset > 0.0 || it.accept_aborted > 0.0 || it.refuse > 0.0),
            loses_datagrams: some_day(|it| it.datagram_lost > 0.0),
            doubles_datagrams: some_day(|it| it.datagram_twice > 0.0),
        }
    }
}

/// What a network may do that no retry hides.
pub(super) struct Nature {
    /// Connections are cut off, or refused.
    pub(super) cuts_connections: bool,
    pub(super) loses_datagrams: bool,
    pub(super) doubles_datagrams: bool,
}

fn moment(rng: &mut Rng) -> Duration {
    rng.time(&(Duration::ZERO..CHAOS))
}

/// Somebody whom the server talks to.
fn host(rng: &mut Rng) -> Ipv4Addr {
    match rng.below(4) {
        0 => Ipv4Addr::new(10, 0, 2, rng.below(OURS) as u8),
        1 => Ipv4Addr::new(10, 0, 0, 53),
        _ => Ipv4Addr::new(10, 0, 1, rng.below(CLIENTS) as u8),
    }
}

fn weather(rng: &mut Rng) -> Faults {
    let mut faults = match rng.below(5) {
        0 => Faults::none(),
        1 | 2 => Faults::benign(rng),
        _ => Faults::harsh(rng),
    };
    if rng.chance(0.5) {
        faults.datagram_lost = 0.3 * rng.below(1000) as f64 / 1000.0;
        faults.datagram_twice = 0.3 * rng.below(1000) as f64 / 1000.0;
        faults.datagram_late = 0.5 * rng.below(1000) as f64 / 1000.0;
    }
    if rng.chance(0.1) {
        // As over a satellite.
        faults.latency = Duration::from_millis(200)..Duration::from_millis(1000);
    }
    if rng.chance(0.1) {
        faults.refuse = 0.2;
    }
    faults
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weather(faults) if **faults == Faults::none() => f.write_str("the network is good"),
            Self::Weather(faults) => write!(f, "the network is like this: {}", Changed(faults)),
            Self::Partition(host, during) => write!(f, "the server and {host} do not hear each other for {during:?}"),
            Self::Sleep(time) => write!(f, "all stand still for {time:?}"),
            Self::WallClock(seconds) => write!(f, "the wall clock is set by {seconds} s"),
            Self::Descriptors(most, during) => write!(f, "nobody has more than {most} descriptors for {during:?}"),
            Self::Forger(during) => write!(f, "for {during:?} somebody forges the answers of name and time servers"),
            Self::Http(_) => f.write_str("an HTTP client connects"),
            Self::Fetch(len) => write!(f, "our HTTP client fetches {len} bytes from http://web.lan"),
            Self::Datagrams(count, _) => write!(f, "{count} datagrams are sent to the server"),
            Self::Timer(time, 0) => write!(f, "a timer after {time:?} is set, and cancelled"),
            Self::Timer(time, 1) => write!(f, "a timer after {time:?} is set"),
            Self::Timer(time, ticks) => write!(f, "a timer every {time:?} is set, for {ticks} times"),
            Self::Wakeups(count) => write!(f, "{count} wakeups are sent"),
            Self::Lookup(number) => write!(f, "the server looks h{number}.lan up"),
            Self::Time => f.write_str("the server is asked for the time, and asks"),
            Self::Mqtt(client, _) => write!(f, "MQTT client p{client} acts"),
            Self::Ours(client, _) => write!(f, "MQTT client o{client} acts"),
            Self::Hostile(_) => f.write_str("an MQTT client breaks the rules"),
            Self::Kick(client) => write!(f, "the broker ends the connection of {client}"),
        }
    }
}

/// Faults, those only that there are.
struct Changed<'a>(&'a Faults);

impl fmt::Display for Changed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, none) = (format!("{:?}", self.0), format!("{:?}", Faults::none()));
        let changed: Vec<_> = parts(&all).zip(parts(&none)).filter(|(a, b)| a != b).map(|(a, _)| a).collect();
        f.write_str(&changed.join(", "))
    }
}

/// The fields that a derived `Debug` shows.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.trim_start_matches("Faults { ").trim_end_matches(" }").split(", ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.number, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_plan_and_steps_keep_their_numbers() {
        let plan = Schedule::of(7);
        assert_eq!(plan, Schedule::of(7));
        assert_ne!(plan, Schedule::of(8));
        assert!(plan.steps().is_sorted_by_key(|step| step.at));
        let part = plan.keep(&[3, 5]);
        assert_eq!(part.steps().iter().map(|step| step.number).collect::<Vec<_>>(), [3, 5]);
        assert_eq!(part.steps()[1], plan.steps()[5]);
    }

    #[test]
    fn a_partition_concerns_those_who_are_named_and_weather_everybody() {
        let nature = |what| {
            let nature = Schedule::with(1, [(Duration::ZERO, what)]).nature();
            [nature.cuts_connections, nature.loses_datagrams, nature.doubles_datagrams]
        };
        let weather = |faults| nature(What::Weather(Box::new(faults)));
        assert_eq!(nature(What::Partition(Ipv4Addr::LOCALHOST, CHAOS)), [false; 3]);
        assert_eq!(weather(Faults::none().latency(CHAOS..2 * CHAOS)), [false; 3]);
        assert_eq!(weather(Faults::none().refuse(0.1)), [true, false, false]);
        assert_eq!(weather(Faults::none().datagram_lost(0.1)), [false, true, false]);
        assert_eq!(weather(Faults::none().datagram_twice(0.1)), [false, false, true]);
    }

    #[test]
    fn weather_is_told_by_what_is_wrong() {
        let faults = Faults::none().short_read(0.5).descriptors(4);
        let told = What::Weather(Box::new(faults)).to_string();
        assert_eq!(told, "the network is like this: short_read: 0.5, descriptors: 4");
    }
}
