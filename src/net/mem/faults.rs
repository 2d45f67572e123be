//! What may go wrong in a simulated network, and how often.

use std::ops::Range;
use std::time::Duration;

use super::Rng;

macro_rules! faults {
    ($($(#[$doc:meta])* $field:ident: $ty:ty = $none:expr;)+) => {
        /// What goes wrong: probabilities from 0 to 1, and ranges that a value is drawn from. Nothing by default.
        ///
        /// ```
        /// use std::time::Duration;
        /// use vansire::sim::{Faults, Sim};
        ///
        /// let ms = Duration::from_millis;
        /// let sim = Sim::new(1);
        /// sim.set_faults(Faults::none().short_read(0.3).latency(ms(1)..ms(80)).reset(0.001));
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        #[must_use]
        pub struct Faults {
            $($(#[$doc])* pub $field: $ty,)+
        }

        impl Faults {
            /// A network without faults and without delay.
            pub const fn none() -> Self {
                Self { $($field: $none,)+ }
            }

            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                pub fn $field(mut self, value: $ty) -> Self {
                    self.$field = value;
                    self
                }
            )+
        }
    };
}

const NO_TIME: Range<Duration> = Duration::ZERO..Duration::ZERO;

faults! {
    /// A read gets only a part of what is there, often a single byte. The rest comes later, as a segment of its own would.
    short_read: f64 = 0.0;
    /// A write takes only a part of what it is given, often a single byte.
    short_write: f64 = 0.0;
    /// A socket that is ready answers `WouldBlock` all the same, and tells later that it is ready.
    would_block: f64 = 0.0;
    /// A signal interrupts a system call, which did nothing.
    interrupted: f64 = 0.0;
    /// A wait tells of a socket that is not ready.
    spurious: f64 = 0.0;
    /// A wait tells of what is ready in another order, and of some of it only the next time.
    shuffle: f64 = 0.0;
    /// For each segment: the connection is cut off instead of delivering it.
    reset: f64 = 0.0;
    /// A connection that is cut off still gives what had arrived before, as on Linux. Otherwise that is lost.
    reset_keeps: f64 = 0.0;
    /// How long each segment, and each datagram, is on its way. Segments stay in order, datagrams need not.
    latency: Range<Duration> = NO_TIME;
    /// How much longer the end of one direction is on its way.
    fin_delay: Range<Duration> = NO_TIME;
    /// Bytes of a segment. A write is cut into pieces of such sizes, each with a latency of its own. An empty range does
    /// not cut.
    segment: Range<usize> = 0..0;
    /// Bytes that a connection holds in each direction, on the way and unread, drawn for each; then writes block. An
    /// empty range stands for 256 KiB.
    buffer: Range<usize> = 0..0;
    /// An accept fails for want of a descriptor (`EMFILE`). The connection goes on waiting.
    accept_fails: f64 = 0.0;
    /// An accept finds that the connection was given up.
    accept_aborted: f64 = 0.0;
    /// A connection is refused although somebody listens.
    refuse: f64 = 0.0;
    /// A connection request gets no answer, ever.
    blackhole: f64 = 0.0;
    /// A datagram is lost.
    datagram_lost: f64 = 0.0;
    /// A datagram arrives twice.
    datagram_twice: f64 = 0.0;
    /// A datagram is up to a tenth of a second longer on its way than others, which overtake it.
    datagram_late: f64 = 0.0;
    /// Sockets that each manager may have open: with as many, the system refuses it another one (`EMFILE`), whether it accepts,
    /// connects or listens. Those that are open already stay so.
    descriptors: usize = usize::MAX;
    /// How long it takes to look a name up.
    lookup: Range<Duration> = NO_TIME;
    /// A name that is known is not found.
    lookup_fails: f64 = 0.0;
    /// How long each system call takes. Meanwhile the network goes on: what a read finds may be newer than the readiness
    /// that led to it.
    call_time: Range<Duration> = NO_TIME;
    /// A change of readiness is never told. No system does this: it shows that a test would notice a lost wakeup.
    #[doc(hidden)]
    lose_edge: f64 = 0.0;
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

impl Faults {
    /// A random mix that breaks no connection and loses nothing: it only delays, cuts up, interrupts and misleads. Each
    /// kind is there or not, so that runs differ in kind and not only in number.
    pub fn benign(rng: &mut Rng) -> Self {
        let micros = Duration::from_micros;
        let mut maybe = |most: f64| if rng.chance(0.5) { most * (rng.below(1000) + 1) as f64 / 1000.0 } else { 0.0 };
        let mut faults = Self {
            short_read: maybe(0.9),
            short_write: maybe(0.9),
            would_block: maybe(0.4),
            interrupted: maybe(0.3),
            spurious: maybe(0.3),
            shuffle: maybe(1.0),
            accept_fails: maybe(0.3),
            reset_keeps: maybe(1.0),
            ..Self::none()
        };
        if rng.chance(0.6) {
            faults.latency = NO_TIME.start..micros(1 + rng.below(50_000) as u64);
        }
        if rng.chance(0.3) {
            faults.fin_delay = NO_TIME.start..micros(1 + rng.below(50_000) as u64);
        }
        if rng.chance(0.4) {
            faults.segment = 1..2 + rng.below(2000);
        }
        if rng.chance(0.4) {
            let least = *rng.pick(&[1, 20, 400, 2000]);
            faults.buffer = least..2 * least + rng.below(least * 10);
        }
        if rng.chance(0.4) {
            faults.call_time = NO_TIME.start..micros(1 + rng.below(200) as u64);
        }
        faults
    }

    /// As [`benign`](Self::benign), and connections are cut off as well.
    pub fn harsh(rng: &mut Rng) -> Self {
        let mut faults = Self::benign(rng);
        if rng.chance(0.7) {
            faults.reset = 0.05 * rng.below(1000) as f64 / 1000.0;
        }
        if rng.chance(0.3) {
            faults.accept_aborted = 0.2;
        }
        faults
    }
}
